"""How large a trial's state is, from shapes alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from trainables.core.host_arrays import shape_and_type
from trainables.core.hparams import lane_values
from trainables.declarations import Trial
from trainables.tasks.base import make_data, make_task


def state_bytes(trial: Trial, arrays: Mapping[str, np.ndarray], weights: bool) -> int:
    """Bytes of a trial's whole state.

    Args:
      arrays: of the data set that its task names. weights: add those of its weights by name.
    """
    values = lane_values(trial)
    task = make_task(trial, make_data(trial, arrays))
    engine = trial.stage.builder()(trial, task, values)
    state: Any = jax.eval_shape(lambda given: engine.init(trial, given), dict(values))
    return _bytes(state) + (_bytes(state.get("params", ())) if weights else 0)


def _bytes(tree: Any) -> int:
    kinds = [shape_and_type(leaf) for leaf in jax.tree.leaves(tree)]
    return sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in kinds)
