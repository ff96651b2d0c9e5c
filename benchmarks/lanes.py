"""Lane strategies: four 20 x 64 trials on digits, one epoch; and what the metrics cost."""

from __future__ import annotations

from benchmarks.timing import alternate
from orchestrator import datasets
from trainables.packs import Pack
from trainables.spec import builtin_registry

CONFIG = {
    "model": "vanilla_rnn", "task": "digits", "layout": "rows", "depth": 20, "width": 64,
}  # fmt: skip


def run() -> dict[str, float]:
    """Seconds of one epoch of four trials: in sequence, as vmap, and as four packs of one."""
    registry = builtin_registry()
    trials = [registry.resolve({**CONFIG, "seed": seed}) for seed in range(4)]
    arrays = dict(datasets.load("digits").arrays)
    packs = {
        "one pack, sequential": [Pack(trials, arrays, lanes="sequential")],
        "one pack, vmap": [Pack(trials, arrays, lanes="vmap")],
        "four packs of one": [Pack([trial], arrays) for trial in trials],
    }
    for group in packs.values():
        for pack in group:
            pack.init()

    def epoch(group: list[Pack]) -> None:
        for pack in group:
            pack.epoch(1)

    return alternate({name: lambda group=group: epoch(group) for name, group in packs.items()})
