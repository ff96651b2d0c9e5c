"""Declaration of stages whose training loop is a user's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Code, Metric, PartError, Stage
from trainables.declarations.core.step_keys import STEP_KEYS
from trainables.declarations.training.epoch import AVERAGE, TRAIN

_MODELS_ONLY = ("pretrain", *(key.name for key in (*STEP_KEYS, *AVERAGE)))
"""Keys of the stage train that are about a model, or about how its step computes."""
_STEPS = Key(
    "steps_per_epoch", "int", 100, "static", "Calls of the step function in an epoch.",
    unit="steps", low=1,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Loop(Stage):
    """A stage whose training step is a function: several losses and optimizers, reinforcement
    learning, meta-learning. `docs/engines.md` has a complete example.

        Loop(name="gan", init=init, step=step, evaluate=evaluate, keys=(...))

    Every trial has the keys of the stage train that make sense here (epochs, early_stopping, ...);
    one that the loop declares itself takes their place. Without a task `steps_per_epoch` is one.

    Attributes:
      init: `init(key, config) -> state`, a dict of arrays or trees of arrays. `state["params"]` is
        what is trained: its layers are rows of `layers`, it is kept as weights, and a child starts
        from it. The rest (states of optimizers and environments, counters) goes with it.
      step: `step(state, batch, key, config) -> (state, metrics)`, or `(state, metrics, gradients)`
        with a tree like `state["params"]`, whose norms are then recorded. Metrics are numbers by
        name; their means over an epoch's steps are stored. "loss" must stay finite; any other that
        is NaN in some step is left out of the mean.
      evaluate: `evaluate(state, batch, key, config) -> metrics`, numbers, or arrays (batch,) of
        one number for each sample. Stored as `val_` and `test_` with the name, without a task as
        `val_` alone.
      restart: `restart(state, params, config) -> state` of one that starts from a parent's weights;
        without it these take the place of `state["params"]`.
      reads: ("task",), or () where batches come from nowhere but the key.
      metric_columns: unit and better end of metrics.

    `key` is drawn from the trial's seed, the epoch and the step. `batch` is a dict of arrays, with
    "weight" (batch,), 0 for samples that only fill a batch up; None without a task. `config` holds
    static keys as Python values and traced ones as arrays, and `epochs`, `steps_per_epoch` and
    `total_steps` for schedules; in `init` also keys of kind init.
    """

    own_weights: ClassVar[bool] = True
    build: Code | None = "trainables.training.loop:LoopEngine"
    init: Code
    step: Code
    evaluate: Code | None = None
    restart: Code | None = None
    reads: tuple[str, ...] = ("task",)
    task_loss: bool = False
    metric_columns: tuple[Metric, ...] = ()

    def __post_init__(self) -> None:
        strange = [role for role in self.reads if role != "task"]
        if strange:
            raise PartError(
                f"loop {self.name} reads {strange[0]}; it can read a task only: make the model in "
                "init and the optimizer in init and step"
            )
        own = {getattr(key, "name", None) for key in self.keys}
        keys = (*self.keys, *(key for key in self._shared() if key.name not in own))
        object.__setattr__(self, "keys", keys)

    def _shared(self) -> Iterator[Key]:
        if "task" not in self.reads:
            yield _STEPS
        yield from (key for key in TRAIN.keys if key.name not in _MODELS_ONLY)
