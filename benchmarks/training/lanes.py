"""How lanes run together on two cores: one width. `lanes_by_width` has the others."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from statistics import median

from benchmarks.training.lane_workers import Config, Worker

KINDS: dict[str, Config] = {
    "feed-forward": {
        "model": "ffn", "task": "digits", "layout": "flat", "depth": 4, "width": 128,
        "batch_size": 64,
    },
    "recurrent": {
        "model": "vanilla_rnn", "task": "digits", "layout": "rows", "depth": 2, "width": 32,
        "batch_size": 256,
    },
    "kernel": {
        "model": "lru", "execution": "kernel", "task": "teacher_student", "min_nu": 0.99,
        "eval_batches": 0, "optimizer": "adam", "lr": 1e-3, "lr_end": 1e-7, "steps_per_epoch": 10,
    },
}  # fmt: skip
ROUNDS, LEAST_S = 3, 6.0
"""There are so many rounds and they go on for so long: of short epochs they differ by a tenth."""
LAUNCH = "process per core, "
WAYS = {
    # way: workers, lane strategy, packs in each worker
    LAUNCH + "sequential": (("one thread", "one thread too"), "sequential", 1),
    LAUNCH + "vmap": (("one thread", "one thread too"), "vmap", 1),
    "one pack, sequential": (("two threads",), "sequential", 1),
    "one pack, vmap": (("two threads",), "vmap", 1),
    "two packs in threads": (("two threads",), "sequential", 2),
    "two host devices": (("two devices",), "sequential", 2),
}
WORKERS = {
    "one thread": (1, 1), "one thread too": (1, 1), "two threads": (2, 1), "two devices": (2, 2),
}  # fmt: skip


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of an epoch per lane, 8 lanes: a process per core with half of them (a launch), one
    pack with two threads, two packs in threads of one process, two packs on two XLA host devices.

    Measured beside: CPU seconds over seconds of wall (cores busy)."""
    return measure([8])


def measure(widths: Iterable[int]) -> tuple[dict[str, float], dict[str, float]]:
    """`run` for each kind and each number of lanes."""
    seconds: dict[str, float] = {}
    facts: dict[str, float] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        places = {"GRADSWEEP_CACHE": stack.enter_context(tempfile.TemporaryDirectory())}
        for name, (threads, devices) in WORKERS.items():
            workers[name] = Worker(threads, devices, places)
            stack.callback(workers[name].close)
        for kind, config in KINDS.items():
            for width in widths:
                own, busy = _alternate(workers, config, width)
                case = f"{kind}, {width} lanes"
                seconds |= {f"{case}: {way}": value / width for way, value in own.items()}
                facts |= {f"{case}, {way}, cores busy": value for way, value in busy.items()}
                for worker in workers.values():
                    worker.ask("drop")
    return seconds, facts


def _alternate(
    workers: dict[str, Worker], config: Config, width: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of all lanes' epoch, and cores busy, by way."""
    ways: dict[str, list[Worker]] = {}
    for way, (names, lanes, each) in WAYS.items():
        packs = len(names) * each
        if width == 1 and lanes == "sequential" and each == 1:
            names, packs = names[:1], 1
        if width < packs or (width == 1 and (lanes == "vmap" or each > 1)):
            continue
        size = width // packs
        seeds = [range(first, first + size) for first in range(0, width, size)]
        ways[way] = [workers[name] for name in names]
        for index, worker in enumerate(ways[way]):
            # One after the other: the second finds the program in the compile cache.
            worker.ask("build", way, config, lanes, seeds[index * each : (index + 1) * each])
    wall: dict[str, list[float]] = {way: [] for way in ways}
    cpu: dict[str, list[float]] = {way: [] for way in ways}
    first, turn = time.perf_counter(), 0
    while turn <= ROUNDS or time.perf_counter() - first < LEAST_S:
        for way, group in ways.items():
            begun = time.perf_counter()
            for worker in group:
                worker.send("epoch", way)
            used = sum(worker.receive() for worker in group)
            if turn:  # the first round is not timed
                wall[way].append(time.perf_counter() - begun)
                cpu[way].append(used)
        turn += 1
    return (
        {way: median(values) for way, values in wall.items()},
        {way: sum(cpu[way]) / sum(wall[way]) for way in ways},
    )
