"""A lane's leaves as NumPy holds them: random keys become their words."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_key(leaf: Any) -> bool:
    """Whether a leaf is an array of typed random keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def shape_and_type(leaf: Any) -> tuple[tuple[int, ...], Any]:
    """Shape and type of a leaf, or of its abstract form, as NumPy holds it."""
    found = jax.eval_shape(jax.random.key_data, leaf) if is_key(leaf) else leaf
    return found.shape, found.dtype


def to_host(leaf: Any) -> np.ndarray:
    """A copy of a leaf."""
    return np.array(jax.random.key_data(leaf) if is_key(leaf) else leaf)


def from_host(value: np.ndarray, like: Any) -> Any:
    """The inverse of `to_host`, for a leaf of the type of `like`."""
    if not is_key(like):
        return value
    found = []  # what kind of key it is, which JAX says of a traced one but not of its shape
    jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), like)
    return jax.random.wrap_key_data(jnp.asarray(value), impl=found[0])
