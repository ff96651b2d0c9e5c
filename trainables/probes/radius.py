"""The probe `radius`: how far one-step Jacobians stretch at the current weights.

What is measured depends on the model's family, as in the stage `lsc`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from trainables.core.engine import Measure, SharedColumns, State
from trainables.core.layout import by_path
from trainables.core.random_keys import named_key, trial_key
from trainables.declarations import Trial
from trainables.declarations.lsc.engine import FAMILIES
from trainables.layers.lru import Params
from trainables.lsc import ffn_jacobians, radius_loss
from trainables.lsc.ffn_jacobians import Norm
from trainables.lsc.lru_jacobians import depth_jacobians, time_radius
from trainables.lsc.rnn_jacobians import columns, transitions, walked
from trainables.models.residual import ResidualStack
from trainables.models.residual_block import Flow
from trainables.tasks.base import probe_batch
from trainables.training.network import Network

_RECURRENT_SAMPLES = 4
"""Samples measured, from the first of the probe batch. The paper takes many; means differ by about
0.03."""
_LARGE_STATE = 600
"""States of more numbers than these are estimated by power iteration."""


def _of_recurrent(network: Network, trial: Trial) -> tuple[SharedColumns, Measure]:
    """Of a recurrent network: spectral radii of all transitions at the last time step of the probe
    batch, from states of 0.

    Returns:
      Shared columns kind and layer, and the function that gives radius and radius_std.
    """
    cells = network.cells
    found = transitions(len(cells), network.sizes.classes)
    samples = min(_RECURRENT_SAMPLES, network.sizes.batch_size)
    estimate = "power" if max(cell.state_size for cell in cells) > _LARGE_STATE else "exact"

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        x = probe_batch(network.task, values, data)[0][:samples]
        key = named_key(trial_key(values["seed"]), "radius")
        net: Any = nnx.merge(network.graph, state["params"], state["rest"], copy=True)
        net.eval()
        (norms,) = walked(net, x, found, key, points=1, estimate=estimate)
        return {"radius": jnp.mean(norms, axis=1), "radius_std": jnp.std(norms, axis=1)}

    return columns(found), measure


_FEEDFORWARD_SAMPLES = 4
"""Samples of the probe `radius`."""


def _of_feedforward(network: Network, trial: Trial) -> tuple[SharedColumns, Measure]:
    """Of model `ffn`: d h_l / d h_{l-1}, d h_0 / d input (enc) and
    d logits / d z_{L-1} (dec), for four samples."""
    depth, activation = int(trial.config["depth"] or 1), str(trial.config["activation"])
    shared = {
        "kind": np.array(["enc", *["depth"] * (depth - 1), "dec"]),
        "layer": np.arange(depth + 1, dtype=np.int32),
    }

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        x = probe_batch(network.task, values, data)[0][:_FEEDFORWARD_SAMPLES]
        module: Any = nnx.merge(network.graph, state["params"], state["rest"], copy=True)
        key = named_key(trial_key(values["seed"]), "radius")
        weights, z = by_path(state["params"]), module.preactivations(x)
        norms = ffn_jacobians.layer_norms(activation, weights, x, z, key, Norm(), both=False)
        return {"radius": jnp.mean(norms, axis=1), "radius_std": jnp.std(norms, axis=1)}

    return shared, measure


_LRU_POINTS, _LRU_SAMPLES = 8, 8
"""Time steps, and samples of the probe batch, at which the probe `radius` measures."""


def _of_lru_stack(network: Network, trial: Trial) -> tuple[SharedColumns, Measure]:
    """Of the residual LRU stack: radii along real sequences.

    rec: of d x_{t+1} / d x_t. depth: of d x^{l+1}_{t+1} / d x^l_t, as the stage measures it, at
    eight time steps and samples of the task's probe batch.
    """
    depth, width = int(trial.config["depth"] or 1), int(trial.config["width"] or 1)
    length = network.sizes.seq_len
    points = np.unique(np.rint(np.linspace(0, length - 1, min(_LRU_POINTS, length))).astype(int))
    shared = {
        "kind": np.array(["rec"] * depth + ["depth"] * (depth - 1), object),
        "layer": np.array([*range(depth), *range(1, depth)], np.int32),
    }

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        key = named_key(trial_key(values["seed"]), "radius")
        x = probe_batch(network.task, values, data)[0][:_LRU_SAMPLES]
        module: ResidualStack = nnx.merge(network.graph, state["params"], state["rest"], copy=True)
        module.eval()
        block, blocks = module.block, module.blocks.values()

        def look(w: Params, flow: Flow) -> Any:
            return flow.a[points], flow.y[points]

        _, (a, y) = module.watched(x, look)
        a, y = (z.reshape(depth, -1, width) for z in (a, y))

        def pair(_: None, layer: jax.Array) -> tuple[None, jax.Array]:
            lower, upper = ({k: v[i] for k, v in blocks.items()} for i in (layer, layer + 1))
            found = depth_jacobians(block, lower, upper, a[layer], y[layer])
            own = named_key(key, "pair", layer)
            return None, radius_loss.departure(found, 1.0, own, "radius", "exact")[1]

        time = jax.vmap(lambda w: time_radius(block.cell, w))(blocks)
        between = lax.scan(pair, None, jnp.arange(depth - 1))[1]
        # Samples alone make the spread, as for other models.
        between = between.reshape(depth - 1, len(points), -1).mean(1)
        return {
            "radius": jnp.concatenate([time, between.mean(-1)]),
            "radius_std": jnp.concatenate([0 * time, between.std(-1)]),
        }

    return shared, measure


_BUILDERS = {
    "feed-forward": _of_feedforward,
    "recurrent": _of_recurrent,
    "linear": _of_lru_stack,
}


def radius(network: Network, trial: Trial) -> tuple[SharedColumns, Measure] | None:
    """Builds the probe `radius` of the trial's model; None for a model that has none."""
    family = FAMILIES.get(trial.model.name, "recurrent" if trial.model.cell else None)
    return None if family is None else _BUILDERS[family](network, trial)
