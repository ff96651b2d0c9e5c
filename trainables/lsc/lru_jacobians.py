"""How far the residual LRU stack carries a change of its states on, through time and over depth.

Study `herranz2023`, section 1.5. x^l_t is the state of layer l. Shapes: B samples, H units, S = 4 H
real numbers of state, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from trainables.core.engine import Labels, Measure, State
from trainables.core.random_keys import named_key, trial_key
from trainables.declarations import Trial
from trainables.layers.lru import GAMMAS, LruCell, Params, squared_modulus, times
from trainables.lsc import radius_loss
from trainables.models.lru_stack import LruStack, branch, normalised
from trainables.tasks.base import probe_batch
from trainables.training.network import Network

_POINTS, _SAMPLES = 8, 8
"""Time steps, and samples of the probe batch, at which the probe `radius` measures."""


def time_radius(cell: LruCell, w: Params) -> jax.Array:
    """Radius of d x_{t+1} / d x_t within a layer: the largest |eigenvalue|."""
    return jnp.sqrt(jnp.max(squared_modulus(cell.eigenvalues(w)), axis=-1))


def depth_jacobians(
    cell: LruCell, lower: Params, upper: Params, a: jax.Array, y: jax.Array
) -> jax.Array:
    """Matrices (B, H, H) with the nonzero eigenvalues of d x^upper_{t+1} / d x^lower_t (B, S, S).

    That Jacobian is P M Q with Q = Re(C lambda .) of the lower layer, M = d u^upper / d y^lower,
    and P = gamma B of the upper one; its nonzero eigenvalues are those of M Q P, a quarter as wide.

    Args:
      a: (B, H) what the lower layer was given.
      y: (B, H) its unit's output.
    """

    def between(a: jax.Array, y: jax.Array) -> jax.Array:
        return normalised(upper, a + branch(lower, y, None))

    gamma = GAMMAS[cell.gamma].read(cell.eigenvalues(upper), upper.get("gamma"))
    factors = times(cell.eigenvalues(lower), (gamma, jnp.zeros_like(gamma)))
    b = upper["b_re"], upper["b_im"]
    re, im = times((factors[0][:, None], factors[1][:, None]), b)
    through = lower["c_re"] @ re - lower["c_im"] @ im
    return jax.vmap(jax.jacfwd(between, argnums=1))(a, y) @ through


def gaussian_radii(
    cell: LruCell, lower: Params, upper: Params, samples: int, key: jax.Array, estimate: str
) -> jax.Array:
    """Radii (B,) of d x^upper_{t+1} / d x^lower_t for inputs and last states from N(0, 1)."""
    a = jax.random.normal(named_key(key, "input"), (samples, cell.width))
    state = jax.random.normal(named_key(key, "state"), (samples, cell.state_size))
    u = normalised(lower, a)
    y = cell.output(lower, cell.advance(lower, state, cell.drive(lower, u)), u)
    found = depth_jacobians(cell, lower, upper, a, y)
    return radius_loss.departure(found, 1.0, named_key(key, "radius"), "radius", estimate)[1]


def radius(network: Network, trial: Trial) -> tuple[Labels, Measure]:
    """Builds the probe `radius`: radii along real sequences, at the current weights.

    rec: of d x_{t+1} / d x_t. depth: of d x^{l+1}_{t+1} / d x^l_t, as the stage measures it, at
    eight time steps and samples of the task's probe batch.
    """
    depth, width = int(trial.config["depth"] or 1), int(trial.config["width"] or 1)
    cell = LruCell(width, 2 * width)
    length = network.sizes.seq_len
    points = np.unique(np.rint(np.linspace(0, length - 1, min(_POINTS, length))).astype(int))
    labels = {
        "kind": np.array(["rec"] * depth + ["depth"] * (depth - 1), object),
        "layer": np.array([*range(depth), *range(1, depth)], np.int32),
    }

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        key = named_key(trial_key(values["seed"]), "radius")
        x = probe_batch(network.task, values, data)[0][:_SAMPLES]
        module: LruStack = nnx.merge(network.graph, state["params"], state["rest"], copy=True)
        module.eval()
        blocks = module.blocks.values()

        def up(a: jax.Array, w: Params) -> Any:
            u = normalised(w, a)
            y = cell.output(w, cell.states(w, cell.drive(w, u), module.mode), u)
            return a + branch(w, y, None), (a[points], y[points])

        _, (a, y) = lax.scan(up, jnp.swapaxes(module.embed(x), 0, 1), blocks)
        a, y = (z.reshape(depth, -1, width) for z in (a, y))

        def pair(_: None, layer: jax.Array) -> tuple[None, jax.Array]:
            lower, upper = ({k: v[i] for k, v in blocks.items()} for i in (layer, layer + 1))
            found = depth_jacobians(cell, lower, upper, a[layer], y[layer])
            own = named_key(key, "pair", layer)
            return None, radius_loss.departure(found, 1.0, own, "radius", "exact")[1]

        time = jax.vmap(lambda w: time_radius(cell, w))(blocks)
        between = lax.scan(pair, None, jnp.arange(depth - 1))[1]
        # Samples alone make the spread, as for other models.
        between = between.reshape(depth - 1, len(points), -1).mean(1)
        return {
            "radius": jnp.concatenate([time, between.mean(-1)]),
            "radius_std": jnp.concatenate([0 * time, between.std(-1)]),
        }

    return labels, measure
