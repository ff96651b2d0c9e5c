"""Dropout whose rate is an array, so that one program serves every rate."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from trainables.models import Setting


class Dropout(nnx.Module):
    """Sets a share `rate` of all entries to 0 and scales the others to keep the mean.

    Every call in training draws anew; `eval()` makes it the identity, as for `nnx.Dropout`, which
    does not take a traced rate.
    """

    def __init__(self, rate: Any, rngs: nnx.Rngs):
        """`rate` in [0, 1), a number or a scalar array."""
        self.rate = Setting(jnp.asarray(rate, jnp.float32))
        self.stream = rngs.dropout.fork()
        self.deterministic = False

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.deterministic:
            return x
        key, rate = self.stream(), self.rate[...]

        def drop() -> jax.Array:
            kept = jax.random.bernoulli(key, 1 - rate, x.shape)
            return jnp.where(kept, x / (1 - rate), 0)

        # Drawing costs more than a small layer, so lanes without dropout are spared it.
        return lax.cond(rate > 0, drop, lambda: x)
