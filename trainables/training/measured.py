"""Probes that are one function: `Probe(measure=...)`, called on a trial's model between epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainables.core.engine import Engine, Measure, OnHost, SharedColumns, State
from trainables.declarations import PartError, Probe, Trial
from trainables.declarations.core.parts import loaded
from trainables.models.adapters import as_written
from trainables.models.plain_tree import PlainTree
from trainables.tasks.base import named_batch, probe_batch
from trainables.training.loop import LoopEngine
from trainables.training.network import Network

Values = Mapping[str, jax.Array]


def measured(
    probe: Probe, engine: Engine, trial: Trial
) -> tuple[SharedColumns, Measure | OnHost] | None:
    """What fills a probe that declares `measure`; None where the stage has no model.

    Columns that the function returns as anything else than JAX arrays are the shared ones, known
    once the measure has been traced.
    """
    model_of = _model_of(engine)
    if model_of is None or probe.measure is None:
        return None
    function, task = loaded(probe.measure), getattr(engine, "task", None)
    constants = {**trial.statics, **trial.length, **trial.recordings()}
    own, reads = trial.structure.own, getattr(engine, "length_reads", None)

    def called(state: State, values: Values, data: Any) -> dict[str, Any]:
        batch = None if task is None else named_batch(task, probe_batch(task, values, data))
        config = {**{n: v for n, v in values.items() if n in own}, **constants}
        config = dict(trial.structure.seen_by("model", config))
        if reads is not None:
            config = reads.watched(probe, config)
        if probe.on_host:
            batch = jax.tree.map(np.asarray, batch)
        found = function(model_of(state), batch, config)
        if not isinstance(found, Mapping):
            raise PartError(
                f"probe {probe.name} returned a {type(found).__name__}; it must return a dict of "
                "its columns"
            )
        return _level(probe, found)

    if probe.on_host:
        return {}, OnHost(called)
    shared: dict[str, np.ndarray] = {}

    def measure(state: State, values: Values, data: Any) -> dict[str, jax.Array]:
        found = called(state, values, data)
        shared.update({n: v for n, v in found.items() if not isinstance(v, jax.Array)})
        return {n: v for n, v in found.items() if isinstance(v, jax.Array)}

    return shared, measure


def _model_of(engine: Engine) -> Callable[[State], Any] | None:
    """Function of a lane's state that gives what a probe is handed as `model`."""
    if isinstance(engine, LoopEngine):
        return engine.whole
    if not isinstance(engine, Network):
        return None

    def module(state: State) -> Any:
        found = engine.module(state["params"], state["rest"], train=False)
        return found() if isinstance(found, PlainTree) else as_written(found)

    return module


def _level(probe: Probe, found: Mapping[str, Any]) -> dict[str, Any]:
    """Columns as arrays; a single number, or word, in as many rows as the others have."""
    columns = {name: _array(probe, name, value) for name, value in found.items()}
    rows = max((len(c) for c in columns.values() if c.ndim), default=1)
    return {
        n: c if c.ndim else (jnp if isinstance(c, jax.Array) else np).broadcast_to(c, (rows,))
        for n, c in columns.items()
    }


def _array(probe: Probe, name: str, value: Any) -> Any:
    if isinstance(value, jax.Array):
        half = jnp.issubdtype(value.dtype, jnp.floating) and value.dtype.itemsize < 4
        return value.astype(jnp.float32) if half else value
    try:
        if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(value)):
            return jnp.asarray(value)
        return np.asarray(value)
    except (TypeError, ValueError):
        raise PartError(
            f"column {name} of probe {probe.name} is a {type(value).__name__}; it must be an array"
        ) from None
