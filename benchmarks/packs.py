"""Packs under `launch` against what a researcher would use instead, from the command to the last
row: plain Ray Tune with and without reused actors, and a shell loop, all on every core."""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import packs_study
from orchestrator.planning import plan
from orchestrator.room import cpus_here
from orchestrator.running import load_arrays
from trainables.packs import Pack
from trainables.spec import Trial

STUDY = Path(packs_study.__file__)


@dataclass(frozen=True)
class Case:
    """A sweep of `trials` trials of one program, of `epochs` epochs each."""

    space: str
    trials: int
    epochs: int

    @property
    def settings(self) -> list[str]:
        return [f"seed=range({self.trials // len(packs_study.LRS)})", f"epochs={self.epochs}"]

    def resolved(self) -> list[Trial]:
        (one,) = plan(f"packs/{self.space}", set=self.settings, study=str(STUDY))
        return list(one.trials)


CASES = {
    "1 s": Case("vanishing", 28, 3),
    "1 s, 84 lanes": Case("vanishing", 84, 3),
    "5 s": Case("vanishing", 28, 16),
    "network, 28 lanes": Case("network", 28, 1),
}
LONGEST = {"60 s": Case("vanishing", 8, 190)}
"""Held against the floor only: the others would take hours."""


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Seconds from the command to its end with a warm compile cache (and as facts with a cold one,
    each once); the floor is the bare jitted epochs of all trials over the cores, measured here in
    the same minutes."""
    seconds: dict[str, float] = {}
    facts: dict[str, float] = {}
    for name, case in {**CASES, **LONGEST}.items():
        rivals = {} if name in LONGEST else _rivals(case)
        ways = {"launch": _launched(case), **rivals}
        with tempfile.TemporaryDirectory() as folder:
            cold = {way: _timed(way, start, Path(folder)) for way, start in ways.items()}
            floors = [_floor(case)]
            warm = {way: _timed(way, start, Path(folder)) for way, start in ways.items()}
            floors.append(_floor(case))
        floor = statistics.mean(floors)
        seconds |= {f"{name}: {way}": value for way, value in warm.items()}
        seconds[f"{name}: floor"] = floor
        facts[f"{name}: seconds of a trial"] = floor * cpus_here() / case.trials
        facts[f"{name}: trials per hour"] = case.trials / warm["launch"] * 3600
        facts[f"{name}: percent of the floor"] = 100 * floor / warm["launch"]
        facts |= {f"{name}: {way}, cold": value for way, value in cold.items()}
        for way in rivals:
            facts[f"{name}: {way} takes times as long"] = warm[way] / warm["launch"]
            facts[f"{name}: {way} takes times as long, cold"] = cold[way] / cold["launch"]
        print(f"  {name} done", flush=True)
    return seconds, facts


def _launched(case: Case) -> Callable[[Path], Sequence[str]]:
    sets = [word for setting in case.settings for word in ("--set", setting)]

    def command(folder: Path) -> list[str]:
        words = ["orchestrator", "launch", f"packs/{case.space}", "--study", str(STUDY)]
        return [sys.executable, "-m", *words, *sets, "--store", str(folder / "store")]

    return command


def _rivals(case: Case) -> dict[str, Callable[[Path], Sequence[str]]]:
    configs = [json.dumps(dict(trial.config)) for trial in case.resolved()]

    def tuned(way: str) -> Callable[[Path], list[str]]:
        def command(folder: Path) -> list[str]:
            folder.mkdir(parents=True)
            (folder / "configs").write_text("\n".join(configs), encoding="utf-8")
            rival = ["benchmarks.rivals", way, str(folder / "configs"), str(folder / "results")]
            return [sys.executable, "-m", *rival]

        return command

    def looped(folder: Path) -> list[str]:
        one = [sys.executable, "-m", "benchmarks.rivals", "one", "{}", str(folder)]
        lines = "\n".join(configs)
        loop = f"xargs -d '\\n' -P {cpus_here()} -I{{}} {shlex.join(one)}"
        return ["bash", "-c", f"printf '%s\\n' {shlex.quote(lines)} | {loop}"]

    return {"Tune": tuned("tune"), "Tune, reused actors": tuned("reused"), "shell loop": looped}


def _timed(way: str, command: Callable[[Path], Sequence[str]], folder: Path) -> float:
    """Seconds of a way's command, in a folder of its own each time, with a cache of its own that
    the next time finds."""
    place = folder / f"{way}-{time.monotonic_ns()}"
    words = command(place)
    cache = str(folder / f"{way}-cache")
    places = dict.fromkeys(("GRADSWEEP_CACHE", "JAX_COMPILATION_CACHE_DIR"), cache)
    own = {**os.environ, **places, "RAY_worker_niceness": "0"}
    begun = time.perf_counter()
    done = subprocess.run(words, env=own, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if done.returncode:
        sys.exit(f"{way} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return seconds


def _floor(case: Case) -> float:
    """Seconds that the bare epochs of all trials would take on all cores, from some epochs of one
    trial on one of them."""
    trial = case.resolved()[0]
    pack = Pack([trial], load_arrays(trial)[0])
    pack.init()
    pack.epoch(0)
    spans = []
    for epoch in range(1, 4):
        begun = time.perf_counter()
        pack.epoch(epoch)
        spans.append(time.perf_counter() - begun)
    return statistics.median(spans) * case.trials * case.epochs / cpus_here()
