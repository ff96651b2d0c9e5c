"""How smooth a cost is: slopes (Lipschitz) and their change (beta), by length of the sequences.

docs/specs/ribeiro2020.md, 4.4: where the dynamics contract both are bounded whatever the length;
where they do not, the slope grows like L^2N and its change like L^3N. Everything is in float64,
since curvatures of a chaotic orbit exceed float32 within 200 steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from trainables.core.derivatives import Cost
from trainables.core.engine import Engine, OnHost, SharedColumns, State
from trainables.declarations import Trial
from trainables.probes import driven_net
from trainables.probes.sharpness import top_eigenvalue
from trainables.tasks.base import probe_batch
from trainables.training.epoch import Training

LENGTHS = (25, 50, 100, 200, 400)
_ITERATIONS = 20
_POINTS, _REACH = 9, 1e-3
"""Points of the line through the weights, and its half length over 1 + their norm."""


def secants(cost: Cost, at: jax.Array, direction: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Largest |dV| and |dg| over the distance of neighbours among nine points of a short line."""
    unit = direction / jnp.maximum(jnp.linalg.norm(direction), 1e-300)
    reach = _REACH * (1 + jnp.linalg.norm(at))
    place = jnp.linspace(-reach, reach, _POINTS)
    value, slope = jax.lax.map(lambda a: jax.value_and_grad(cost)(at + a * unit), place)
    gap = place[1] - place[0]
    rise = jnp.linalg.norm(jnp.diff(slope, axis=0), axis=-1)
    return jnp.max(jnp.abs(jnp.diff(value))) / gap, jnp.max(rise) / gap


def smoothness(engine: Engine, trial: Trial) -> tuple[SharedColumns, OnHost] | None:
    """Builds the probe `smoothness`, for training: the loss of the fixed probe batch cut to its
    first N steps, N of `LENGTHS`."""
    if not isinstance(engine, Training):
        return None
    full = engine.sizes.seq_len
    lengths = [n for n in LENGTHS if n <= full] or [full]
    measures = [jax.jit(_measure(engine, length)) for length in lengths]

    def measure(state: State, values: Mapping[str, Any], data: Any) -> dict[str, np.ndarray]:
        x, y, _ = probe_batch(engine.task, values, data)
        with jax.enable_x64(True):
            wide = driven_net.wide(jax.device_get((state["params"], state["rest"], x, y)))
            found = [{n: np.asarray(v) for n, v in one(*wide).items()} for one in measures]
        return {name: np.stack([row[name] for row in found]) for name in found[0]}

    return {"length": np.array(lengths, np.int32)}, OnHost(measure)


def _measure(engine: Training, length: int) -> Callable[..., dict[str, jax.Array]]:
    def run(params: Any, rest: Any, x: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
        at, shaped = ravel_pytree(params)
        x = x[:, :length]
        y = y[:, :length] if y.ndim == 2 else y

        def cost(flat: jax.Array) -> jax.Array:
            outputs, _ = engine.apply(shaped(flat), rest, x, train=False)
            return jnp.mean(engine.task.losses(outputs, y))

        value, gradient = jax.value_and_grad(cost)(at)
        lipschitz, beta = secants(cost, at, gradient)
        return {
            "cost": value,
            "grad_norm": jnp.linalg.norm(gradient),
            "curvature": jnp.abs(top_eigenvalue(jax.grad(cost), at, _ITERATIONS)),
            "lipschitz": lipschitz,
            "beta": beta,
        }

    return run
