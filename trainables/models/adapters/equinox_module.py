"""An `equinox.Module` as an NNX module. Equinox is imported by the user's code, never by ours."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from trainables.core.layout import path_text
from trainables.core.variables import Setting
from trainables.declarations import Model, PartError


class Array(nnx.Variable):
    """An array of a module that is not trained, such as one of integers."""


class _Written:
    """A module without its arrays; equal to itself alone, so its leaves may be anything."""

    def __init__(self, leaves: list[Any], structure: Any, places: dict[int, tuple[str, ...]]):
        self.leaves = leaves
        self.structure = structure
        self.places = places


class EquinoxModule(nnx.Module):
    """A module of one sample called with a batch, whose arrays are variables at their own paths."""

    def __init__(self, module: Any, rngs: nnx.Rngs, traced: Mapping[str, jax.Array]):
        found, structure = jax.tree_util.tree_flatten_with_path(module)
        settings = {id(value) for value in traced.values()}
        leaves, places, tree = [], {}, {}
        for i, (path, leaf) in enumerate(found):
            if not isinstance(leaf, jax.Array):
                leaves.append(leaf)
                continue
            kind = nnx.Param if jnp.issubdtype(leaf.dtype, jnp.inexact) else Array
            kind = Setting if id(leaf) in settings else kind
            leaves.append(None)
            *above, name = places[i] = tuple(path_text(path).split("/"))
            node = tree
            for entry in above:
                node = node.setdefault(entry, {})
            node[name] = kind(leaf)
        for name, value in tree.items():
            setattr(self, name, nnx.data(value))
        self._written = nnx.static(_Written(leaves, structure, places))
        self._stream = rngs.dropout.fork()
        self._trains = True

    def train(self, **attributes: Any) -> None:
        self._trains = True

    def eval(self, **attributes: Any) -> None:
        self._trains = False

    def module(self) -> Any:
        """The `equinox.Module` with the arrays as they are now."""
        leaves = list(self._written.leaves)
        for i, path in self._written.places.items():
            node: Any = getattr(self, path[0])
            for entry in path[1:]:
                node = node[entry]
            leaves[i] = node[...]
        return jax.tree.unflatten(self._written.structure, leaves)

    def inference(self) -> Any:
        """The `equinox.Module` in inference mode."""
        return _equinox().nn.inference_mode(self.module(), True)

    def __call__(self, x: Any) -> Any:
        module = self.module() if self._trains else self.inference()
        if "key" not in inspect.signature(type(module).__call__).parameters:
            return jax.vmap(module)(x)
        keys = jax.random.split(self._stream(), len(jax.tree.leaves(x)[0]))
        return jax.vmap(lambda sample, key: module(sample, key=key))(x, keys)


def _equinox() -> Any:
    return sys.modules.get("equinox")


def is_equinox(built: Any) -> bool:
    """Whether a function returned an Equinox module, or one with its state."""
    library = _equinox()
    first = built[0] if isinstance(built, tuple) and built else built
    return library is not None and isinstance(first, library.Module)


def of_equinox(
    model: Model, module: Any, rngs: nnx.Rngs, traced: Mapping[str, jax.Array]
) -> EquinoxModule:
    """The adapted module.

    Raises:
      PartError: it cannot be called, has layers with state, or a field that an NNX module cannot
        have.
    """
    index = _equinox().nn.StateIndex
    nodes = jax.tree.leaves(module, is_leaf=lambda node: isinstance(node, index))
    if isinstance(module, tuple) or any(isinstance(node, index) for node in nodes):
        raise PartError(
            f"model {model.name} is an Equinox module with stateful layers, which are not carried "
            "here; take equinox.nn.GroupNorm or LayerNorm in place of BatchNorm, or write the "
            "model in Flax NNX, whose state is"
        )
    if not callable(module):
        raise PartError(
            f"the function of model {model.name} returned a {type(module).__name__}, which cannot "
            "be called; give it __call__(self, x), of one sample"
        )
    for path, _ in jax.tree_util.tree_flatten_with_path(module)[0]:
        name = path_text(path).partition("/")[0]
        if hasattr(EquinoxModule, name):
            raise PartError(
                f"field {name} of the Equinox module of model {model.name} is the name of a method "
                "of Flax modules; give the field another"
            )
    return EquinoxModule(module, rngs, traced)
