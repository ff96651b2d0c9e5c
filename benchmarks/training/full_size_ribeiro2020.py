"""What the published sizes of study ribeiro2020 cost: seconds of a training step, net by net."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.timing import alternate
from trainables.declarations import builtin_registry
from trainables.packs.pack import Pack

CELLS = {
    "LSTM": {"model": "torch_lstm"},
    "sLSTM": {"model": "torch_lstm", "stabilize": "column_exact"},
    "oRNN": {"model": "ornn"},
}
# Sizes of a step as published; of data only what a step or two need.
TASKS: dict[str, dict[str, Any]] = {
    "sine": {"task": "sine", "width": 200, "n_sequences": 20},
    "sequences": {"task": "temporal_order", "width": 50, "n_sequences": 200, "n_sequences_val": 0},
    "language": {
        "task": "word_lm", "corpus": "wikitext2", "width": 800, "dropout": 0.5, "max_tokens": 7100,
    },
}  # fmt: skip


def run() -> dict[str, float]:
    """Seconds of a step, one trial on one thread; of language, of a step of 70 x 100 words and two
    evaluations of as many."""
    registry = builtin_registry()
    rng = np.random.default_rng(0)
    found: dict[str, float] = {}
    for name, task in TASKS.items():
        packs: dict[str, Pack] = {}
        steps = 1
        for cell, model in CELLS.items():
            trial = registry.resolve({"optimizer": "torch_adam", **task, **model})
            words = rng.integers(trial.sizes.features, size=7100).astype(np.int32)
            arrays = {f"{part}_tokens": words for part in ("train", "val", "test")}
            pack = Pack([trial], arrays if trial.sizes.tokens else {})
            pack.init()
            packs[f"{name}, {cell}"], steps = pack, trial.sizes.steps
        ways = {key: lambda pack=pack: pack.epoch(0) for key, pack in packs.items()}
        seconds = alternate(ways, rounds=1 if name == "language" else 5)
        found |= {key: value / steps for key, value in seconds.items()}
    return found
