"""Statistics of an epoch, gathered step by step inside the scan."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Running(NamedTuple):
    """Mean, least, greatest and last value of each leaf over the steps counted so far."""

    count: jax.Array
    mean: Any
    least: Any
    greatest: Any
    last: Any


def start(like: Any) -> Running:
    """Nothing counted yet; `like` is a tree of arrays or shapes."""

    def full(value: float) -> Any:
        return jax.tree.map(lambda leaf: jnp.full(leaf.shape, value, jnp.float32), like)

    return Running(jnp.int32(0), full(0.0), full(jnp.inf), full(-jnp.inf), full(jnp.nan))


def update(running: Running, values: Any, counts: jax.Array) -> Running:
    """`running` after one more step, unchanged where `counts` is False.

    The mean is updated in place (Welford), so a sum can neither overflow nor lose small values.
    """
    count = running.count + counts.astype(jnp.int32)
    divisor = jnp.maximum(count, 1).astype(jnp.float32)

    def choose(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda a, b: jnp.where(counts, a, b), new, old)

    mean = jax.tree.map(lambda m, x: m + (x - m) / divisor, running.mean, values)
    return Running(
        count,
        choose(mean, running.mean),
        choose(jax.tree.map(jnp.minimum, running.least, values), running.least),
        choose(jax.tree.map(jnp.maximum, running.greatest, values), running.greatest),
        choose(values, running.last),
    )


def finished(running: Running) -> Running:
    """As `running`, with NaN everywhere if nothing was counted."""

    def known(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.where(running.count > 0, leaf, jnp.nan), tree)

    return Running(running.count, *(known(tree) for tree in running[1:]))
