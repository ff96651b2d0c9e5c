"""Two ways to run a function of one lane over all lanes of a pack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

from trainables.core.stepwise import stepwise

Strategy = Literal["vmap", "sequential"]


def nothing(like: Any) -> Any:
    """What an inactive lane reports: NaN, and -1 for integers."""

    def blank(leaf: Any) -> jax.Array:
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.full(leaf.shape, jnp.nan if floating else -1, leaf.dtype)

    return jax.tree.map(blank, like)


def if_active(active: jax.Array, function: Callable[..., Any], *given: Any) -> Any:
    """`function(*given)` where it is active, and `nothing` elsewhere."""
    if stepwise() and active:
        return function(*given)
    function = jax.jit(function)  # traced once, for its shapes and its work
    empty = nothing(jax.eval_shape(function, *given))
    return lax.cond(active, function, lambda *_: empty, *given)


def over_lanes(
    function: Callable[[Any, Any], tuple[Any, Any]],
    state: Any,
    values: Any,
    active: jax.Array,
    strategy: Strategy,
) -> tuple[Any, Any]:
    """`function(state, values) -> (state, result)` for each active lane.

    An inactive lane keeps its state bit for bit and reports `nothing`.

    Args:
      state, values: trees whose leading axis is the lane.
      active: bool (width,).
      strategy: "vmap" advances all lanes at once and computes inactive ones in vain; "sequential"
        takes one after the other, updates the state in place and skips inactive ones.
    """

    if stepwise():
        return _one_by_one(function, state, values, active)

    # Traced once for its shapes and its work: tracing is most of a start with a warm compile cache.
    function = jax.jit(function)

    def one(state: Any, values: Any, active: jax.Array) -> tuple[Any, Any]:
        _, result = jax.eval_shape(function, state, values)
        return lax.cond(active, function, lambda s, _: (s, nothing(result)), state, values)

    if strategy == "vmap":
        return jax.vmap(one)(state, values, active)

    def body(stacked: Any, lane: jax.Array) -> tuple[Any, Any]:
        own = jax.tree.map(lambda leaf: leaf[lane], (stacked, values, active))
        state, result = one(*own)
        return jax.tree.map(lambda all_, new: all_.at[lane].set(new), stacked, state), result

    return lax.scan(body, state, jnp.arange(len(active)))


def _one_by_one(function: Any, state: Any, values: Any, active: jax.Array) -> tuple[Any, Any]:
    """`over_lanes` in Python; at least one lane is active."""
    found: dict[int, Any] = {}
    for lane in [n for n in range(len(active)) if active[n]]:
        own = jax.tree.map(lambda leaf, lane=lane: leaf[lane], (state, values))
        new, found[lane] = function(*own)
        state = jax.tree.map(lambda all_, one, lane=lane: all_.at[lane].set(one), state, new)
    empty = nothing(next(iter(found.values())))
    every = [found.get(lane, empty) for lane in range(len(active))]
    return state, jax.tree.map(lambda *leaves: jnp.stack(leaves), *every)
