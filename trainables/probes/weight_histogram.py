"""The probe `weight_histogram`: how the entries of each tensor are spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainables.core.engine import Engine, Measure, SharedColumns, State
from trainables.core.layout import by_path
from trainables.declarations import Trial

BINS = 40


def weight_histogram(engine: Engine, trial: Trial) -> tuple[SharedColumns, Measure] | None:
    """Builds the probe; rows are the bins of each tensor of `layers`."""
    if engine.layout is None:
        return None
    slots = engine.layout.slots
    shared = {
        "layer": np.array([slot.layer for slot in slots], np.int32).repeat(BINS),
        "layer_name": np.array([slot.layer_name for slot in slots], object).repeat(BINS),
        "tensor": np.array([slot.tensor for slot in slots], object).repeat(BINS),
    }

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        leaves = by_path(state["params"])
        own = [leaves[slot.path] for slot in slots]
        own = [w if s.index is None else w[s.index] for w, s in zip(own, slots, strict=True)]
        low, high, share = zip(*map(histogram, own), strict=True)
        named = {"low": low, "high": high, "share": share}
        return {name: jnp.concatenate(columns) for name, columns in named.items()}

    return shared, measure


def histogram(w: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Lower and upper edges of `BINS` equal bins from least to greatest entry, and the share of the
    entries in each; of entries that are all equal the first bin holds all."""
    flat = w.reshape(-1).astype(jnp.float32)
    least, span = jnp.min(flat), jnp.max(flat) - jnp.min(flat)
    edges = least + span * jnp.arange(BINS + 1) / BINS
    at = jnp.floor((flat - least) / jnp.where(span > 0, span, 1) * BINS)
    at = jnp.clip(at, 0, BINS - 1).astype(jnp.int32)
    return edges[:-1], edges[1:], jnp.bincount(at, length=BINS) / flat.size
