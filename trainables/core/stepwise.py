"""Programs that run in Python, operation by operation: what a model prints, and what a
`breakpoint()` in it shows, are numbers then."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
from jax import lax

from trainables.core.host_arrays import is_key

_eval_shape = jax.eval_shape


@contextlib.contextmanager
def step_by_step() -> Iterator[None]:
    """Nothing is compiled or traced in here: `jax.disable_jit()`, under which a loop of no steps,
    such as one over the layers above the first of one, does what it does elsewhere, and who asks
    for the shapes of a result calls the function with numbers, too."""
    scan = lax.scan

    def looped(f: Any, init: Any, xs: Any = None, length: int | None = None, **more: Any) -> Any:
        sizes = [len(leaf) for leaf in jax.tree.leaves(xs)] or [length]
        with jax.disable_jit(sizes[0] != 0):
            return scan(f, init, xs, length, **more)

    with (
        jax.disable_jit(),
        mock.patch.object(lax, "scan", looped),
        mock.patch.object(jax, "eval_shape", _shapes),
    ):
        yield


def stepwise() -> bool:
    """Whether nothing is compiled."""
    return bool(jax.config.jax_disable_jit)  # type: ignore[reportAttributeAccessIssue]


def _shapes(function: Any, *given: Any, **named: Any) -> Any:
    """Shapes and types of `function(*given)`, which is called with numbers: zeros for arrays of
    which the shapes alone are known. A random key of which no more is known has no such stand-in.
    """
    leaves = jax.tree.leaves((given, named))
    if any(isinstance(leaf, jax.ShapeDtypeStruct) and is_key(leaf) for leaf in leaves):
        with jax.disable_jit(False):
            return _eval_shape(function, *given, **named)
    given, named = jax.tree.map(_filled, (given, named))
    found = function(*given, **named)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), found)


def _filled(leaf: Any) -> Any:
    return jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf
