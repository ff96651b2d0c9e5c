"""A stage that is any Python: a function that trains by itself and reports its epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Code, Config, Metric, Stage
from trainables.declarations.training.epoch import TRAIN

_ENDS = (
    "early_stopping", "monitor", "monitor_mode", "diverge_above", "stop_below", "stop_patience",
    "stop_on",
)  # fmt: skip
_BUDGET = (
    Key("epochs", "int", None, "host",
        "Reports after which the trial is done; null: as many as the function makes.",
        unit="epochs", low=1, nullable=True, aliases=("num_epochs",)),
    *(key for key in TRAIN.keys if key.name in _ENDS),
)  # fmt: skip
"""Offered to every host trainable: its length, and the stop rules that hold for all trials."""


def _unknown(config: Config) -> float | None:
    return None


def _one(config: Config) -> int:
    return 1


@dataclass(frozen=True, kw_only=True)
class HostTrainable(Stage):
    """A function of the user's, in any library, as a stage: `"stage": "<name>"` in a space.

    `run(config, report)` trains one trial in a separate process. `config` holds every key of the
    trial as a plain Python value, `report` takes each epoch in
    (`orchestrator.worker.host.report.Report`).

        def train(config, report):
            for epoch in range(report.epoch, config["epochs"]):
                ...
                report(loss=loss, val_loss=val_loss, layers={"net.0": norm})

        TORCH = HostTrainable(name="torch_arm", run=train, keys=(Key("lr", "float", 0.1, "host"),))

    Attributes:
      run: the function, or its place as "module:name".
      keys: what it reads. All are of kind host, whatever they say. `epochs` and the stop rules of
        the stage train (`early_stopping`, `monitor`, `diverge_above`, `stop_below`, ...) come with
        it.
      metric_columns: unit and better end of metrics that it reports, each by the name reported.
      loss_unit: what its losses are in, where that has a name. chance_loss: the loss of a guess;
        None where there is none.
      loss_terms: losses that a step's gradient sums; 1 where it is that of their mean.
    """

    run: Code
    build: Code | None = None
    reads: tuple[str, ...] = ()
    task_loss: bool = False
    metric_columns: tuple[Metric, ...] = ()
    loss_unit: str | None = None
    chance_loss: Callable[[Config], float | None] = _unknown
    loss_terms: Callable[[Config], int] = _one

    def __post_init__(self) -> None:
        if not isinstance(self.keys, tuple | list):
            return  # refused by name where the study is read
        own = tuple(_on_host(key) for key in self.keys)
        names = {getattr(key, "name", None) for key in own}
        offered = tuple(key for key in _BUDGET if key.name not in names)
        object.__setattr__(self, "keys", (*own, *offered))
        if self.undeclared:
            object.__setattr__(self, "undeclared", tuple(map(_on_host, self.undeclared)))


def _on_host(key: Any) -> Any:
    """No program is compiled for it, so that a key changes the loop alone."""
    if isinstance(key, Key) and key.kind != "recording":
        return replace(key, kind="host")
    return key
