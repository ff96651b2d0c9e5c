"""A `flax.linen.Module` as an NNX module, initialised with the shapes of the task's batch."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx
from flax.core import DenyList
from flax.nnx import bridge
from flax.nnx.bridge.variables import nnx_attrs_to_linen_vars

from trainables.declarations import Model, PartError

_FLAGS = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}
"""Arguments and fields that say whether a Linen module trains, with their value while it does."""


class NoBatchError(PartError):
    """A model needs a batch to be initialised, and none is known."""


class LinenModule(bridge.ToNNX):
    """The module `linen` called as NNX modules are: its collections, such as batch_stats, are
    variables, and `train()` and `eval()` set the flag that its `__call__`, or else one of its
    fields, has for it."""

    def __init__(self, module: linen.Module, rngs: nnx.Rngs):
        super().__init__(module, rngs)
        self.to_nnx__trains = True

    def train(self, **attributes: Any) -> None:
        self.to_nnx__trains = True

    def eval(self, **attributes: Any) -> None:
        self.to_nnx__trains = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        written = self.to_nnx__module
        self.to_nnx__module, flags = self._flagged()
        # What is sown is looked at by nobody here, and would make new variables in every step.
        kept = DenyList(("params", "intermediates")) if self.to_nnx__trains else False
        try:
            return super().__call__(*args, mutable=kept, **{**flags, **kwargs})
        finally:
            self.to_nnx__module = written

    def fresh(self, x: Any) -> Mapping[str, Any]:
        """New variables of the module, by collection, in the order in which they are made."""
        module, flags = self._flagged()
        init: Any = module.init
        return init(jax.random.key(0), x, **flags)

    def _flagged(self) -> tuple[linen.Module, dict[str, bool]]:
        """The module, and the arguments that say whether it trains, if its fields do not."""
        written: Any = self.to_nnx__module
        taken = inspect.signature(type(written).__call__).parameters
        flags = {n: self._flag(n) for n in _FLAGS if n in taken}
        return (written, flags) if flags else (self._with_fields(), {})

    def _with_fields(self) -> linen.Module:
        written: Any = self.to_nnx__module
        own = {field.name for field in dataclasses.fields(written)}
        return written.clone(**{n: self._flag(n) for n in _FLAGS if n in own})

    def _flag(self, name: str) -> bool:
        return _FLAGS[name] == self.to_nnx__trains

    def bound(self) -> linen.Module:
        """The Linen module bound to its variables, to evaluate."""
        attributes = {
            name: value
            for name, value in vars(self).items()
            if not name.startswith(("to_nnx__", "_pytree__"))
        }
        self.eval()
        return self._with_fields().bind(nnx_attrs_to_linen_vars(attributes))


def of_linen(
    model: Model,
    module: linen.Module,
    rngs: nnx.Rngs,
    traced: Mapping[str, jax.Array],
    example: Callable[..., Any] | None,
) -> LinenModule:
    """The module with variables of the shapes that a batch of the task needs.

    Raises:
      PartError: a field of the module is a traced value.
      NoBatchError: the task's data are not known.
    """
    for name, value in _fields(module):
        if isinstance(value, jax.Array):
            raise PartError(
                f"field {name} of the flax.linen module of model {model.name} is an array, such as "
                "a traced key; declare that key static"
            )
    if example is None:
        raise NoBatchError(
            f"model {model.name} is a flax.linen module, which is initialised with a batch of the "
            "task, and this one has no data here"
        )
    x = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), example(dict(traced)))
    adapted = LinenModule(module, rngs)
    adapted.lazy_init(x)
    jax.eval_shape(lambda: _sort(vars(adapted), adapted.fresh(x)["params"]))
    return adapted


def _sort(node: dict[str, Any], like: Mapping[str, Any]) -> None:
    """Brings names into the order of `like`, in which Linen made them; the bridge sorts them by the
    alphabet."""
    for name, inside in like.items():
        node[name] = node.pop(name)
        if isinstance(inside, Mapping):
            _sort(node[name], inside)


def _fields(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Fields of a module and of those in it, by path."""
    if isinstance(value, linen.Module):
        inside = [
            (field.name, getattr(value, field.name, None))
            for field in dataclasses.fields(value)
            if field.name not in ("parent", "name")
        ]
    elif isinstance(value, Mapping):
        inside = list(value.items())
    elif isinstance(value, (tuple, list)):
        inside = list(enumerate(value))
    else:
        yield name, value
        return
    for key, own in inside:
        yield from _fields(own, f"{name}.{key}" if name else str(key))
