"""Kernel against recurrent mode of zucchet2024's students: seconds of a training step, by lanes."""

from __future__ import annotations

import time

from trainables.lanes import Strategy
from trainables.packs import Pack
from trainables.spec import builtin_registry

CONFIG = {
    "task": "teacher_student", "min_nu": 0.99, "steps_per_epoch": 2, "eval_batches": 0,
    "optimizer": "adam", "lr": 1e-3, "lr_end": 1e-7,
}  # fmt: skip
MODELS = {
    "LRU": {"model": "lru"},
    "dense RNN": {"model": "linear_rnn"},
    "32 blocks": {"model": "linear_rnn", "heads": 32},
}
LANES = 4


def run() -> dict[str, float]:
    """Seconds of a training step of 128 sequences of 300 steps, 64 units: alone, and as one of four
    lanes; compiled before."""
    registry = builtin_registry()
    found: dict[str, float] = {}
    for name, model in MODELS.items():
        for execution in ("kernel", "recurrent"):
            # The kernel's step is short, so that many are timed.
            steps = 50 if execution == "kernel" else 2
            config = {**CONFIG, **model, "execution": execution, "steps_per_epoch": steps}
            trials = [registry.resolve({**config, "seed": seed}) for seed in range(LANES)]
            ways: list[tuple[str, int, Strategy]] = [
                ("alone", 1, "sequential"),
                (f"{LANES} lanes, sequential", LANES, "sequential"),
                (f"{LANES} lanes, vmap", LANES, "vmap"),
            ]
            for way, width, lanes in ways:
                pack = Pack(trials[:width], {}, lanes=lanes)
                pack.init()
                pack.compile()
                begun = time.perf_counter()
                pack.epoch(0)
                seconds = (time.perf_counter() - begun) / (steps * width)
                found[f"{name}, {execution}, {way}"] = seconds
    return found
