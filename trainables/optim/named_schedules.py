"""The schedules that `lr_schedule` names, for any optimizer, and the warm-up before any schedule.

Shapes are optax's, made for a rate of 1 and a length of 1 and read at a share of the way, since
rates and lengths are arrays of each lane: trials of all of them are lanes of one program.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from trainables.declarations.core.rate_keys import MOST_MILESTONES, milestone_epochs
from trainables.optim.schedules import Constant, Hparams

_FALLING = optax.cosine_decay_schedule(1.0, 1)
_RISING = optax.linear_schedule(0.0, 1.0, 1)
_NEVER = np.iinfo(np.int32).max
_MOST_CYCLES = 32
"""Cycles that at least double are longer than 2^31 steps after these."""
_THRESHOLD = 1e-4
_TO_THE_END = frozenset(("total_steps", "cosine_steps"))
"""Names by which schedules know when the trial ends."""

Groups = Mapping[str, str]
Values = Mapping[str, np.ndarray]


class Named(Constant):
    """A schedule of `lr` and of each group's rate, which is a share of it. This one: constant.

    Attributes:
      groups: name of a group's rate -> the key that says which share of `lr` it is.
    """

    def __init__(self, config: Mapping[str, Any], groups: Groups):
        super().__init__(config)
        self.groups = groups
        self.recorded = ("lr", *groups)

    def at(self, hparams: Hparams, state: Any, step: jax.Array) -> Hparams:
        peaks = {"lr": hparams["lr"]}
        peaks |= {name: hparams["lr"] * hparams[share] for name, share in self.groups.items()}
        rates = {name: self.rate(peak, hparams, state, step) for name, peak in peaks.items()}
        return {**hparams, **rates}

    def rate(self, peak: jax.Array, hparams: Hparams, state: Any, step: jax.Array) -> jax.Array:
        """A group's rate at a step (int32, from 0), where it starts from `peak`."""
        return peak


def _lowest(hparams: Hparams) -> jax.Array:
    """lr_end, 0 where it is null."""
    return jnp.nan_to_num(hparams["lr_end"], nan=0.0)


def _between(peak: jax.Array, hparams: Hparams, share: jax.Array) -> jax.Array:
    """Half a cosine from `peak` to lr_end, at a share of its length."""
    end = _lowest(hparams)
    return end + (peak - end) * _FALLING(share)


class Cosine(Named):
    """Half a cosine over the whole trial: `peak` in the first step, lr_end after the last."""

    def derived(
        self, config: Mapping[str, Any], values: Values, epochs: int, steps: int
    ) -> dict[str, np.ndarray]:
        """`cosine_steps`, of the whole trial."""
        return {"cosine_steps": np.asarray(epochs * steps, np.float32)}

    def rate(self, peak: jax.Array, hparams: Hparams, state: Any, step: jax.Array) -> jax.Array:
        return _between(peak, hparams, step / hparams["cosine_steps"])


class Restarts(Named):
    """Half cosines from `peak` to lr_end one after another (Loshchilov and Hutter, arXiv
    1608.03983): the first is lr_every epochs long, each next lr_growth times as long."""

    def derived(
        self, config: Mapping[str, Any], values: Values, epochs: int, steps: int
    ) -> dict[str, np.ndarray]:
        """`cycle_starts` and `cycle_lengths` in steps; cycles of equal length are one entry."""
        growth = int(values["lr_growth"])
        starts = np.full(_MOST_CYCLES, _NEVER, np.int32)
        lengths = np.full(_MOST_CYCLES, _NEVER, np.int32)
        start, length = 0, _steps(values["lr_every"], steps)
        for i in range(_MOST_CYCLES if growth > 1 else 1):
            if start + length > _NEVER:
                break
            starts[i], lengths[i] = start, length
            start, length = start + length, length * growth
        return {"cycle_starts": starts, "cycle_lengths": lengths}

    def rate(self, peak: jax.Array, hparams: Hparams, state: Any, step: jax.Array) -> jax.Array:
        cycle = jnp.sum(step >= hparams["cycle_starts"]) - 1
        length = hparams["cycle_lengths"][cycle]
        return _between(peak, hparams, (step - hparams["cycle_starts"][cycle]) % length / length)


class Exponential(Named):
    """peak lr_gamma^(epochs / lr_every) with fractions of epochs, at least lr_end."""

    def derived(
        self, config: Mapping[str, Any], values: Values, epochs: int, steps: int
    ) -> dict[str, np.ndarray]:
        """`decay_steps`: those of a factor lr_gamma."""
        return {"decay_steps": np.asarray(values["lr_every"] * steps, np.float32)}

    def rate(self, peak: jax.Array, hparams: Hparams, state: Any, step: jax.Array) -> jax.Array:
        # optax's compares its decay rate with 0 in Python, and this one is an array.
        fallen = peak * hparams["lr_gamma"] ** (step / hparams["decay_steps"])
        return jnp.maximum(fallen, jnp.minimum(peak, _lowest(hparams)))


