"""States that sequences start from, drawn at random."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import nnx

from trainables.core.random_keys import named_key
from trainables.core.variables import Setting


class FirstStates(nnx.Module):
    """States N(0, std^2) of layers, (B, S) each: anew in every training call, and after `eval()`
    the same in every call of the same batch size."""

    def __init__(self, std: float, rngs: nnx.Rngs):
        self.std = std
        self.stream = rngs.first_states.fork()
        self.fixed = Setting(rngs.first_states())
        self.deterministic = False

    def __call__(self, batch: int, sizes: Sequence[int]) -> tuple[jax.Array, ...]:
        """States of a batch for layers of these sizes."""
        key = self.fixed[...] if self.deterministic else self.stream()
        return tuple(
            self.std * jax.random.normal(named_key(key, "layer", layer), (batch, size))
            for layer, size in enumerate(sizes)
        )
