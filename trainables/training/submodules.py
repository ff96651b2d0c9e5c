"""What the modules inside a user's module hand on, seen from outside."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from flax import linen, nnx
from jax.extend.core import get_opaque_trace_state

from trainables.core.host_arrays import is_key
from trainables.models.adapters.linen_module import LinenModule


@dataclass(frozen=True)
class Call:
    """One array that a call of a module inside another returned.

    Attributes:
      layer_name: the path of its attributes, "layers.0"; "" for the whole.
      count: which of that module's calls it is, from 0.
      value: the array.
    """

    layer_name: str
    count: int
    value: jax.Array


Change = Callable[[int, jax.Array], jax.Array]
"""(number of the array, the array) -> what is handed on in its place."""


@contextlib.contextmanager
def watched(module: nnx.Module, change: Change) -> Iterator[list[Call]]:
    """Notes the calls of every module within `module`, in the order in which they end.

    Only those outside of any transformation (`nnx.scan`, `jax.vmap`) that the user's code makes:
    what is computed inside one cannot be taken out of it.
    """
    names = {id(m): ".".join(map(str, path)) for path, m in nnx.iter_modules(module)}
    here = get_opaque_trace_state(convention="nnx")
    calls: list[Call] = []
    counts: Counter[str] = Counter()
    under_way: set[int] = set()

    def handed_on(name: str, found: Any) -> Any:
        if get_opaque_trace_state(convention="nnx") != here:
            return found

        def note(leaf: Any) -> Any:
            if not isinstance(leaf, jax.Array) or is_key(leaf):
                return leaf
            leaf = change(len(calls), leaf)
            calls.append(Call(name, counts[name], leaf))
            return leaf

        found = jax.tree.map(note, found)
        counts[name] += 1
        return found

    def noting(call: Callable[..., Any]) -> Callable[..., Any]:
        def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
            if id(self) in under_way:  # a class that calls the one it inherits from
                return call(self, *args, **kwargs)
            under_way.add(id(self))
            try:
                found = call(self, *args, **kwargs)
            finally:
                under_way.remove(id(self))
            name = names.get(id(self))
            return found if name is None else handed_on(name, found)

        return noted

    def of_linen(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        found = call(*args, **kwargs)
        name = ".".join(context.module.path)
        # The whole is seen as the NNX module that it is wrapped in.
        if context.method_name != "__call__" or not name or not isinstance(module, LinenModule):
            return found
        return handed_on(name, found)

    kinds = {type(m) for _, m in nnx.iter_modules(module) if callable(m)}
    own = {kind: vars(kind).get("__call__") for kind in kinds}
    wrapped = {kind: noting(kind.__call__) for kind in kinds}
    try:
        for kind, call in wrapped.items():
            kind.__call__ = call
        with linen.intercept_methods(of_linen):
            yield calls
    finally:
        for kind, call in own.items():
            if call is None:
                del kind.__call__
            else:
                kind.__call__ = call


def time_axis(calls: Sequence[Call], at: int, x: Any) -> int | None:
    """The axis of time of what a call returned for an input x (B, T) or (B, T, F); -1 where the
    call itself is a time step, since its module is called once for each; None where that is not
    known, as for images and trees of arrays."""
    if not isinstance(x, jax.Array) or x.ndim not in (2, 3):
        return None
    value, length = calls[at].value, x.shape[1]
    if value.ndim > 2 and value.shape[:2] == x.shape[:2]:
        return 1
    times = len({c.count for c in calls if c.layer_name == calls[at].layer_name})
    return -1 if length > 1 and times == length else None
