"""The probe `timeline`: how the gradient of the loss flows back through time, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trainables.core.engine import Measure, SharedColumns, State
from trainables.declarations import Trial
from trainables.tasks.base import probe_batch
from trainables.training.network import Network


def timeline(network: Network, trial: Trial) -> tuple[SharedColumns, Measure] | None:
    """|dL/dh^l_t| over batch and units, for the loss of the task's fixed probe batch.

    Time steps are evenly spaced, the last included, at most `timeline_points`.

    Returns:
      Shared columns layer and t, and the function that gives grad_norm; None for a model without
      taps.
    """
    depth, length = network.depth, network.sizes.seq_len
    if depth is None:
        return None
    points = min(int(trial.config["timeline_points"] or 2), length)
    times = np.unique(np.rint(np.linspace(0, length - 1, points)).astype(np.int32))
    shared = {
        "layer": np.repeat(np.arange(depth, dtype=np.int32), len(times)),
        "t": np.tile(times, depth),
    }

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        x, y, _ = probe_batch(network.task, values, data)

        def loss(gauges: jax.Array) -> jax.Array:
            module: Any = nnx.merge(network.graph, state["params"], state["rest"])
            module.eval()
            return jnp.mean(network.task.losses(module.tapped(x, gauges), y))

        norms = jax.grad(loss)(jnp.zeros((depth, length)))[:, times]
        return {"grad_norm": norms.reshape(-1)}

    return shared, measure
