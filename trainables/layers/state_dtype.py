"""In which type a recurrence runs, where inputs and weights are smaller than float32.

A cell names the tensors that stay float32 (`float32_tensors`): eigenvalues, time constants, what an
orthogonal matrix is made of. A memory of 1000 steps multiplies by 0.999 a step, which is 1 in
bfloat16. Where there are such tensors the state is float32 too, by JAX's promotion of types; else
it is of the inputs' type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

Advance = Callable[[jax.Array, jax.Array], jax.Array]
"""(state, drive of a step) -> the next state."""


def following(advance: Advance, state: jax.Array, drive_T: jax.Array) -> jax.Array:
    """A first state in the type that steps give, which a scan must start with.

    Args:
      drive_T: of all steps, with time first.
    """
    if state.dtype == drive_T.dtype and drive_T.dtype.itemsize >= 4:
        return state
    low = state.astype(drive_T.dtype)
    return low.astype(jax.eval_shape(advance, low, drive_T[0]).dtype)


def float32_tensors(*cells: Any) -> tuple[str, ...]:
    """Names of the tensors of cells that stay float32."""
    named = (name for cell in cells for name in getattr(cell, "float32_tensors", ()))
    return tuple(dict.fromkeys(named))