class Step(Named):
    """peak lr_gamma^falls, with a fall at each of lr_milestones, or after every lr_every epochs."""

    def derived(
        self, config: Mapping[str, Any], values: Values, epochs: int, steps: int
    ) -> dict[str, np.ndarray]:
        """`fall_steps`, at each of which the rate falls, and `fall_every`, after which it does;
        those that there are not lie beyond every trial."""
        milestones = milestone_epochs(str(config["lr_milestones"]))
        found = np.full(MOST_MILESTONES, _NEVER, np.int32)
        found[: len(milestones)] = [min(epoch * steps, _NEVER) for epoch in milestones]
        every = _NEVER if milestones else _steps(values["lr_every"], steps)
        return {"fall_steps": found, "fall_every": np.asarray(every, np.int32)}

    def rate(self, peak: jax.Array, hparams: Hparams, state: Any, step: jax.Array) -> jax.Array:
        falls = jnp.sum(step >= hparams["fall_steps"]) + step // hparams["fall_every"]
        return peak * hparams["lr_gamma"] ** falls


class Plateau(Named):
    """peak lr_gamma^falls, at least lr_end; a fall comes when more than lr_patience epochs in a row
    have not been better than the best by 1e-4 of it (torch's ReduceLROnPlateau, threshold_mode
    rel). It ends no trial.

    optax's `reduce_on_plateau` watches the loss of training steps; this one what the epoch ends
    with, on the validation set.
    """

    carried = "plateau"

    def __init__(self, config: Mapping[str, Any], groups: Groups):
        super().__init__(config, groups)
        self.watched = str(config["lr_monitor"])

    @property
    def _upwards(self) -> bool:
        return self.watched == "val_accuracy"

    def start(self, hparams: Hparams) -> dict[str, jax.Array]:
        """Falls so far, the best value seen, and epochs without a better one."""
        worst = -jnp.inf if self._upwards else jnp.inf
        return {"falls": jnp.int32(0), "best": jnp.float32(worst), "waited": jnp.int32(0)}

    def rate(self, peak: jax.Array, hparams: Hparams, state: Any, step: jax.Array) -> jax.Array:
        fallen = peak * hparams["lr_gamma"] ** state["falls"]
        return jnp.maximum(fallen, jnp.minimum(peak, _lowest(hparams)))

    def after_epoch(self, hparams: Hparams, state: Any, val_loss: jax.Array) -> Any:
        best, value = state["best"], val_loss
        if self._upwards:
            better = value > best * (1 + _THRESHOLD)
        else:
            better = value < best * (1 - _THRESHOLD)
        waited = jnp.where(better, 0, state["waited"] + 1)
        falls = waited > int(self.config["lr_patience"])
        return {
            "falls": state["falls"] + falls,
            "best": jnp.where(better, value, best),
            "waited": jnp.where(falls, 0, waited),
        }


class Warmed(Constant):
    """A linear rise from lr_start over `lr_warmup` epochs to what a schedule starts with, and then
    that schedule, whose steps count from the end of the rise."""

    def __init__(self, inner: Constant, groups: Groups):
        super().__init__(inner.config)
        self.inner, self.groups = inner, groups
        self.carried, self.watched = inner.carried, inner.watched
        self.recorded = inner.recorded or ("lr",)

    def derived(
        self, config: Mapping[str, Any], values: Values, epochs: int, steps: int
    ) -> dict[str, np.ndarray]:
        """`rise_steps`, and what the schedule reads, which ends with the trial all the same."""
        rise = round(float(np.nan_to_num(values["lr_warmup"])) * steps)
        found = self.inner.derived(config, values, epochs, steps)
        for name in _TO_THE_END & found.keys():
            found[name] = np.maximum(found[name] - rise, 1).astype(np.float32)
        return {**found, "rise_steps": np.asarray(rise, np.int32)}

    def start(self, hparams: Hparams) -> Any:
        """The schedule's state, and epochs so far."""
        return {"schedule": self.inner.start(hparams), "epochs": jnp.int32(0)}

    def at(self, hparams: Hparams, state: Any, step: jax.Array) -> Hparams:
        rise, start = hparams["rise_steps"], hparams["lr_start"]
        inner = state["schedule"] if self.carried else None
        found = {**self.inner.at(hparams, inner, jnp.maximum(step - rise, 0))}
        share = _RISING(step / jnp.maximum(rise, 1))
        for name in ("lr", *(group for group in self.groups if group in found)):
            warmed = start + (found[name] - start) * share
            found[name] = jnp.where(step < rise, warmed, found[name])
        return found

    def after_epoch(self, hparams: Hparams, state: Any, val_loss: jax.Array) -> Any:
        """The schedule's state after an epoch that began after the rise; before that as it is."""
        begun = state["epochs"] >= jnp.nan_to_num(hparams["lr_warmup"])
        moved = self.inner.after_epoch(hparams, state["schedule"], val_loss)
        moved = jax.tree.map(lambda new, old: jnp.where(begun, new, old), moved, state["schedule"])
        return {"schedule": moved, "epochs": state["epochs"] + 1}

    def ended(self, hparams: Hparams, state: Any) -> jax.Array | None:
        return self.inner.ended(hparams, state["schedule"])


_SCHEDULES = {
    "constant": Named,
    "cosine": Cosine,
    "restarts": Restarts,
    "exponential": Exponential,
    "step": Step,
    "plateau": Plateau,
}


def named_schedule(config: Mapping[str, Any], groups: Groups) -> Constant:
    """The schedule that `lr_schedule` names."""
    return _SCHEDULES[str(config["lr_schedule"])](config, groups)


def _steps(epochs: np.ndarray, steps: int) -> int:
    """An integer number of optimizer steps, at least 1."""
    return max(1, round(float(epochs) * steps))
