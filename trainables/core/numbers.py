"""Numbers that are not float32: complex ones, and those of 16 bits.

Gradients, moments and statistics of 16-bit parameters are float32, norms of complex ones real.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

TRAINED = (jnp.float32, jnp.bfloat16, jnp.float16, jnp.complex64)
"""Types of parameters that can be trained."""


def is_complex(leaf: Any) -> bool:
    """Whether an array, or its shape and type, is of complex numbers."""
    return jnp.issubdtype(leaf.dtype, jnp.complexfloating)


def is_short(leaf: Any) -> bool:
    """Whether a leaf is an array of fewer than 32 bits a number, floating point."""
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4


def widened(tree: Any) -> Any:
    """The tree with its 16-bit floating-point leaves as float32, all others as they are."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if is_short(leaf) else leaf, tree)


def ascent(gradients: Any) -> Any:
    """What `jax.grad` gives of a real loss, as the direction in which it rises: the conjugate where
    complex, and float32 where the parameter has 16 bits."""

    def one(leaf: Any) -> Any:
        return jnp.conj(leaf) if is_complex(leaf) else leaf

    return jax.tree.map(one, widened(gradients))


def abs_square(x: jax.Array) -> jax.Array:
    """|x|^2, real."""
    if is_complex(x):
        return jnp.square(x.real) + jnp.square(x.imag)
    return jnp.square(x)
