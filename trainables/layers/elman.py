"""One Elman layer over time, with a reverse pass of its own.

Shapes are suffixed: T time, B batch, H units. Training a stack as a scan over layers of a scan over
time, with the input projections and all weight gradients taken out of the time loop as single
matrix products, was 1.5 times as fast as automatic differentiation of the plain loop and 1.75 times
as fast as one scan over anti-diagonals (20 layers, H = T = B = 64, two CPU cores).
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from trainables.layers.tap import tap


def activate(z: jax.Array, activation: str) -> jax.Array:
    return jnp.tanh(z) if activation == "tanh" else jnp.maximum(z, 0)


def slope_at_output(h: jax.Array, activation: str) -> jax.Array:
    """The activation's derivative, written in its value h."""
    return 1 - h * h if activation == "tanh" else (h > 0).astype(h.dtype)


def _states(activation: str, w_hh: jax.Array, drive_TBH: jax.Array) -> jax.Array:
    def step(h_BH: jax.Array, drive_BH: jax.Array) -> tuple[jax.Array, jax.Array]:
        h_BH = activate(h_BH @ w_hh.T + drive_BH, activation)
        return h_BH, h_BH

    return lax.scan(step, jnp.zeros_like(drive_TBH[0]), drive_TBH)[1]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def elman(activation: str, w_hh: jax.Array, drive_TBH: jax.Array) -> jax.Array:
    """States h_t = activation(W_hh h_{t-1} + drive_t) from h_{-1} = 0.

    Args:
      activation: "tanh" or "relu".
      w_hh: (H, H).
      drive_TBH: input projection plus biases.

    Returns:
      h, shape (T, B, H).
    """
    return _states(activation, w_hh, drive_TBH)


def _forward(
    activation: str, w_hh: jax.Array, drive_TBH: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    h_TBH = _states(activation, w_hh, drive_TBH)
    return h_TBH, (w_hh, h_TBH)


def _backward(
    activation: str, kept: tuple[jax.Array, jax.Array], cotangent_TBH: jax.Array
) -> tuple[jax.Array, jax.Array]:
    w_hh, h_TBH = kept

    def step(
        from_later_BH: jax.Array, here: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        h_BH, cotangent_BH = here
        dz_BH = (from_later_BH + cotangent_BH) * slope_at_output(h_BH, activation)
        return dz_BH @ w_hh, dz_BH

    start = jnp.zeros_like(h_TBH[0])
    _, dz_TBH = lax.scan(step, start, (h_TBH, cotangent_TBH), reverse=True)
    before_TBH = jnp.concatenate([jnp.zeros_like(h_TBH[:1]), h_TBH[:-1]])
    return jnp.einsum("tbi,tbj->ij", dz_TBH, before_TBH), dz_TBH


elman.defvjp(_forward, _backward)


def tapped_elman(
    activation: str, w_hh: jax.Array, drive_TBH: jax.Array, gauges_T: jax.Array
) -> jax.Array:
    """`elman` with a `tap` on every h_t."""

    def step(h_BH: jax.Array, here: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        drive_BH, gauge = here
        h_BH = tap(activate(h_BH @ w_hh.T + drive_BH, activation), gauge)
        return h_BH, h_BH

    return lax.scan(step, jnp.zeros_like(drive_TBH[0]), (drive_TBH, gauges_T))[1]
