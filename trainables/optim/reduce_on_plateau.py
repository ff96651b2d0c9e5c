"""A learning rate that falls when the validation loss no longer does: torch's ReduceLROnPlateau."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from trainables.optim.schedules import Constant, Hparams, Milestones

_THRESHOLD = 1e-4
_SMALLEST_CHANGE = 1e-8

Plateau = dict[str, jax.Array]


class ReduceOnPlateau(Milestones):
    """lr times `lr_gamma` after more than `lr_patience` epochs without a better validation loss, to
    a tenth of `min_lr` at least; the trial ends once lr is below `min_lr` (study `ribeiro2020`,
    section 3)."""

    carried = "plateau"

    def start(self, hparams: Hparams) -> Plateau:
        """lr, the best loss seen, and epochs without a better one."""
        return {
            "lr": jnp.asarray(hparams["lr"], jnp.float32),
            "best": jnp.float32(jnp.inf),
            "waited": jnp.int32(0),
        }

    def at(self, hparams: Hparams, state: Plateau, step: jax.Array) -> Hparams:
        return {**hparams, "lr": state["lr"]}

    def after_epoch(self, hparams: Hparams, state: Plateau, val_loss: jax.Array) -> Plateau:
        """Better means lower by 1e-4 of the best; a change of the rate below 1e-8 is none."""
        better = val_loss < state["best"] * (1 - _THRESHOLD)
        waited = jnp.where(better, 0, state["waited"] + 1)
        falls = waited > int(self.config["lr_patience"])
        lower = jnp.maximum(state["lr"] * hparams["lr_gamma"], hparams["min_lr"] / 10)
        moves = falls & (state["lr"] - lower > _SMALLEST_CHANGE)
        return {
            "lr": jnp.where(moves, lower, state["lr"]),
            "best": jnp.where(better, val_loss, state["best"]),
            "waited": jnp.where(falls, 0, waited),
        }

    def ended(self, hparams: Hparams, state: Plateau) -> jax.Array:
        return state["lr"] < hparams["min_lr"]


def torch_schedule(config: Mapping[str, Any]) -> Constant:
    """The schedule of `torch_adam`: on a plateau with `lr_patience`, else by milestones."""
    return Milestones(config) if config["lr_patience"] is None else ReduceOnPlateau(config)
