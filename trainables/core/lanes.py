"""Two ways to run a function of one lane over all lanes of a pack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

Strategy = Literal["vmap", "sequential"]


def nothing(like: Any) -> Any:
    """What an inactive lane reports: NaN, and -1 for integers."""

    def blank(leaf: Any) -> jax.Array:
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.full(leaf.shape, jnp.nan if floating else -1, leaf.dtype)

    return jax.tree.map(blank, like)


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
