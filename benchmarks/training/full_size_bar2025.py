"""What the README's experiments of study bar2025 cost: seconds of a training step."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.timing import alternate
from trainables.declarations import builtin_registry
from trainables.packs.pack import Pack

# Sizes as published; an epoch of two steps, and one evaluation of a batch.
_README = {
    "model": "deep_diagonal_rnn", "init": "rescaled", "depth": 6, "optimizer": "adamw_groups",
    "epochs": 1,
}  # fmt: skip
SEQUENCES: dict[str, dict[str, Any]] = {
    "scifar": {
        "task": "scifar_4k", "d_model": 512, "width": 384, "batch_size": 50, "max_train": 100,
        "max_held": 1,
    },
    "imdb": {
        "task": "imdb", "d_model": 192, "width": 256, "batch_size": 32, "max_train": 64,
        "max_held": 1,
    },
    "listops": {
        "task": "listops", "d_model": 256, "width": 192, "batch_size": 32, "dropout": 0.0,
        "n_train": 64, "n_val": 1, "n_test": 1,
    },
}  # fmt: skip
TRAINED = 8 / 9
"""Share of such an epoch that trains: a step is a pass forwards, the same again, and back, which
counts as two; an evaluation is one pass."""


def run() -> dict[str, float]:
    """Seconds of a step of a batch, one trial on one thread."""
    rng = np.random.default_rng(0)
    images = {
        f"{part}_images": rng.integers(256, size=(n, 3, 32, 32), dtype=np.uint8)
        for part, n in (("train", 4_000), ("test", 1_000))
    }
    labels = {"train_labels": np.zeros(4_000, np.int32), "test_labels": np.zeros(1_000, np.int32)}
    reviews = {
        f"{part}_{what}": array
        for part in ("train", "test")
        for what, array in (
            ("tokens", np.full(25_000, 3, np.uint8)),
            ("offsets", np.arange(25_001)),
            ("labels", np.zeros(25_000, np.int32)),
        )
    }
    arrays = {"scifar": images | labels, "imdb": reviews, "listops": {}}
    found: dict[str, float] = {}
    for name, task in SEQUENCES.items():
        trial = builtin_registry().resolve({**_README, **task})
        pack = Pack([trial], arrays[name])
        pack.init()
        seconds = alternate({name: lambda pack=pack: pack.epoch(0)}, rounds=1)
        found[name] = seconds[name] * TRAINED / trial.sizes.steps
    return found
