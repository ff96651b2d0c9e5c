"""Averages of the weights along a training, which are judged and kept in place of the last ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from trainables.core.numbers import widened

STATE = "average"
"""Name of an average in a lane's state."""


def start(params: Any) -> dict[str, Any]:
    """The average before anything is averaged: the weights, float32 where they have 16 bits; and
    how many epochs it holds."""
    # A copy, since a buffer cannot be donated twice.
    return {"params": jax.tree.map(jnp.array, widened(params)), "count": jnp.int32(0)}


def after_step(
    kind: str,
    average: dict[str, Any],
    params: Any,
    done: jax.Array,
    steps: int,
    hparams: Mapping[str, jax.Array],
) -> dict[str, Any]:
    """The average after an optimizer step.

    Until `average_from` epochs are over it is the weights themselves. Then ema is an exponential
    average over steps (Polyak and Juditsky, 1992), swa the mean of the weights at the end of each
    epoch (Izmailov et al., arXiv 1803.05407).

    Args:
      kind: ema or swa.
      params: the weights after the step.
      done: steps taken, this one included.
      steps: of an epoch.
    """
    first = hparams["average_from"] * steps
    if kind == "ema":
        keeps = jnp.where(done > first, hparams["average_decay"], 0.0)
        moves, count = 1 - keeps, average["count"]
    else:
        taken = (done > first) & (done % steps == 0)
        count = average["count"] + taken
        moves = jnp.where(taken, 1 / jnp.maximum(count, 1), jnp.where(count == 0, 1.0, 0.0))
    moved = jax.tree.map(
        lambda old, new: jnp.where(moves == 1, new, old + moves * (new - old)),
        average["params"],
        widened(params),
    )
    return {"params": moved, "count": count}


def judged(state: Mapping[str, Any]) -> Any:
    """The weights of a lane's state that are evaluated and kept: the average where there is one, in
    the types of the parameters."""
    if STATE not in state:
        return state["params"]
    return jax.tree.map(lambda a, p: a.astype(p.dtype), state[STATE]["params"], state["params"])
