"""Kernel against recurrent mode of zucchet2024's students: seconds of a training step, by lanes."""

from __future__ import annotations

from benchmarks.timing import alternate
from trainables.core.lanes import Strategy
from trainables.declarations import builtin_registry
from trainables.packs.pack import Pack

CONFIG = {
    "task": "teacher_student", "min_nu": 0.99, "eval_batches": 0, "optimizer": "adam", "lr": 1e-3,
    "lr_end": 1e-7,
}  # fmt: skip
MODELS = {
    "LRU": {"model": "lru"},
    "dense RNN": {"model": "linear_rnn"},
    "32 blocks": {"model": "linear_rnn", "heads": 32},
}
STEPS = {"kernel": 50, "recurrent": 2}
"""Of an epoch: the kernel's are short, so that many are timed."""
LANES = 4
WAYS: dict[str, tuple[int, Strategy]] = {
    "alone": (1, "sequential"),
    f"{LANES} lanes, sequential": (LANES, "sequential"),
    f"{LANES} lanes, vmap": (LANES, "vmap"),
}


def run() -> dict[str, float]:
    """Seconds of a training step of 128 sequences of 300 steps, 64 units: alone, and as one of four
    lanes."""
    registry = builtin_registry()
    packs: dict[str, Pack] = {}
    steps: dict[str, int] = {}
    for name, model in MODELS.items():
        for execution, count in STEPS.items():
            config = {**CONFIG, **model, "execution": execution, "steps_per_epoch": count}
            trials = [registry.resolve({**config, "seed": seed}) for seed in range(LANES)]
            for way, (width, lanes) in WAYS.items():
                key = f"{name}, {execution}, {way}"
                packs[key] = Pack(trials[:width], {}, lanes=lanes)
                packs[key].init()
                steps[key] = count * width
    seconds = alternate({key: lambda pack=pack: pack.epoch(0) for key, pack in packs.items()})
    return {key: value / steps[key] for key, value in seconds.items()}
