"""The 30 x 128 network of herranz2023/figure2 on MNIST: seconds of one trial's epoch, by lanes."""

from __future__ import annotations

import time

from benchmarks.packs_study import NETWORK
from orchestrator.datasets import loader
from trainables.declarations import builtin_registry
from trainables.packs.pack import Pack

LANES = 28


def run() -> dict[str, float]:
    """Seconds of a trial's epoch (106 steps of 512, validation, test): alone, and of 28 lanes."""
    registry = builtin_registry()
    trials = [registry.resolve({**NETWORK, "seed": seed, "lr": 1e-4}) for seed in range(LANES)]
    arrays = dict(loader.load("mnist").arrays)
    packs = {
        "alone": Pack(trials[:1], arrays),
        f"{LANES} lanes, sequential": Pack(trials, arrays, lanes="sequential"),
        f"{LANES} lanes, vmap": Pack(trials, arrays, lanes="vmap"),
    }
    for pack in packs.values():
        pack.init()
        pack.compile()
    found = {}
    for name, pack in packs.items():
        begun = time.perf_counter()
        # An epoch of 28 lanes takes minutes on a CPU: each way once, compiled before.
        pack.epoch(0)
        found[name] = (time.perf_counter() - begun) / pack.width
    return found
