"""Independently recurrent units: a simple RNN whose recurrent matrix is diagonal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import initializers

from trainables.core.activations import ACTIVATIONS
from trainables.core.random_keys import named_key
from trainables.declarations import Sizes
from trainables.layers.gated import Params, Role


@dataclass(frozen=True)
class IndRNN:
    """h' = activation(W x + u o h + b) (Li et al., arXiv 1803.04831): u (H,) starts from U(0, 1),
    W is Glorot-uniform and b is 0."""

    units: int
    activation: str = "relu"

    @property
    def state_size(self) -> int:
        return self.units

    @property
    def output_size(self) -> int:
        return self.units

    def init(self, key: jax.Array, features: int) -> dict[str, jax.Array]:
        draw = initializers.glorot_uniform()
        return {
            "w_ih": draw(named_key(key, "w_ih"), (self.units, features)),
            "u": jax.random.uniform(named_key(key, "u"), (self.units,)),
            "b": jnp.zeros(self.units),
        }

    def roles(self) -> dict[str, Role]:
        return {"w_ih": "input", "u": "recurrent", "b": "none"}

    def drive(self, params: Params, x: jax.Array) -> jax.Array:
        return x @ params["w_ih"].T + params["b"]

    def advance(self, params: Params, state: jax.Array, drive: jax.Array) -> jax.Array:
        return ACTIVATIONS[self.activation](drive + params["u"] * state)

    def output(self, params: Params, state: jax.Array) -> jax.Array:
        return state


def indrnn(units: int, config: Mapping[str, Any], sizes: Sizes) -> IndRNN:
    """The cell of model `indrnn`."""
    return IndRNN(units)
