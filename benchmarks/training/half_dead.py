"""Whether repacking a pack whose lanes are half dead would pay."""

from __future__ import annotations

import time
from typing import Any

import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from benchmarks.timing import alternate
from benchmarks.training.lanes import KINDS
from orchestrator.worker.pack_run import load_arrays
from trainables.core.lanes import Strategy
from trainables.declarations import builtin_registry
from trainables.packs.pack import Pack

LANES = 16
STRATEGIES: tuple[Strategy, ...] = ("sequential", "vmap")


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of an epoch of 16 lanes, of 16 of which 8 are frozen, and of a pack of 8 that took
    over the states of the living; three programs, by lane strategy, one thread.

    Measured beside: seconds to compile the narrower program (no cache) and to move the states; and
    how many epochs must remain for that to be less than what the narrower pack saves."""
    registry = builtin_registry()
    seconds: dict[str, float] = {}
    facts: dict[str, float] = {}
    for kind, config in KINDS.items():
        trials = [registry.resolve({**config, "seed": seed}) for seed in range(LANES)]
        arrays = load_arrays(trials[0])[0]
        packs: dict[str, Pack] = {}
        cost: dict[str, float] = {}
        for lanes in STRATEGIES:
            whole, half = (Pack(trials, arrays, lanes=lanes) for _ in range(2))
            for pack in whole, half:
                pack.init()
                pack.epoch(0)
            for lane in range(0, LANES, 2):
                half.freeze(lane)
            narrow, cost[lanes] = _repacked(half, arrays)
            facts[f"{kind}, {lanes}, repacking, s"] = cost[lanes]
            packs[f"{kind}, {lanes}, {LANES} alive"] = whole
            packs[f"{kind}, {lanes}, half frozen"] = half
            packs[f"{kind}, {lanes}, repacked"] = narrow
        works = {way: lambda pack=pack: pack.epoch(1) for way, pack in packs.items()}
        own = alternate(works, rounds=3)
        for lanes in STRATEGIES:
            saved = own[f"{kind}, {lanes}, half frozen"] - own[f"{kind}, {lanes}, repacked"]
            facts[f"{kind}, {lanes}, saved an epoch, ms"] = saved * 1e3
            if saved > 0:
                facts[f"{kind}, {lanes}, epochs to pay"] = cost[lanes] / saved
        seconds |= own
    return seconds, facts


def _repacked(half: Pack, arrays: Any) -> tuple[Pack, float]:
    """The living lanes as a pack of their own, and the seconds that took."""
    living = [lane for lane, alive in enumerate(half.active) if alive]
    _use_cache(False)
    begun = time.perf_counter()
    narrow = Pack([half.trials[lane] for lane in living], arrays, lanes=half.lanes)
    leaves = half.state()
    for to, lane in enumerate(living):
        narrow.load(to, {name: values[lane] for name, values in leaves.items()})
    narrow.compile()
    seconds = time.perf_counter() - begun
    _use_cache(True)
    return narrow, seconds


def _use_cache(use: bool) -> None:
    jax.config.update("jax_enable_compilation_cache", use)
    reset_cache()  # JAX looks at the setting once
