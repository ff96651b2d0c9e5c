"""Schedules of a rate that is an array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

Schedule = Callable[[Any], Any]


def scaled_schedule(schedule: Schedule, rate: Any) -> Schedule:
    """`schedule` times `rate`: for schedules that compare their rate with a Python number.

    Most schedules of optax take a learning rate that is an array. `warmup_cosine_decay_schedule`
    and `sgdr_schedule` do not: make them for a peak of 1, their other rates being shares of it.

        schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, 100, config["total_steps"], 0.1)
        return optax.adamw(scaled_schedule(schedule, hparams["lr"]))

    Args:
      schedule: step -> rate.
      rate: the factor, a number or a scalar array.
    """

    def scaled(step: Any) -> jax.Array:
        return rate * schedule(step)

    return scaled
