"""Means of a loop's metrics over the validation and the test set, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from trainables.tasks.base import Schedule

Metrics = dict[str, jax.Array]


def held_means(
    evaluation: Schedule,
    batch_of: Callable[[Schedule], Any],
    key_of: Callable[[jax.Array], jax.Array],
    measured: Callable[[dict[str, Any], jax.Array], Metrics],
) -> Metrics:
    """Means by name, with val_ and test_ in front; NaN of a set without samples, and nothing where
    both are empty.

    Args:
      evaluation: the batches, as `TaskRuntime.evaluation` gives them.
      batch_of: an entry of it as arrays by name. key_of: the random key of a batch by number.
      measured: metrics of a batch, each a number or (batch,); called for each set with "weight" 1
        for its samples and 0 for all others.
    """
    schedule = dict(evaluation)
    segments = jnp.moveaxis(schedule.pop("segments"), 0, 1)
    if not len(segments):
        return {}

    def of_set(batch: Any, key: jax.Array, weight: jax.Array) -> Metrics:
        """Sums over the samples of one set that a batch has; one number stands for each."""
        found = measured({**batch, "weight": weight}, key)
        return {n: jnp.sum(jnp.where(weight > 0, weight * v, 0)) for n, v in found.items()}

    def step(_: None, at: Any) -> tuple[None, Any]:
        index, weights, entry = at
        batch, key = batch_of(entry), key_of(index)
        like = jax.eval_shape(of_set, batch, key, weights[0])
        zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        sums = [
            lax.cond(jnp.any(weight > 0), of_set, lambda *_: zero, batch, key, weight)
            for weight in weights
        ]
        return None, jax.tree.map(lambda *leaves: jnp.stack(leaves), *sums)

    index = jnp.arange(len(segments), dtype=jnp.int32)
    _, sums = lax.scan(step, None, (index, segments, schedule))
    counts = jnp.sum(segments, (0, 2))
    means = {name: jnp.sum(parts, 0) / counts for name, parts in sums.items()}
    return {f"{h}_{n}": m[i] for n, m in means.items() for i, h in enumerate(("val", "test"))}
