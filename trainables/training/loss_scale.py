"""Dynamic loss scaling: gradients too small for float16 are lifted over its smallest number.

The loss is multiplied by a scale before the backward pass and its gradients divided by it after.
Where they overflow, the step is left out and the scale halved; after a number of steps without an
overflow it is doubled (Micikevicius et al., arXiv 1710.03740; torch's GradScaler).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

FIRST, MOST = 2.0**15, 2.0**24
PERIOD = 2000
"""Steps without an overflow after which the scale doubles."""


class LossScale(NamedTuple):
    """The scale (float32), and steps without an overflow since it changed (int32)."""

    scale: jax.Array
    steps: jax.Array


def first() -> LossScale:
    return LossScale(jnp.float32(FIRST), jnp.int32(0))


def after(state: LossScale, overflowed: jax.Array) -> LossScale:
    """The state after a step, halved down to 1 where its gradients overflowed."""
    steps = jnp.where(overflowed, 0, state.steps + 1)
    due = steps >= PERIOD
    scale = jnp.where(overflowed, state.scale / 2, jnp.where(due, state.scale * 2, state.scale))
    return LossScale(jnp.clip(scale, 1.0, MOST), jnp.where(due, 0, steps))
