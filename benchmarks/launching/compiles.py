"""How often a space's programs are compiled, at its first launch and at the next."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.datasets import loader
from orchestrator.plan.plan import plan
from orchestrator.plan.studies import catalogue
from orchestrator.plan.workload import workload
from orchestrator.queue.queue import PackQueue
from search_spaces import builtin_studies

SPACES = (
    "vanishing/warmup",
    "herranz2023/toy",
    "zucchet2024/signals",
    "ribeiro2020/chaos",
    "bar2025/memory",
)
"""Of each study one that is quick, stages and analyses among them."""

TURNS = ("first launch", "second launch")


@dataclass(frozen=True)
class Counted:
    """Epoch programs of one launch: those the plan names, compiled, and taken from the cache."""

    trials: int
    planned: int
    compiled: int
    cached: int
    seconds: float


def run(spaces: Sequence[str] = SPACES) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds to run the smoke variants of one space of each study, their packs one after the other
    in one process without Ray, with an empty compile cache and again with what it holds then; and
    how many epoch programs the plans name, were compiled and were found in the cache. `python -m
    benchmarks.launching.compiles all` (or names of spaces) prints the same for every space (or
    those)."""
    total: Counter[str] = Counter()
    seconds: dict[str, float] = dict.fromkeys(TURNS, 0.0)
    for space in spaces:
        (planned,) = plan(space, store=None, smoke=True)
        if not all(loader.available(name) for name in planned.datasets):
            print(f"  {space:<32} left out: {'; '.join(planned.warnings)}", flush=True)
            continue
        first, second = twice(space)
        for turn, found in zip(TURNS, (first, second), strict=True):
            print(
                f"  {space:<32} {turn:<14} {found.planned:3} planned, {found.compiled:3} compiled, "
                f"{found.cached:3} cached, {found.seconds:6.1f} s",
                flush=True,
            )
            seconds[turn] += found.seconds
            total[f"{turn}, compiled"] += found.compiled
            total[f"{turn}, cached"] += found.cached
        total["trials"] += first.trials
        total["programs planned"] += first.planned
    return seconds, dict(total)


def twice(space: str) -> list[Counted]:
    """The space's smoke variant in two processes, one after the other, that share a compile cache
    which nobody else has; each with a store of its own."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "benchmarks.launching.compiles", "--one", space]
        places = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/jax", "GRADSWEEP_CACHE": folder}
        found = []
        for _ in range(2):
            done = subprocess.run(
                words, env={**os.environ, **places}, check=True, stdout=subprocess.PIPE, text=True
            )
            found.append(Counted(**json.loads(done.stdout.splitlines()[-1])))
        return found


def launched(space: str) -> Counted:
    """What a launch of the space's smoke variant does, in this process."""
    from orchestrator.worker import compile_cache  # imports JAX
    from orchestrator.worker.pack_run import Context, PackRun
    from orchestrator.worker.run_progress import Progress
    from results import create_store

    begun = time.perf_counter()
    registry = catalogue().registry
    with tempfile.TemporaryDirectory() as folder:
        store = create_store(folder)
        plans = plan(space, store=store, smoke=True)
        work = workload(plans)

        def lost(pack: Any) -> Any:
            raise RuntimeError(f"pack {pack.id} was lost")

        queue = PackQueue(work.packs, work.epochs, work.passed, "here", lost)
        while (pack := queue.next(runner := f"worker {len(queue.outcomes)}")) is not None:
            running = PackRun(pack, registry, store, Context("here", space))
            running.start()
            progress = Progress(running.epoch - 1, signature=running.signature)
            queue.report(runner, vars(progress) | {"compiles": compile_cache.counted()})
            while not progress.done:
                progress = running.step()
                queue.report(runner, vars(progress))
            queue.complete(runner, vars(progress))
    programs = {program for one in plans for program in one.programs}
    trials = sum(len(one.to_run) for one in plans)
    found = queue.compiles
    seconds = time.perf_counter() - begun
    return Counted(trials, len(programs), found["compiled"], found["cached"], seconds)


def every_space() -> list[str]:
    """The published spaces and ours, as `study/space`."""
    studies = builtin_studies().values()
    return [f"{study.name}/{name}" for study in studies for name in study.spaces]


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        from orchestrator.machine import environment

        environment.prepare()
        print(json.dumps(vars(launched(sys.argv[2]))))
    else:
        run(every_space() if sys.argv[1:] == ["all"] else sys.argv[1:])
