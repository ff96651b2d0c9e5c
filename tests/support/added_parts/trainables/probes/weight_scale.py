"""The probe `weight_scale`: how large the weights of each tensor are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainables.core.engine import Engine, Measure, SharedColumns, State
from trainables.core.layout import by_path
from trainables.declarations import Trial


def weight_scale(engine: Engine, trial: Trial) -> tuple[SharedColumns, Measure] | None:
    """Builds the probe, for models; rows are the tensors of `layers`."""
    if engine.layout is None:
        return None
    slots = engine.layout.slots

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        leaves = by_path(state["params"])
        own = [leaves[s.path] if s.index is None else leaves[s.path][s.index] for s in slots]
        return {"scale": jnp.stack([jnp.sqrt(jnp.mean(w**2)) for w in own])}

    return {"tensor": np.array([f"{s.layer_name}.{s.tensor}" for s in slots], object)}, measure
