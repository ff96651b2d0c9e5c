"""The 30 x 128 network of herranz2023/figure2 on MNIST: seconds of one trial's epoch, by lanes."""

from __future__ import annotations

from benchmarks.timing import alternate
from orchestrator import datasets
from trainables.packs import Pack
from trainables.spec import builtin_registry

CONFIG = {
    "model": "ffn", "task": "mnist", "layout": "flat", "standardise": "scalar",
    "val_fraction": 0.1, "batch_size": 512, "optimizer": "adabelief", "activation": "relu",
}  # fmt: skip
LANES = 28


def run() -> dict[str, float]:
    """Seconds of a trial's epoch (106 steps of 512, validation, test): alone, and of 28 lanes."""
    registry = builtin_registry()
    trials = [registry.resolve({**CONFIG, "seed": seed, "lr": 1e-4}) for seed in range(LANES)]
    arrays = dict(datasets.load("mnist").arrays)
    packs = {
        "alone": Pack(trials[:1], arrays),
        f"{LANES} lanes, sequential": Pack(trials, arrays, lanes="sequential"),
        f"{LANES} lanes, vmap": Pack(trials, arrays, lanes="vmap"),
    }
    for pack in packs.values():
        pack.init()
    ways = {name: lambda pack=pack: pack.epoch(1) for name, pack in packs.items()}
    # An epoch of 28 lanes takes minutes on a CPU, so each way is timed once after its warm-up.
    seconds = alternate(ways, rounds=1)
    return {name: value / packs[name].width for name, value in seconds.items()}
