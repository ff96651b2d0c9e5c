"""The minimal gated unit (Zhou et al., arXiv 1603.09420): a cell that `test_added_parts` adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from trainables.declarations import Sizes
from trainables.layers.gated import Params, Role, weights


@dataclass(frozen=True)
class MinimalGated:
    """f = sigmoid(W_f x + U_f h + b_f), h' = (1 - f) h + f tanh(W x + U (f h) + b)."""

    units: int

    @property
    def state_size(self) -> int:
        return self.units

    @property
    def output_size(self) -> int:
        return self.units

    def init(self, key: jax.Array, features: int) -> dict[str, jax.Array]:
        return {**weights(key, self.units, features, 2, "keras"), "b": jnp.zeros(2 * self.units)}

    def roles(self) -> dict[str, Role]:
        return {"w_ih": "input", "w_hh": "recurrent", "b": "none"}

    def drive(self, params: Params, x: jax.Array) -> jax.Array:
        return x @ params["w_ih"].T + params["b"]

    def advance(self, params: Params, state: jax.Array, drive: jax.Array) -> jax.Array:
        (gate, candidate), (u_f, u) = jnp.split(drive, 2, -1), jnp.split(params["w_hh"], 2)
        f = jax.nn.sigmoid(gate + state @ u_f.T)
        return (1 - f) * state + f * jnp.tanh(candidate + (f * state) @ u.T)

    def output(self, params: Params, state: jax.Array) -> jax.Array:
        return state


def minimal_gated(units: int, config: Mapping[str, Any], sizes: Sizes) -> MinimalGated:
    """The cell of model `minimal_gated`."""
    return MinimalGated(units)
