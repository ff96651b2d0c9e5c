"""A trial's module with the weights that were kept, outside any pack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainables.core.hparams import lane_values
from trainables.core.layout import by_path
from trainables.core.module_state import restored
from trainables.declarations import PartError, Trial
from trainables.models.adapters import as_written
from trainables.models.adapters.linen_module import NoBatchError
from trainables.tasks.base import make_data, make_task
from trainables.training.network import Network


def module_with(
    trial: Trial, weights: Mapping[str, np.ndarray], arrays: Callable[[], Mapping[str, np.ndarray]]
) -> Any:
    """The module of a trial's model, of the user's own kind, set to evaluate.

    Args:
      weights: tensors by name, as `Pack.weights` gives them.
      arrays: reads the data set that the task names; called where the model needs shapes of data.

    Raises:
      PartError: the trial trains no module.
      ValueError: the weights do not fit the model.
    """
    values = jax.tree.map(jnp.asarray, lane_values(trial))
    engine, shapes = _abstract(trial, arrays)
    like = {path: np.zeros(s.shape, s.dtype) for path, s in by_path(shapes).items()}
    leaves = engine.layout.leaves(weights, like).values()
    params = jax.tree.unflatten(jax.tree.structure(shapes), [jnp.asarray(w) for w in leaves])
    # Hyperparameters and the like, which are not kept; XLA leaves the parameters out.
    rest = jax.jit(lambda v: engine.init(trial, v)["rest"])(values)
    rest = jax.tree.map(jnp.asarray, restored(engine.layout, rest, weights))
    return as_written(engine.module(params, rest, train=False))


def shapes_of(
    trial: Trial, arrays: Callable[[], Mapping[str, np.ndarray]]
) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a trial's model by name; `arrays` as for `module_with`.

    Raises:
      PartError: the trial trains no module.
    """
    engine, shapes = _abstract(trial, arrays)
    like = {path: np.zeros(s.shape, s.dtype) for path, s in by_path(shapes).items()}
    return {name: value.shape for name, value in engine.layout.named(like).items()}


def _abstract(trial: Trial, arrays: Callable[[], Mapping[str, np.ndarray]]) -> tuple[Any, Any]:
    """What trains a trial, and its parameters as shapes and types."""
    build = trial.stage.builder()
    try:
        engine: Any = build(trial, make_task(trial), lane_values(trial))
    except NoBatchError:
        engine = build(trial, make_task(trial, make_data(trial, arrays())), lane_values(trial))
    if not isinstance(engine, Network):
        raise PartError(f"stage {trial.stage.name} of trial {trial.id} trains no module")
    values = jax.tree.map(jnp.asarray, lane_values(trial))
    return engine, jax.eval_shape(lambda v: engine.init(trial, v)["params"], values)
