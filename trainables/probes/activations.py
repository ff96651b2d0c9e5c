"""The probe `activations`: what the nonlinearities of a model give, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainables.core.engine import Engine, Measure, SharedColumns, State
from trainables.core.layout import Layout, by_path
from trainables.core.numbers import widened
from trainables.declarations import Trial
from trainables.models.plain_tree import PlainTree
from trainables.probes.nonlinearities import Seen, is_flat, nonlinearities
from trainables.tasks.base import probe_batch
from trainables.training.network import Network


def activations(engine: Engine, trial: Trial) -> tuple[SharedColumns, Measure] | None:
    """Mean, standard deviation, and shares of saturated values and dead units, on the task's fixed
    probe batch, in evaluation mode.

    Rows are the nonlinearities in the order of the model's program, then its answer. Of an
    objective, whose loss computes what a model does elsewhere, the last row is its loss.

    Returns:
      Shared columns position, layer_name and function, known once the measure has been traced, and
      the function that gives the others; None for a stage without a network.
    """
    layout = engine.layout
    if not isinstance(engine, Network) or layout is None:
        return None
    shared: dict[str, np.ndarray] = {}

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        batch = probe_batch(engine.task, values, data)

        def forward(params: Any, rest: Any, batch: Any) -> Any:
            outputs, _ = engine.apply(params, rest, batch[0], train=False)
            tree = isinstance(engine.module(params, rest, train=False), PlainTree)
            return engine.losses(batch, outputs) if tree else outputs

        params = state["params"]
        seen = nonlinearities(forward, params, _layers(layout, params), state["rest"], batch)
        shared.update(
            position=np.arange(len(seen), dtype=np.int32),
            layer_name=np.array([one.source.name for one in seen], object),
            function=np.array([one.function for one in seen], object),
        )
        rows = [_summary(one) for one in seen]
        return {name: jnp.stack([row[name] for row in rows]) for name in rows[0]}

    return shared, measure


def _layers(layout: Layout, params: Any) -> list[tuple[str, ...]]:
    """The layer of each leaf of the parameters; several of one that stacks them."""
    names: dict[str, dict[int, str]] = {path: {} for path in by_path(params)}
    for slot in layout.slots:
        names[slot.path][slot.index or 0] = slot.layer_name
    return [tuple(own[i] for i in sorted(own)) for own in names.values()]


def _summary(one: Seen) -> dict[str, jax.Array]:
    values = jnp.atleast_1d(widened(one.values))
    flat, unknown = is_flat(one.function, values), jnp.float32(jnp.nan)
    units = None if flat is None else jnp.all(flat, axis=tuple(range(flat.ndim - 1)))
    return {
        "mean": jnp.mean(values),
        "std": jnp.std(values),
        "saturated": unknown if flat is None else jnp.mean(flat, dtype=jnp.float32),
        "dead": unknown if units is None else jnp.mean(units, dtype=jnp.float32),
    }
