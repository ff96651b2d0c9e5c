"""Slots against fixed packs: trials of one program that end at random epochs."""

from __future__ import annotations

import random
from collections.abc import Sequence

from benchmarks.timing import alternate
from orchestrator.plan.packs import Context, Lane, PackSpec
from orchestrator.worker.pack_run import PackRun
from trainables.core.lanes import Strategy
from trainables.declarations import Registry, Trial, builtin_registry

WIDTH = 16
TRIALS = 128
LONGEST = 24
CONFIG = {
    "task": "gaussian", "model": "vanilla_rnn", "seq_len": 32, "batch_size": 16,
    "steps_per_epoch": 8, "depth": 2, "width": 16, "lr": 0.01,
}  # fmt: skip


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of 128 trials of 1 to 24 epochs in 16 lanes, on one worker: in fixed packs, each run
    until its last trial has ended, and in slots that waiting trials take. Both train the same
    epochs and keep the same rows. The facts are the lanes that trained, in per cent of all, until
    no trial waited, and until the end; and the ratio of the two ways."""
    registry, draw = builtin_registry(), random.Random(0)
    trials = [
        registry.resolve({**CONFIG, "seed": seed, "epochs": draw.randint(1, LONGEST)})
        for seed in range(TRIALS)
    ]
    strategies: tuple[Strategy, ...] = ("vmap", "sequential")
    seconds: dict[str, float] = {}
    facts: dict[str, float] = {}
    for lanes in strategies:
        found = alternate(
            {
                f"{lanes}: slots": lambda lanes=lanes: _in_slots(registry, trials, lanes),
                f"{lanes}: fixed packs": lambda lanes=lanes: _in_packs(registry, trials, lanes),
            },
            rounds=3,
        )
        seconds |= found
        slots, packs = found.values()
        facts[f"{lanes}: fixed packs, in slots"] = packs / slots
    waiting, all_ = _in_slots(registry, trials, "sequential")
    facts["slots busy while trials wait, per cent"] = 100 * waiting
    facts["slots busy, per cent"] = 100 * all_
    facts["fixed packs' lanes busy, per cent"] = 100 * _in_packs(registry, trials, "sequential")
    return seconds, facts


def _started(registry: Registry, lanes: list[Lane], strategy: Strategy) -> PackRun:
    run = PackRun(PackSpec("pack", "", lanes, WIDTH, strategy), registry, None, Context())
    run.start()
    return run


def _lanes(trials: Sequence[Trial]) -> list[Lane]:
    return [Lane(trial.id, dict(trial.config)) for trial in trials]


def _in_slots(
    registry: Registry, trials: Sequence[Trial], strategy: Strategy
) -> tuple[float, float]:
    """The share of lanes that trained, while trials waited and over all."""
    waiting = _lanes(trials)
    run = _started(registry, waiting[:WIDTH], strategy)
    waiting, trained = waiting[WIDTH:], [[0, 0], [0, 0]]
    while not run.idle:
        count = [run.step().trained, WIDTH]
        trained[bool(waiting)] = [a + b for a, b in zip(trained[bool(waiting)], count, strict=True)]
        free = len(run.free())
        run.take(waiting[:free])
        waiting = waiting[free:]
    used, lanes = (sum(pair) for pair in zip(*trained, strict=True))
    return trained[True][0] / trained[True][1], used / lanes


def _in_packs(registry: Registry, trials: Sequence[Trial], strategy: Strategy) -> float:
    """The share of lanes that trained."""
    lanes, used, every = _lanes(trials), 0, 0
    for first in range(0, len(lanes), WIDTH):
        run = _started(registry, lanes[first : first + WIDTH], strategy)
        while not run.idle:
            used += run.step().trained
            every += WIDTH
    return used / every
