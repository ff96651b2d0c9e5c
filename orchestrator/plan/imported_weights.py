"""Weights that were imported into a store, from which trials with `weights_from` start."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from results import Store
from trainables.declarations import Trial


def imported_weights(store: Store | None, name: str) -> dict[str, np.ndarray] | None:
    """Tensors by name of imported weights; None where the store has none of that name."""
    path = f"artifacts/{name}"
    if store is None or all(entry["path"] != path for entry in store.saves("artifacts")):
        return None
    return store.load_lane(path, 0)


def missing(trials: Sequence[Trial], store: Store | None) -> list[str]:
    """A sentence for each set of imported weights that trials start from and the store lacks."""
    wanted = {str(t.config["weights_from"]) for t in trials if t.config.get("weights_from")}
    return [
        f"weights_from={name}: this store has no such weights; `gradsweep import-weights FILE "
        "SPACE` makes them and says their name"
        for name in sorted(wanted)
        if imported_weights(store, name) is None
    ]
