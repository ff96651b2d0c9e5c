"""Learning rates that change: one class for each rule, which an optimizer's `schedule` names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from trainables.declarations.core.rate_keys import MOST_MILESTONES, milestone_epochs

Hparams = Mapping[str, jax.Array]
State = TypeVar("State")


class Constant:
    """A learning rate that stays as it is, and what every other schedule inherits.

    Attributes:
      config: the trial's constants, its static keys among them.
      carried: name of the schedule's state in a lane's; None where it has none.
      recorded: the rates to record as metrics of each epoch, with `clip_fraction` beside them.
      watched: the column of `epochs` whose value `after_epoch` is given.
    """

    carried: str | None = None
    recorded: tuple[str, ...] = ()
    watched: str = "val_loss"

    def __init__(self, config: Mapping[str, Any]):
        self.config = config

    def derived(
        self, config: Mapping[str, Any], values: Mapping[str, np.ndarray], epochs: int, steps: int
    ) -> dict[str, np.ndarray]:
        """What `at` reads of `hparams` beside the optimizer's traced keys.

        Args:
          config: the whole trial's.
          values: one lane's traced values.
          epochs, steps: epochs of the trial, and optimizer steps of each.
        """
        return {}

    def start(self, hparams: Hparams) -> Any:
        """The first state, where `carried` names one."""
        return None

    def at(self, hparams: Hparams, state: Any, step: jax.Array) -> Hparams:
        """`hparams` with `lr` as it is at a step, counted from 0."""
        return hparams

    def after_epoch(self, hparams: Hparams, state: State, val_loss: jax.Array) -> State:
        """The state after an epoch of this validation loss."""
        return state

    def ended(self, hparams: Hparams, state: Any) -> jax.Array | None:
        """Whether the trial ends; None for a schedule that ends none."""
        return None


class HalfCosine(Constant):
    """lr_end + (lr - lr_end) (1 + cos(pi step / total)) / 2: the peak at step 0, lr_end after the
    last (docs/specs/zucchet2024.md, 3); lr itself where lr_end is null."""

    def derived(
        self, config: Mapping[str, Any], values: Mapping[str, np.ndarray], epochs: int, steps: int
    ) -> dict[str, np.ndarray]:
        """`total_steps`, of the whole trial."""
        return {"total_steps": np.asarray(epochs * steps, np.float32)}

    def at(self, hparams: Hparams, state: Any, step: jax.Array) -> Hparams:
        lr, end = hparams["lr"], hparams["lr_end"]
        share = (1 + jnp.cos(jnp.pi * step / hparams["total_steps"])) / 2
        return {**hparams, "lr": jnp.where(jnp.isnan(end), lr, end + (lr - end) * share)}


class WarmedCosine(HalfCosine):
    """A rise over `lr_warmup` epochs, then half a cosine, for each of two groups: `lr`, and
    `lr_recurrent`, which is lr_factor of it (`warmed`). Both constant where lr_end is null."""

    recorded = ("lr", "lr_recurrent")

    def derived(
        self, config: Mapping[str, Any], values: Mapping[str, np.ndarray], epochs: int, steps: int
    ) -> dict[str, np.ndarray]:
        """`total_steps`, and `warmup_steps` of them."""
        warmup = np.asarray(values["lr_warmup"] * steps, np.float32)
        return super().derived(config, values, epochs, steps) | {"warmup_steps": warmup}

    def at(self, hparams: Hparams, state: Any, step: jax.Array) -> Hparams:
        lr, end = hparams["lr"], hparams["lr_end"]
        rates = {"lr": lr, "lr_recurrent": lr * hparams["lr_factor"]}
        now = {n: warmed(hparams, rate, step) for n, rate in rates.items()}
        return {**hparams, **{n: jnp.where(jnp.isnan(end), rates[n], now[n]) for n in rates}}


class Milestones(Constant):
    """lr times lr_gamma for each of `lr_milestones` that has come (docs/specs/ribeiro2020.md,
    3)."""

    recorded = ("lr",)

    def derived(
        self, config: Mapping[str, Any], values: Mapping[str, np.ndarray], epochs: int, steps: int
    ) -> dict[str, np.ndarray]:
        """`milestone_steps`, as many for every trial; those beyond the trial's own never come."""
        milestones = milestone_epochs(str(config["lr_milestones"]))
        found = np.full(MOST_MILESTONES, np.iinfo(np.int32).max, np.int32)
        found[: len(milestones)] = np.asarray(milestones, np.int32) * steps
        return {"milestone_steps": found}

    def at(self, hparams: Hparams, state: Any, step: jax.Array) -> Hparams:
        falls = jnp.sum(step >= hparams["milestone_steps"])
        return {**hparams, "lr": hparams["lr"] * hparams["lr_gamma"] ** falls}


def warmed(hparams: Hparams, lr: jax.Array, step: jax.Array) -> jax.Array:
    """A group's rate at a step: linear from lr_end to lr over the W steps of the warm-up, then half
    a cosine that is at lr_end in the last step (Orvieto et al., arXiv 2303.06349, D.2).

    Under `compat_schedule`, as published (docs/specs/bar2025.md, 3.1): a step uses the rate that
    was written after the one before it, so the first is at lr; the warm-up is lr (s + 1) / W; the
    cosine counts s from the first step of all and ends at T - W.
    """
    end, total, warm = hparams["lr_end"], hparams["total_steps"], hparams["warmup_steps"]

    def cosine(share: jax.Array) -> jax.Array:
        return end + (lr - end) * (1 + jnp.cos(jnp.pi * jnp.clip(share, 0, 1))) / 2

    rising = end + (lr - end) * step / jnp.maximum(warm, 1)
    falling = cosine((step - warm) / jnp.maximum(total - 1 - warm, 1))
    last = step - 1.0
    published = jnp.where(
        last < warm, lr * (last + 1) / jnp.maximum(warm, 1), cosine(last / (total - warm))
    )
    published = jnp.where(step == 0, lr, published)
    intended = jnp.where(step < warm, rising, falling)
    return jnp.where(hparams["compat_schedule"], published, intended)
