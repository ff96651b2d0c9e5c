"""A batch in equal parts, one after another, so that only one has to fit in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from trainables.core.variables import Carried

Batch = tuple[Any, Any, jax.Array]
Found = tuple[jax.Array, Any, Any, Any]
"""(mean loss, new rest, sums over samples, gradients of the loss) of a batch or of a part of it."""
OfBatch = Callable[[Any, Batch], Found]
"""(rest, batch) -> what was found of it."""


def divided(batch: Any, samples: int, parts: int) -> Any:
    """A batch with a leading axis of parts: arrays whose first axis is the samples are cut along
    it, others, which hold for the whole batch, are repeated."""

    def cut(leaf: jax.Array) -> jax.Array:
        if leaf.ndim and len(leaf) == samples:
            return leaf.reshape(parts, samples // parts, *leaf.shape[1:])
        return jnp.broadcast_to(leaf, (parts, *leaf.shape))

    return jax.tree.map(cut, batch)


def accumulated(of_part: OfBatch, rest: Any, batch: Batch, parts: int, divide: Any) -> Found:
    """What `of_part` finds of a batch, from its parts.

    Loss and gradients are means over parts, weighted by their samples' weights, sums are added up.
    `rest` runs from part to part, but for what a module carries for each sample (`Carried`), which
    is cut as the batch is. A part whose samples all have weight 0 changes nothing.

    Args:
      divide: `divided`, or what a task has in its place.
    """
    weight = batch[2]
    total, samples = jnp.sum(weight), len(weight)
    common, own = _apart(rest)
    own_parts = divided(own, samples, parts)
    cut = divide(batch, samples, parts)

    @jax.jit  # traced once, for its shapes and for the scan
    def one(common: Any, own: Any, batch: Batch) -> Found:
        return of_part(_together(rest, common, own), batch)

    def step(carry: Any, part: Any) -> tuple[Any, Any]:
        loss, sums, gradients, common = carry
        own, batch = part
        here = jnp.sum(batch[2])
        counts, share = here > 0, here / total
        new_loss, new_rest, new_sums, new_gradients = one(common, own, batch)
        new_common, new_own = _apart(new_rest)

        def added(old: jax.Array, new: jax.Array) -> jax.Array:
            return jnp.where(counts, old + share.astype(old.dtype) * new, old)

        def kept(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(counts, a, b), new, old)

        carry = (
            added(loss, new_loss),
            jax.tree.map(lambda old, new: jnp.where(counts, old + new, old), sums, new_sums),
            jax.tree.map(added, gradients, new_gradients),
            kept(new_common, common),
        )
        return carry, kept(new_own, own)

    first = jax.tree.map(lambda leaf: leaf[0], (own_parts, cut))
    loss, _, sums, gradients = jax.eval_shape(one, common, *first)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (loss, sums, gradients))
    (loss, sums, gradients, common), own_parts = lax.scan(step, (*zeros, common), (own_parts, cut))
    own = [leaf.reshape(samples, *leaf.shape[2:]) for leaf in own_parts]
    return loss, _together(rest, common, own), sums, gradients


def _is_variable(leaf: Any) -> bool:
    return isinstance(leaf, nnx.Variable)


def _apart(rest: Any) -> tuple[list[jax.Array], list[jax.Array]]:
    """Arrays of `rest` that run from part to part, and those with an axis of samples."""
    nodes = jax.tree.leaves(rest, is_leaf=_is_variable)
    groups: tuple[list[jax.Array], list[jax.Array]] = [], []
    for node in nodes:
        groups[isinstance(node, Carried)].extend(jax.tree.leaves(node))
    return groups


def _together(like: Any, common: list[jax.Array], own: list[jax.Array]) -> Any:
    """The inverse of `_apart`."""
    nodes, structure = jax.tree.flatten(like, is_leaf=_is_variable)
    sources = iter(common), iter(own)
    found = []
    for node in nodes:
        leaves, inner = jax.tree.flatten(node)
        source = sources[isinstance(node, Carried)]
        found.append(jax.tree.unflatten(inner, [next(source) for _ in leaves]))
    return jax.tree.unflatten(structure, found)
