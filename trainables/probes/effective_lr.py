"""The probe `effective_lr`: how far Adam moves each tensor for a gradient of given size.

docs/specs/zucchet2024.md, 3: an adaptive rule gives each parameter a learning rate of its own,
and what tells a dense recurrence from a diagonal one is whose parameters get a small one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from trainables.core.engine import Engine, Measure, SharedColumns, State
from trainables.core.layout import Slot, by_path
from trainables.declarations import Trial
from trainables.optim.decay import recurrent_leaves
from trainables.training.epoch import Training

_B2, _EPSILON = 0.999, 1e-8
_FLOOR = 1e-8
"""Added to the published probe's steps before their logarithm."""


def adam_rates(lr: jax.Array, square: jax.Array, count: jax.Array) -> jax.Array:
    """lr / (sqrt(v^) + eps) of each entry, v^ = v / (1 - b2^count)."""
    unbias = -jnp.expm1(count.astype(jnp.float32) * jnp.log(jnp.float32(_B2)))
    return lr / (jnp.sqrt(square / unbias) + _EPSILON)


def _geometric(values: jax.Array) -> jax.Array:
    return jnp.exp(jnp.mean(jnp.log(values)))


def effective_lr(engine: Engine, trial: Trial) -> tuple[SharedColumns, Measure] | None:
    """Builds the probe, for training by Adam; rows are the tensors of `layers`."""
    if not isinstance(engine, Training) or engine.layout is None:
        return None
    slots = engine.layout.slots
    shared = {
        "layer": np.array([slot.layer for slot in slots], np.int32),
        "layer_name": np.array([slot.layer_name for slot in slots], object),
        "tensor": np.array([slot.tensor for slot in slots], object),
    }

    def own(leaves: Mapping[str, jax.Array], slot: Slot) -> jax.Array:
        return leaves[slot.path] if slot.index is None else leaves[slot.path][slot.index]

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        now = engine.rates(state, values)
        # By its type: parameters may be called nu as well.
        moments = optax.tree.get(state["optimizer"], "ScaleByAdamState")
        square, count = by_path(moments.nu), moments.count
        ones = jax.tree.map(jnp.ones_like, state["params"])
        still = jax.tree.map(jnp.zeros_like, ones)  # weight decay is no part of it
        update, _ = engine.optimizer(now).update(ones, state["optimizer"], still)
        steps = by_path(update)
        slow = by_path(recurrent_leaves(state["params"])) if "lr_recurrent" in now else {}
        columns: dict[str, list[jax.Array]] = {}
        for slot in slots:
            lr = now["lr_recurrent" if slow.get(slot.path) else "lr"]
            rates, step = adam_rates(lr, own(square, slot), count), -own(steps, slot)
            row = {
                "lr": lr,
                "lr_mean": _geometric(rates),
                "lr_min": jnp.min(rates),
                "lr_max": jnp.max(rates),
                "lr_probe": _geometric(jnp.maximum(step, 0) + _FLOOR),
                "negative": jnp.mean(step <= 0),
            }
            for name, value in row.items():
                columns.setdefault(name, []).append(value)
        return {name: jnp.stack(values) for name, values in columns.items()}

    return shared, measure
