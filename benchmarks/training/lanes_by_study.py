"""The lane strategies on a CPU, in the studies' own spaces."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from orchestrator.datasets import loader
from orchestrator.plan.plan import plan
from trainables.core.lanes import Strategy
from trainables.declarations import Trial
from trainables.packs.pack import Pack

SPACES = (
    "herranz2023/digits", "zucchet2024/comparison_lru", "zucchet2024/comparison_rnn",
    "zucchet2024/ablation_p1", "zucchet2024/heads", "zucchet2024/shrink_p1",
)  # fmt: skip
"""Those whose steps take a few ms at most on one core. Where steps take longer, arithmetic fills
the core, and vmap has nothing to save (docs/benchmarks.md)."""
ROUNDS = 3
STRATEGIES: tuple[Strategy, ...] = ("sequential", "vmap")


def run() -> dict[str, float]:
    """Seconds of an epoch of a space's widest pack of each model, in sequence and as vmap, in
    turns; the least of three."""
    seconds = {}
    for space in SPACES:
        for model, trials in _packs(space).items():
            name = f"{space}, {model}, {len(trials)} lanes"
            ways = {way: _ready(trials, way) for way in STRATEGIES}
            for way in [*STRATEGIES] * ROUNDS:
                took = _epoch(ways[way])
                seconds[f"{name}: {way}"] = min(took, seconds.get(f"{name}: {way}", took))
    return seconds


def _packs(space: str) -> dict[str, list[Trial]]:
    """The trials of a space's widest pack of each model that starts from no other stage."""
    (one,) = plan(space, store="no-store")
    trials = {trial.id: trial for trial in one.trials}
    found: dict[str, list[Trial]] = {}
    for pack in one.packs:
        own = [trials[lane.trial_id] for lane in pack.lanes]
        if own[0].parent is None and len(own) > len(found.get(own[0].model.name, ())):
            found[own[0].model.name] = own
    return found


def _ready(trials: list[Trial], lanes: Strategy) -> Pack:
    dataset = trials[0].dataset
    arrays: Mapping[str, Any] = loader.load(dataset).arrays if dataset else {}
    pack = Pack(trials, arrays, lanes=lanes)
    pack.init()
    pack.epoch(0)
    return pack


def _epoch(pack: Pack) -> float:
    begun = time.perf_counter()
    pack.epoch(1)
    return time.perf_counter() - begun
