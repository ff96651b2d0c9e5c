"""Reading the norm of a gradient where it flows."""

from __future__ import annotations

import jax

from trainables.core.norms import safe_norm
from trainables.core.numbers import widened


@jax.custom_vjp
def tap(h: jax.Array, gauge: jax.Array) -> jax.Array:
    """h itself; but differentiating by `gauge` (a scalar, any value) gives |dL/dh|.

    Reads the norm of a gradient where it flows, without keeping that gradient.
    """
    return h


def _tap_forward(h: jax.Array, gauge: jax.Array) -> tuple[jax.Array, None]:
    return h, None


def _tap_backward(kept: None, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    return cotangent, safe_norm(widened(cotangent))


tap.defvjp(_tap_forward, _tap_backward)
