"""Whether a user's loop gives what its engine needs, asked while programs are traced."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainables.core.layout import Slot, by_path
from trainables.declarations import PartError


def require_state(loop: str, state: Any, function: str = "init") -> None:
    """Raises PartError where a function returned no dict of arrays with "params" in it."""
    what = f"{function} of loop {loop} returned"
    if not isinstance(state, Mapping):
        raise PartError(
            f"{what} a {type(state).__name__}; its state must be a dict with 'params', what is "
            "trained, in it"
        )
    if "params" not in state:
        has = ", ".join(map(str, state)) or "nothing"
        raise PartError(f"{what} a state without 'params', what is trained; it has {has}")
    for path, leaf in by_path(state).items():
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | numbers.Number):
            raise PartError(
                f"{what} a state whose entry {_dotted(path)} is a {type(leaf).__name__}; a state "
                "holds arrays and numbers only"
            )


def require_names(loop: str, params: Any, slots: Sequence[Slot]) -> None:
    """Raises PartError where there is no tensor to train, or not each has a name of its own."""
    leaves = by_path(params)
    whose = f"state['params'] of loop {loop}"
    if not leaves:
        raise PartError(f"{whose} holds no array, so there is nothing to train")
    if "" in leaves:
        raise PartError(f"{whose} is a single array; give it a name: {{'weights': array}}")
    for path, leaf in leaves.items():
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            raise PartError(f"{_dotted(path)} in {whose} is a random key; keep it beside 'params'")
    names = [slot.name for slot in slots]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or len(leaves) < len(jax.tree.leaves(params)):
        raise PartError(
            f"two arrays in {whose} have the same name{f', {twice}' if twice else ''}; names must "
            "not have '.' or '/' in them"
        )


def require_step(loop: str, found: Any) -> None:
    """Raises PartError where step returned neither (state, metrics) nor with gradients."""
    if isinstance(found, tuple) and len(found) in (2, 3):
        return
    count = f" of {len(found)}" if isinstance(found, tuple) else ""
    raise PartError(
        f"step of loop {loop} returned a {type(found).__name__}{count}; it must return "
        "(state, metrics) or (state, metrics, gradients)"
    )


def require_metrics(
    loop: str, function: str, found: Any, samples: int | None = None
) -> dict[str, jax.Array]:
    """Metrics by name, as float32.

    Args:
      samples: where metrics may also be (samples,), one number for each.

    Raises:
      PartError: they are no real numbers by name.
    """
    what = f"{function} of loop {loop}"
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        kind = "dict with keys that are no names" if isinstance(found, Mapping) else None
        raise PartError(
            f"{what} returned a {kind or type(found).__name__} as its metrics; they must be a "
            "dict of numbers by name"
        )
    metrics = {}
    for name, value in found.items():
        try:
            array = jnp.asarray(value)
        except (TypeError, ValueError):
            raise PartError(
                f"metric {name} in {what} is a {type(value).__name__}; it must be a number"
            ) from None
        if array.shape not in ((), (samples,)):
            each = "" if samples is None else f", or one for each sample, ({samples},)"
            raise PartError(
                f"metric {name} in {what} has the shape {array.shape}; it must be one number{each}"
            )
        if not (jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool):
            raise PartError(f"metric {name} in {what} is {array.dtype}; it must be a real number")
        if jnp.issubdtype(array.dtype, jnp.complexfloating):
            raise PartError(f"metric {name} in {what} is complex; it must be a real number")
        metrics[name] = array.astype(jnp.float32)
    return metrics


def require_gradients(loop: str, params: Any, gradients: Any) -> None:
    """Raises PartError where gradients are no tree like the weights."""
    wanted, given = by_path(params), by_path(gradients)
    strange = next((p for p in given if p not in wanted), None)
    missing = next((p for p in wanted if p not in given), None)
    fault = None
    if missing is not None:
        fault = f"lack {_dotted(missing)}"
    elif strange is not None:
        fault = f"have {_dotted(strange)}, which is no entry of it"
    else:
        for path, leaf in wanted.items():
            if jnp.shape(given[path]) != leaf.shape:
                fault = f"have the shape {jnp.shape(given[path])} for {_dotted(path)} {leaf.shape}"
    if fault is None and jax.tree.structure(params) != jax.tree.structure(gradients):
        fault = "are of other containers"
    if fault:
        raise PartError(
            f"the gradients of step of loop {loop} must be a tree like state['params']; they "
            f"{fault}"
        )


def _dotted(path: str) -> str:
    return path.replace("/", ".")
