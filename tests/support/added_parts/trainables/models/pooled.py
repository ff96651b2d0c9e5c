"""A dense layer on the mean over time: a model that `test_added_parts` adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from trainables.declarations import Sizes


class Pooled(nnx.Module):
    """Logits (B, C) of x (B, T, F)."""

    def __init__(self, sizes: Sizes, width: int, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(sizes.features, width, rngs=rngs)
        self.readout = nnx.Linear(width, sizes.classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.readout(jnp.tanh(self.hidden(jnp.mean(x, 1))))


def pooled(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> Pooled:
    """Builds model `pooled`."""
    return Pooled(sizes, int(config["width"]), rngs)
