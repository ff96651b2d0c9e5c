"""Modules of other libraries as Flax NNX modules: Linen and Equinox, a file each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import linen, nnx

from trainables.declarations import Model
from trainables.models.adapters import equinox_module
from trainables.models.adapters.linen_module import LinenModule, of_linen
from trainables.models.plain_tree import PlainTree


def adapted(
    model: Model,
    built: Any,
    rngs: nnx.Rngs,
    traced: Mapping[str, jax.Array],
    example: Callable[..., Any] | None,
) -> Any:
    """What a model's function returned, as an NNX module where it is of Linen or Equinox; all else
    as it is.

    Args:
      rngs: what its parameters and random layers draw from.
      traced: the trial's traced values.
      example: (traced) -> the abstract inputs of a batch.

    Raises:
      PartError: it is a module of a kind that cannot be trained here.
    """
    if isinstance(built, linen.Module):
        return of_linen(model, built, rngs, traced, example)
    if equinox_module.is_equinox(built):
        return equinox_module.of_equinox(model, built, rngs, traced)
    return built


def as_written(module: Any) -> Any:
    """The module of the user's own kind, to evaluate: a bound `flax.linen.Module`, an
    `equinox.Module` in inference mode, the tree of an objective, or the NNX module itself."""
    if isinstance(module, LinenModule):
        return module.bound()
    if isinstance(module, equinox_module.EquinoxModule):
        return module.inference()
    return module() if isinstance(module, PlainTree) else module
