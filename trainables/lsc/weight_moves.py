"""What a recurrent pretraining does to weights beside its gradient steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from trainables.core.layout import by_path, path_text
from trainables.core.random_keys import named_key
from trainables.layers.gated import Cell
from trainables.lsc import radius_loss
from trainables.lsc.rnn_jacobians import Transition


def counters(running: jax.Array, fresh: jax.Array) -> jax.Array:
    """A leaf of an update rule's state: what it has counted, else what it starts from."""
    return running if jnp.issubdtype(running.dtype, jnp.integer) else fresh


def permuted(tree: Any, key: jax.Array) -> Any:
    """Weights with the entries of each matrix in random order."""

    def one(path: Any, leaf: jax.Array) -> jax.Array:
        own = named_key(key, path_text(path))
        return radius_loss.permuted(own, leaf) if leaf.ndim >= 2 else leaf

    return jax.tree_util.tree_map_with_path(one, tree)


def factors(
    cells: Sequence[Cell], tree: Any, norms: Mapping[Transition, tuple[Any, jax.Array]]
) -> dict[str, jax.Array]:
    """What tensors are to be multiplied by, by path.

    A cell's tensors go by the norm of their role. The readout and the embedding are not square and
    go by the spread of their entries, towards 1.

    Args:
      norms: (target, norm found) of each transition that was measured.
    """
    found = {}
    for layer, cell in enumerate(cells):
        kinds = {"recurrent": "rec", "input": "depth" if layer else "enc"}
        for name, role in cell.roles().items():
            measured = norms.get((kinds.get(role, ""), layer))
            if measured is not None:
                found[f"rnn/{layer}/{name}"] = radius_loss.multiplier(*measured)
    for path, leaf in by_path(tree).items():
        if path in ("readout/w", "embedding/w"):
            expected = radius_loss.expected_radius(leaf, leaf.shape[-1])
            found[path] = radius_loss.multiplier(1.0, expected)
    return found


def multiplied(tree: Any, by: Mapping[str, jax.Array]) -> Any:
    """Weights times their factors by path; the others as they are."""

    def one(path: Any, leaf: jax.Array) -> jax.Array:
        return leaf * by.get(path_text(path), 1.0)

    return jax.tree_util.tree_map_with_path(one, tree)
