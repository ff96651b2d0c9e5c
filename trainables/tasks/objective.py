"""The task of an objective: `loss(tree, batch, key, config)` judges the parameters themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from trainables.core.length_reads import LengthReads
from trainables.core.precision import Precision
from trainables.declarations import PartError, Sizes, Task
from trainables.tasks.base import Question, Schedule
from trainables.tasks.user_task import WEIGHT, Batch, UserTask


class ObjectiveTask(UserTask):
    """As `UserTask`; outputs are the tree, and the loss brings its metrics along."""

    def __init__(
        self,
        sizes: Sizes,
        task: Task,
        fixed: Mapping[str, Any],
        length_reads: LengthReads | None = None,
    ):
        super().__init__(sizes, task, fixed, length_reads)
        self.measures = True
        self._precision = Precision(str(self.fixed.get("compute_dtype", "float32")))

    def _keys(self, key: jax.Array, steps: int) -> Schedule:
        return {"key": jax.random.split(key, steps)}

    def losses(self, outputs: Any, y: Any) -> jax.Array:
        return self._once(outputs, y, self._judged)[0]

    def _measured(self, outputs: Any, y: Any) -> dict[str, jax.Array]:
        return self._once(outputs, y, self._judged)[1]

    def _judged(self, tree: Any, y: Question) -> tuple[jax.Array, dict[str, jax.Array]]:
        given = {} if self.sizes.split == "drawn" else y.batch
        # The loss computes what a model does elsewhere.
        tree, lowered = self._precision.params(tree), self._precision.inputs(given)
        lowered |= {WEIGHT: given[WEIGHT]} if given else {}
        batch, loss = Batch(lowered), self.task.loss
        assert loss is not None

        asked = tree, batch, y.key, self.config(y.hparams)
        found = self._asked("loss", loss, *asked, outputs=tree, batch=batch)
        value, metrics = found if isinstance(found, tuple) else (found, {})
        if not isinstance(metrics, Mapping):
            raise PartError(
                f"loss of objective {self.task.name} returned {type(metrics).__name__} beside its "
                'value; it must return a scalar, or (scalar, {"metric": scalar})'
            )
        batch = Batch({WEIGHT: y.batch[WEIGHT]}) if not given else batch
        return self._per_sample("loss", value, batch), self._named(metrics, batch)
