"""How large the states are that a plan's trials would keep."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from orchestrator.datasets import loader
from orchestrator.user_code import guarded
from trainables.declarations import HostTrainable, Trial

_MOST = 20
"""Kinds of trials whose shapes are traced; where there are more, some stand for all."""


def state_bytes(trials: Sequence[Trial], weights: bool = True) -> int | None:
    """Bytes of all that these trials would keep of their states, from shapes; None where they
    cannot be had. Imports JAX, on the CPU unless it is there already.

    Args:
      weights: with the last weights by name, as `keep_weights=state` keeps them.
    """
    if not trials:
        return 0
    kinds: dict[tuple[object, ...], list[Trial]] = {}
    for trial in trials:
        kinds.setdefault((trial.structure, *trial.statics.values()), []).append(trial)
    if any(isinstance(trial.stage, HostTrainable) for trial in trials):
        return None
    if "jax" not in sys.modules:  # no memory of a GPU for a plan
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    every = list(kinds.values())
    traced = every[:: -(-len(every) // _MOST)]
    try:
        with guarded():
            total = sum(_one(same[0], weights) * len(same) for same in traced)
    except Exception:  # a part that fails here fails where it runs, and its error is shown there
        return None
    return total * len(trials) // max(sum(map(len, traced)), 1)


def _one(trial: Trial, weights: bool) -> int:
    from trainables.packs.state_size import state_bytes as of_shapes

    arrays = loader.load(trial.dataset).arrays if trial.dataset else {}
    return of_shapes(trial, arrays, weights)
