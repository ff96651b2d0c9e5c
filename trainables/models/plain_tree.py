"""A tree of arrays as a module: the parameters of an objective in plain JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from trainables.core.layout import by_path
from trainables.declarations import PartError, Sizes

_ROOT = "params"
"""Name of a tree that is one array."""


class PlainTree(nnx.Module):
    """The leaves of a tree as parameters, named by their paths; called, it gives the tree back.

    Leaves of other than real or complex numbers of floating point are carried and not trained.
    """

    def __init__(self, tree: Any):
        leaves = by_path(tree)
        self.structure = jax.tree.structure(tree)
        self.names = tuple(path or _ROOT for path in leaves)
        for name, leaf in zip(self.names, leaves.values(), strict=True):
            value = jnp.asarray(leaf)
            trained = jnp.issubdtype(value.dtype, jnp.inexact)
            setattr(self, name, nnx.Param(value) if trained else nnx.Variable(value))

    def __call__(self, x: Any = None) -> Any:
        return jax.tree.unflatten(self.structure, [getattr(self, n)[...] for n in self.names])


def tree_model(
    config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs, init: Callable[..., Any]
) -> PlainTree:
    """The tree that `init(key, config)` gives.

    Raises:
      PartError: it holds something else than arrays and numbers.
    """
    tree = init(rngs.params(), config)
    for path, leaf in by_path(tree).items():
        if not isinstance(leaf, (jax.Array, int, float, complex)) and not hasattr(leaf, "dtype"):
            raise PartError(
                f"init of the objective returned {path.replace('/', '.') or 'a tree'} of type "
                f"{type(leaf).__name__}; its tree must be made of arrays"
            )
    return PlainTree(tree)
