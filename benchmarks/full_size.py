"""What the published sizes of studies ribeiro2020 and bar2025 cost: seconds of a training step."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.timing import alternate
from trainables.packs import Pack
from trainables.spec import builtin_registry

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


# The README's experiments of bar2025: an epoch of two steps, and one evaluation.
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
    """Seconds of a step, one trial on one thread; of language, of a step of 70 x 100 words and two
    evaluations of as many."""
    return _ribeiro2020() | _bar2025()


def _ribeiro2020() -> dict[str, float]:
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


def _bar2025() -> dict[str, float]:
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
