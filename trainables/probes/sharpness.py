"""The probe `sharpness`: the largest curvature of the loss, and that along its gradient.

See docs/specs/zucchet2024.md, 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from trainables.core.derivatives import Field, along
from trainables.core.engine import Engine, Measure, SharedColumns, State
from trainables.declarations import Trial
from trainables.tasks.base import probe_batch
from trainables.training.epoch import Training

_ITERATIONS, _SAMPLES = 50, 32


def top_eigenvalue(gradient: Field, at: jax.Array, iterations: int = _ITERATIONS) -> jax.Array:
    """The Hessian's eigenvalue of largest size, by power iteration from the vector of ones."""

    def step(_: Any, v: jax.Array) -> jax.Array:
        turned = along(gradient, at, v)
        return turned / jnp.maximum(jnp.linalg.norm(turned), jnp.finfo(v.dtype).tiny)

    v = lax.fori_loop(0, iterations, step, jnp.ones_like(at) / jnp.sqrt(at.size))
    return v @ along(gradient, at, v)


def sharpness(engine: Engine, trial: Trial) -> tuple[SharedColumns, Measure] | None:
    """Builds the probe, for training."""
    if not isinstance(engine, Training):
        return None
    engine = engine.in_float32()

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        x, y, weight = probe_batch(engine.task, values, data)
        at, shaped = ravel_pytree(state["params"])

        def gradient_on(weight: jax.Array) -> Field:
            def loss(flat: jax.Array) -> jax.Array:
                return engine.loss(shaped(flat), state["rest"], (x, y, weight))[0]

            return jax.grad(loss)

        few = gradient_on(jnp.where(jnp.arange(len(weight)) < _SAMPLES, weight, 0))
        whole = gradient_on(weight)
        g = whole(at)
        directional = g @ along(whole, at, g) / (g @ g)
        return {"top_eigenvalue": top_eigenvalue(few, at)[None], "directional": directional[None]}

    return {}, measure
