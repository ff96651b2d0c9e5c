"""Programs that run in Python, operation by operation: what a model prints, and what a
`breakpoint()` in it shows, are numbers then."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
from jax import lax


@contextlib.contextmanager
def step_by_step() -> Iterator[None]:
    """Nothing is compiled in here: `jax.disable_jit()`, under which a loop of no steps, such as one
    over the layers above the first of one, does what it does elsewhere."""
    scan = lax.scan

    def looped(f: Any, init: Any, xs: Any = None, length: int | None = None, **more: Any) -> Any:
        sizes = [len(leaf) for leaf in jax.tree.leaves(xs)] or [length]
        with jax.disable_jit(sizes[0] != 0):
            return scan(f, init, xs, length, **more)

    with jax.disable_jit(), mock.patch.object(lax, "scan", looped):
        yield


def stepwise() -> bool:
    """Whether nothing is compiled."""
    return bool(jax.config.jax_disable_jit)  # type: ignore[reportAttributeAccessIssue]


def shapes(function: Callable[..., Any], *given: Any) -> Any:
    """Shapes and types of `function(*given)`. Where nothing is compiled it is called for them with
    the numbers, since a traced call would show others than numbers."""
    if not stepwise():
        return jax.eval_shape(function, *given)
    found = function(*given)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), leaf.dtype), found)
