"""Rules around rules: Lookahead, and steps of some parameters only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class LookaheadState(NamedTuple):
    """Steps taken, the slow weights, and the state of the rule that moves the fast ones."""

    count: jax.Array
    slow: Any
    fast: Any


def lookahead(
    rule: optax.GradientTransformation, period: int = 6, step: float = 0.5
) -> optax.GradientTransformationExtraArgs:
    """Lookahead (Zhang et al., arXiv 1907.08610) around `rule`; `params` are the fast weights.

    At every `period`-th step the slow weights go `step` of the way to the fast ones, and the update
    returned puts the fast ones there too. (`optax.lookahead` wants pairs of weights as parameters.)
    """
    rule = optax.with_extra_args_support(rule)

    def init(params: Any) -> LookaheadState:
        # A copy, since a buffer cannot be donated twice.
        return LookaheadState(jnp.int32(0), jax.tree.map(jnp.array, params), rule.init(params))

    def update(
        updates: Any, state: Any, params: Any = None, **extra: Any
    ) -> tuple[Any, LookaheadState]:
        updates, fast = rule.update(updates, state.fast, params, **extra)
        count = state.count + 1
        meets = count % period == 0
        slow = jax.tree.map(
            lambda s, p, u: jnp.where(meets, s + step * (p + u - s), s), state.slow, params, updates
        )
        updates = jax.tree.map(lambda s, p, u: jnp.where(meets, s - p, u), slow, params, updates)
        return updates, LookaheadState(count, slow, fast)

    return optax.GradientTransformationExtraArgs(init, update)


def restricted(rule: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """`rule` for steps that concern some of the parameters only.

    The update function takes `mask`, a tree of booleans shaped like the parameters, each of which
    broadcasts to its tensor; without one everything moves. Where False nothing does: not the
    parameter, nor any state of the rule that belongs to it (moments, slow weights). Counters of
    steps are shared by all.
    """
    rule = optax.with_extra_args_support(rule)

    def update(
        updates: Any, state: Any, params: Any = None, *, mask: Any = None, **extra: Any
    ) -> tuple[Any, Any]:
        moved, new = rule.update(updates, state, params, **extra)
        if mask is None:
            return moved, new
        moves = optax.tree.map_params(
            rule, lambda _, own: own, state, mask, transform_non_params=lambda _: True
        )
        new = jax.tree.map(jnp.where, moves, new, state)
        return jax.tree.map(lambda own, u: jnp.where(own, u, 0), mask, moved), new

    return optax.GradientTransformationExtraArgs(rule.init, update)


def on_slow_weights(state: Any, change: Callable[[Any], Any]) -> Any:
    """A rule's state with its slow weights, where it has any, changed as the weights were."""
    if isinstance(state, LookaheadState):
        return state._replace(slow=change(state.slow))
    return state
