"""A trial's module with the weights that were kept, outside any pack; and probes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainables.core.engine import OnHost
from trainables.core.hparams import lane_values
from trainables.core.layout import by_path
from trainables.core.module_state import restored
from trainables.declarations import PartError, Trial, nearest
from trainables.models.adapters import as_written
from trainables.models.adapters.linen_module import NoBatchError
from trainables.packs.programs import built_probe
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
    engine = _engine_of(trial, arrays)
    state = _state_with(trial, engine, weights)
    return as_written(engine.module(state["params"], state["rest"], train=False))


def shapes_of(
    trial: Trial, arrays: Callable[[], Mapping[str, np.ndarray]]
) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a trial's model by name; `arrays` as for `module_with`.

    Raises:
      PartError: the trial trains no module.
    """
    engine = _engine_of(trial, arrays)
    like = _zeros_like(trial, engine)[1]
    return {name: value.shape for name, value in engine.layout.named(like).items()}


def measured_with(
    trial: Trial, weights: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray], probe: str
) -> dict[str, np.ndarray]:
    """Columns (rows,) that a probe of a trial fills at weights that were kept.

    Args:
      weights: as for `module_with`.
      arrays: of the data set that the task names.

    Raises:
      PartError: the trial trains no module or has no such probe, or the probe reads more than that,
        such as an optimizer's averages.
      ValueError: the weights do not fit the model.
    """
    data = make_data(trial, arrays)
    engine: Any = trial.stage.builder()(trial, make_task(trial, data), lane_values(trial))
    state, values = _state_with(trial, engine, weights), lane_values(trial)
    known = {name: one for name, one in trial.probes.items() if one.build or one.measure}
    if probe not in known:
        raise PartError(
            f"trial {trial.id} has no probe {probe}{nearest(probe, known)}; it has "
            f"{', '.join(sorted(known))}"
        )
    found = built_probe(known[probe], engine, trial)
    if found is None:
        raise PartError(f"probe {probe} has nothing to measure of trial {trial.id}")
    shared, measure = found
    try:
        if isinstance(measure, OnHost):
            columns = measure.measure(jax.device_get(state), values, data)
        else:
            columns = jax.jit(measure)(state, jax.tree.map(jnp.asarray, values), data)
    except KeyError as error:
        raise PartError(
            f"probe {probe} reads more of a trial ({error.args[0]}) than the weights that are "
            f"kept; record it while the trial trains: --set {probe}_every=0"
        ) from error
    return {**shared, **{name: np.asarray(column) for name, column in columns.items()}}


def _state_with(trial: Trial, engine: Any, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Parameters and what a module carries beside them, of weights that were kept.

    Raises:
      PartError: the trial trains no module.
      ValueError: the weights do not fit the model.
    """
    shapes, like = _zeros_like(trial, engine)
    values = jax.tree.map(jnp.asarray, lane_values(trial))
    leaves = engine.layout.leaves(weights, like).values()
    params = jax.tree.unflatten(jax.tree.structure(shapes), [jnp.asarray(w) for w in leaves])
    # Hyperparameters and the like, which are not kept; XLA leaves the parameters out.
    rest = jax.jit(lambda v: engine.init(trial, v)["rest"])(values)
    return {
        "params": params,
        "rest": jax.tree.map(jnp.asarray, restored(engine.layout, rest, weights)),
    }


def _engine_of(trial: Trial, arrays: Callable[[], Mapping[str, np.ndarray]]) -> Any:
    """What trains a trial; data are read only where the model needs their shapes."""
    build = trial.stage.builder()
    try:
        return build(trial, make_task(trial), lane_values(trial))
    except NoBatchError:
        return build(trial, make_task(trial, make_data(trial, arrays())), lane_values(trial))


def _zeros_like(trial: Trial, engine: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """A trial's parameters as shapes and types, and zeros of these by path.

    Raises:
      PartError: the trial trains no module.
    """
    if not isinstance(engine, Network):
        raise PartError(f"stage {trial.stage.name} of trial {trial.id} trains no module")
    values = jax.tree.map(jnp.asarray, lane_values(trial))
    shapes = jax.eval_shape(lambda v: engine.init(trial, v)["params"], values)
    return shapes, {path: np.zeros(s.shape, s.dtype) for path, s in by_path(shapes).items()}
