"""Dropout whose rate is an array, so that one program serves every rate."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from trainables.core.variables import Setting


def drop(key: jax.Array, x: jax.Array, rate: jax.Array) -> jax.Array:
    """x with a share `rate` of its entries set to 0 and the others scaled to keep the mean."""

    def dropped() -> jax.Array:
        kept = jax.random.bernoulli(key, 1 - rate, x.shape)
        return jnp.where(kept, (x / (1 - rate)).astype(x.dtype), 0)

    # Drawing costs more than a small layer, so lanes without dropout are spared it.
    return lax.cond(rate > 0, dropped, lambda: x)


def drop_channels(key: jax.Array, x_TBH: jax.Array, rate: jax.Array) -> jax.Array:
    """As `drop`, with one mask of samples and channels for all time steps."""
    return x_TBH * drop(key, jnp.ones_like(x_TBH[:1]), rate)


class Dropout(nnx.Module):
    """`drop` as a layer, with its rate and its random stream.

    Every call in training draws anew; `eval()` makes it the identity, as for `nnx.Dropout`, which
    does not take a traced rate.
    """

    def __init__(self, rate: Any, rngs: nnx.Rngs):
        """`rate` in [0, 1), a number or a scalar array."""
        self.rate = Setting(jnp.asarray(rate, jnp.float32))
        self.stream = rngs.dropout.fork()
        self.deterministic = False

    def key(self) -> jax.Array | None:
        """A fresh key for a caller that draws its own masks; None after `eval()`."""
        return None if self.deterministic else self.stream()

    def __call__(self, x: jax.Array) -> jax.Array:
        key = self.key()
        return x if key is None else drop(key, x, self.rate[...])
