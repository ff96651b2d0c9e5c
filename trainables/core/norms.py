"""Euclidean norms that neither underflow nor overflow.

A vanishing gradient of 1e-30 has squares of 1e-60, far below the smallest float32 (1.2e-38), so
every norm here divides by the largest magnitude first. Values below 1.2e-38 (subnormal) may be
flushed to 0 by XLA's compiled code on any device: a norm reported as exactly 0 means "all entries
are 0 or subnormal".
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from trainables.core.numbers import is_complex, is_short

_MOST = 2.0**100
"""Beyond 2^126 compiled code divides by a reciprocal that is flushed to 0."""


def safe_norm(x: jax.Array, axis: tuple[int, ...] | None = None) -> jax.Array:
    """2-norm over `axis` (all axes if None), exact in scale; of complex numbers that of their
    magnitudes, and of 16-bit ones in float32.

    An array of zeros gives exactly 0; any inf or NaN gives a non-finite norm.
    """
    if is_complex(x):
        x = jnp.abs(x)
    elif is_short(x):
        x = x.astype(jnp.float32)
    largest = jnp.max(jnp.abs(x), axis=axis, keepdims=True, initial=0.0)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
    scale = jnp.minimum(scale, _MOST)
    total = jnp.sum(jnp.square(x / scale), axis=axis, keepdims=True)
    return jnp.squeeze(scale * jnp.sqrt(total), axis=axis)


def tree_norm(tree: Any) -> jax.Array:
    """2-norm of all leaves of a tree together."""
    return safe_norm(jnp.stack([safe_norm(leaf) for leaf in jax.tree.leaves(tree)]))


def segment_norms(norms: jax.Array, segments: jax.Array, count: int) -> jax.Array:
    """Norms of concatenations: entry s combines the `norms` whose segment is s. Shape (count,)."""
    member = segments[None, :] == jnp.arange(count)[:, None]
    return safe_norm(jnp.where(member, norms[None, :], 0.0), axis=(1,))


def smallest_nonzero(norms: jax.Array) -> jax.Array:
    """The smallest entry above 0, or 0 where there is none."""
    least = jnp.min(jnp.where(norms > 0, norms, jnp.inf))
    return jnp.where(jnp.isfinite(least), least, 0.0)
