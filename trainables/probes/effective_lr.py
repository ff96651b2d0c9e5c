"""The probes `effective_lr` and `weight_rates`: how far Adam moves each tensor, and each weight,
for a gradient of given size.

docs/specs/zucchet2024.md, 3: an adaptive rule gives each parameter a learning rate of its own,
and what tells a dense recurrence from a diagonal one is whose parameters get a small one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        columns: dict[str, list[jax.Array]] = {}
        for lr, rates, step in _by_slot(engine, slots, state, values):
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


def weight_rates(engine: Engine, trial: Trial) -> tuple[SharedColumns, Measure] | None:
    """Builds the probe, for training by Adam; rows are entries of tensors, evenly spaced where a
    tensor has more than `weight_rates_most`."""
    if not isinstance(engine, Training) or engine.layout is None:
        return None
    slots, most = engine.layout.slots, int(trial.config["weight_rates_most"] or 1)
    shared: dict[str, np.ndarray] = {}  # filled while `measure` is traced, which knows the shapes

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        params = by_path(state["params"])
        rows: dict[str, list[Any]] = {n: [] for n in ("entry", "weight", "lr", "step")}
        for slot, (_, rates, step) in zip(
            slots, _by_slot(engine, slots, state, values), strict=True
        ):
            count = rates.size
            entries = np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int32))
            rows["entry"].append(entries)
            kept = {"weight": _own(params, slot), "lr": rates, "step": step}
            for name, leaf in kept.items():
                rows[name].append(leaf.reshape(-1)[entries].astype(jnp.float32))
        counts = [len(entries) for entries in rows["entry"]]
        named = {"layer": np.int32, "layer_name": object, "tensor": object}
        shared.update(
            {n: np.repeat(np.array([getattr(s, n) for s in slots], t), counts)
             for n, t in named.items()},
            entry=np.concatenate(rows.pop("entry")),
        )  # fmt: skip
        return {name: jnp.concatenate(found) for name, found in rows.items()}

    return shared, measure


def _own(leaves: Mapping[str, jax.Array], slot: Slot) -> jax.Array:
    return leaves[slot.path] if slot.index is None else leaves[slot.path][slot.index]


def _by_slot(
    engine: Training, slots: Sequence[Slot], state: State, values: Mapping[str, jax.Array]
) -> Iterator[tuple[jax.Array, jax.Array, jax.Array]]:
    """Of each tensor: learning rate, effective rate of each entry, and the published probe's step:
    that of a gradient of 1 everywhere."""
    now = engine.rates(state, values)
    # By its type: parameters may be called nu as well.
    moments = optax.tree.get(state["optimizer"], "ScaleByAdamState")
    square, count = by_path(moments.nu), moments.count
    ones = jax.tree.map(jnp.ones_like, state["params"])
    still = jax.tree.map(jnp.zeros_like, ones)  # weight decay is no part of it
    update, _ = engine.optimizer(now).update(ones, state["optimizer"], still)
    steps = by_path(update)
    slow = by_path(recurrent_leaves(state["params"])) if "lr_recurrent" in now else {}
    for slot in slots:
        lr = now["lr_recurrent" if slow.get(slot.path) else "lr"]
        yield lr, adam_rates(lr, _own(square, slot), count), -_own(steps, slot)
