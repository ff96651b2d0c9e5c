"""A learning rate that falls when the validation loss no longer does: torch's ReduceLROnPlateau.

Study `ribeiro2020`, section 3: factor `lr_gamma`, patience `lr_patience`, floor a tenth of
`min_lr`, and the trial ends once the learning rate is below `min_lr`.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

_THRESHOLD = 1e-4
_SMALLEST_CHANGE = 1e-8

Plateau = dict[str, jax.Array]


def start(lr: jax.Array) -> Plateau:
    """The first state: lr, the best loss seen, and epochs without a better one."""
    return {
        "lr": jnp.asarray(lr, jnp.float32),
        "best": jnp.float32(jnp.inf),
        "waited": jnp.int32(0),
    }


def advanced(
    plateau: Plateau, loss: jax.Array, patience: int, hparams: Mapping[str, jax.Array]
) -> Plateau:
    """The state after an epoch of validation loss `loss`.

    Better means lower by 1e-4 of the best; a change of the rate below 1e-8 is none.
    """
    better = loss < plateau["best"] * (1 - _THRESHOLD)
    waited = jnp.where(better, 0, plateau["waited"] + 1)
    falls = waited > patience
    lower = jnp.maximum(plateau["lr"] * hparams["lr_gamma"], hparams["min_lr"] / 10)
    moves = falls & (plateau["lr"] - lower > _SMALLEST_CHANGE)
    return {
        "lr": jnp.where(moves, lower, plateau["lr"]),
        "best": jnp.where(better, loss, plateau["best"]),
        "waited": jnp.where(falls, 0, waited),
    }
