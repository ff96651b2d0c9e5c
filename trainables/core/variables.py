"""Variables of Flax modules beside parameters, and tensors by name."""

from __future__ import annotations

from collections.abc import Mapping

import jax
from flax import nnx


class Setting(nnx.Variable):
    """A traced hyperparameter that lives in a module: carried with its state, never trained."""


class Carried(nnx.Variable):
    """Hidden state that a module carries from batch to batch."""


class Tensors(nnx.Module):
    """Parameters by name."""

    def __init__(self, tensors: Mapping[str, jax.Array]):
        self.names = tuple(tensors)
        for name, value in tensors.items():
            setattr(self, name, nnx.Param(value))

    def values(self) -> dict[str, jax.Array]:
        """The arrays by name."""
        return {name: getattr(self, name)[...] for name in self.names}
