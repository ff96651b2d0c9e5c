"""What a trial watches: early stopping, best weights and stop rules on any metric."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.plan.packs import Lane, PackSpec
from orchestrator.worker.monitors import Monitor, better_end, value_of
from orchestrator.worker.stop_rules import Endings
from orchestrator.worker.weight_keeper import Keeper
from tests.support.small_trials import trial
from trainables.declarations import Metric, PartError, Sizes, Task, Trial, builtin_registry
from trainables.packs.pack import EpochResult

NAN = math.nan


def watching(**config: Any) -> Trial:
    """A trial of a task that measures `rmse` (lower is better) and `hits` (higher)."""
    registry = builtin_registry()
    sizes = Sizes(7, 2, 4, 12, 6, 6, 6)
    metrics = (Metric("rmse", "m", "min"), Metric("hits", "fraction", "max"))
    registry.add(Task(name="own", build=lambda config: {}, sizes=lambda config: sizes, version=1,
                      metric_columns=metrics))  # fmt: skip
    return registry.resolve({"model": "vanilla_rnn", "task": "own", "epochs": 50, **config})


def epoch(**metrics: float) -> EpochResult:
    return EpochResult(
        epochs={"val_loss": np.array([1.0]), "grad_norm": np.array([1.0])}, layers={}, steps={},
        step_index=np.array([], int),
            first_step=np.zeros(1, int), bad_step=np.array([-1]), finished=np.array([False]),
        metrics={name: np.array([value]) for name, value in metrics.items()}, probes={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("config", "name", "mode"),
    [
        ({}, "val_loss", "min"),
        ({"monitor": "val_rmse"}, "val_rmse", "min"),
        ({"monitor": "val_hits"}, "val_hits", "max"),
        ({"monitor": "val_hits", "monitor_mode": "min"}, "val_hits", "min"),
        ({"monitor": "val_accuracy"}, "val_accuracy", "max"),
        ({"monitor": "grad_norm", "monitor_mode": "max"}, "grad_norm", "max"),
    ],
)
def test_which_end_is_better(config: dict[str, Any], name: str, mode: str) -> None:
    found = Monitor(watching(**config))
    assert (found.name, found.mode) == (name, mode)
    assert found.worst == (math.inf if mode == "min" else -math.inf)
    assert found.is_better(1.0, found.worst)
    assert not found.is_better(1.0, 1.0)
    assert not found.is_better(NAN, found.worst)
    assert found.is_better(1.0, 2.0) == (mode == "min")


def test_a_stage_without_the_key_watches_val_loss() -> None:
    warmup = trial(stage="warmup", keep_weights="best")
    assert "monitor" not in warmup.config
    assert Monitor(warmup).name == "val_loss"
    assert better_end(warmup, "val_accuracy") == "max"


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("val_rmse", [2.0, 1.0, 1.5, 1.25], "val_rmse no better than 1 for 2 epochs"),
        ("val_hits", [0.5, 0.75, 0.6, NAN], "val_hits no better than 0.75 for 2 epochs"),
    ],
)
def test_early_stopping_says_what_it_watched(name: str, values: list[float], reason: str) -> None:
    endings = Endings([watching(monitor=name, early_stopping=2)])
    found = [endings.after_epoch(0, i, epoch(**{name: v})) for i, v in enumerate(values)]
    assert found == [None] * 3 + [("stopped", reason)]


def test_a_resumed_lane_remembers_the_greatest_value() -> None:
    one = watching(monitor="val_hits", early_stopping=2)
    first, second = Endings([one]), Endings([one])
    assert first.memo(0)["best_val"] is None
    assert first.after_epoch(0, 0, epoch(val_hits=0.8)) is None
    assert first.after_epoch(0, 1, epoch(val_hits=0.7)) is None
    second.recall(0, first.memo(0))
    assert second.memo(0) == {"patience": 0, "stale": 1, "best_val": 0.8}
    stopped = second.after_epoch(0, 2, epoch(val_hits=0.75))
    assert stopped == ("stopped", "val_hits no better than 0.8 for 2 epochs")
    fresh = Endings([one])
    fresh.recall(0, {"best_val": None})
    assert fresh.after_epoch(0, 0, epoch(val_hits=-5.0)) is None
    assert fresh.memo(0)["best_val"] == -5.0


def test_a_stop_rule_may_read_a_metric_below_0() -> None:
    one = watching(stop_on="val_rmse", stop_below=-1.5, stop_patience=2)
    endings = Endings([one])
    found = [endings.after_epoch(0, i, epoch(val_rmse=v)) for i, v in enumerate((-1.0, -2.0, -2.0))]
    assert found == [None, None, ("stopped", "val_rmse below -1.5 for 2 epochs in a row")]


def test_the_best_weights_are_those_of_the_greatest_value(tmp_path: Path) -> None:
    one = watching(monitor="val_hits", keep_weights="best")
    spec = PackSpec("pack", "program", [Lane(one.id, one.config)], 1, "sequential")
    keeper = Keeper(spec, [one], None, lambda: None)
    for number, value in enumerate((0.25, 0.5, 0.5, NAN, 0.4)):
        keeper.after_epoch(number, [0], Weights(), epoch(val_hits=value))  # type: ignore[arg-type]
    assert keeper.best == {0: 0.5}
    assert keeper._best_weights[0][0] == 1


class Weights:
    def weights(self, lane: int) -> dict[str, np.ndarray]:
        return {}


def test_what_an_epoch_does_not_have_is_named() -> None:
    one = watching(monitor="val_rmse", early_stopping=2)
    assert value_of(one, epoch(val_rmse=2.0), "val_rmse", 0) == 2.0
    assert value_of(one, epoch(), "grad_norm", 0) == 1.0
    with pytest.raises(PartError, match="monitor=val_rmse: no epoch of this trial records"):
        value_of(one, epoch(val_rmsd=2.0), "val_rmse", 0)
