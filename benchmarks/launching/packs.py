"""Packs under `launch` against what a researcher would use instead, from the command to the last
row: plain Ray Tune with and without reused actors, and a shell loop, all on every core."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from benchmarks import packs_study
from orchestrator.machine.resources import cpus_here
from orchestrator.plan.plan import plan
from orchestrator.worker.pack_run import load_arrays
from trainables.declarations import Trial
from trainables.packs.pack import Pack

STUDY = Path(packs_study.__file__)
RIVALS = "benchmarks.launching.rivals"


@dataclass(frozen=True)
class Case:
    """A sweep of `trials` trials of one program, of `epochs` epochs each, and its rivals."""

    space: str
    trials: int
    epochs: int
    rivals: tuple[str, ...] = ("Tune", "Tune, reused actors", "shell loop")

    def settings(self, trials: int | None = None, epochs: int | None = None) -> list[str]:
        seeds = (trials or self.trials) // len(packs_study.LRS)
        return [f"seed=range({seeds})", f"epochs={epochs or self.epochs}"]

    def resolved(self) -> list[Trial]:
        (one,) = plan(f"packs/{self.space}", store=None, set=self.settings(), study=str(STUDY))
        return list(one.trials)


_REUSED = "Tune, reused actors"
COLD = "1 s"
"""The case that each way also runs with an empty compile cache."""
CASES = {
    COLD: Case("vanishing", 28, 3),
    "1 s, 84 trials": Case("vanishing", 84, 3, (_REUSED,)),
    "5 s": Case("vanishing", 28, 16, (_REUSED, "shell loop")),
    "network of 5 s": Case("network", 28, 1, (_REUSED, "shell loop")),
    "60 s": Case("vanishing", 8, 190, ()),
}


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Seconds from the command to its end with a warm compile cache; the floor is the bare jitted
    epochs of all trials over the cores, measured before and after each case on one core while the
    others are idle, and on all at once. The facts are a trial's own seconds, trials per hour, the
    floors in per cent of the launch, what rivals take in launches, and one case with a cold
    cache."""
    seconds: dict[str, float] = {}
    facts: dict[str, float] = {}
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            sweep = Sweep(case, Path(folder))
            cold = {way: sweep.timed(way) for way in sweep.ways} if name == COLD else {}
            if not cold:
                sweep.warm_up()
            floors = [(_floor(case), _busy_floor(case))]
            warm = {way: sweep.timed(way) for way in sweep.ways}
            floors.append((_floor(case), _busy_floor(case)))
        floor, busy = (statistics.mean(both) for both in zip(*floors, strict=True))
        seconds |= {f"{name}: {way}": value for way, value in warm.items()}
        seconds |= {f"{name}: floor": floor, f"{name}: floor, all cores busy": busy}
        facts[f"{name}: seconds of a trial"] = floor * cpus_here() / case.trials
        facts[f"{name}: trials per hour"] = case.trials / warm["launch"] * 3600
        for which, least in (("floor", floor), ("floor, all cores busy", busy)):
            facts[f"{name}: {which}, per cent of launch"] = 100 * least / warm["launch"]
        facts |= {f"{name}: {way}, cold": value for way, value in cold.items()}
        for way in case.rivals:
            facts[f"{name}: {way}, in launches"] = warm[way] / warm["launch"]
            if cold:
                facts[f"{name}: {way}, in launches, cold"] = cold[way] / cold["launch"]
        print(f"  {name}: floor {floor:.1f} s, {busy:.1f} s if all are busy, {warm}", flush=True)
    return seconds, facts


class Sweep:
    """A case's sweep by each way, in a folder that holds a compile cache for each."""

    def __init__(self, case: Case, folder: Path):
        self._case, self._folder = case, folder
        self._configs = [json.dumps(dict(trial.config)) for trial in case.resolved()]
        rivals = {"Tune": self._tuned("tune"), _REUSED: self._tuned("reused")}
        rivals["shell loop"] = self._looped
        self.ways = {"launch": partial(self._launched, case.settings())}
        self.ways |= {way: rivals[way] for way in case.rivals}

    def warm_up(self) -> None:
        """Fills the caches: a launch of one epoch, and one trial of it for all rivals."""
        self._run("launch", self._launched(self._case.settings(epochs=1), self._folder / "first"))
        if self._case.rivals:
            one = json.dumps({**json.loads(self._configs[0]), "epochs": 1})
            self._run("rivals", _python(RIVALS, "one", one, str(self._folder / "one")))
            for way in self._case.rivals:
                shutil.copytree(self._folder / "rivals-cache", self._folder / f"{way}-cache")

    def timed(self, way: str) -> float:
        """Seconds of a way's command, in a folder of its own."""
        words = self.ways[way](self._folder / f"{way}-{time.monotonic_ns()}")
        begun = time.perf_counter()
        self._run(way, words)
        return time.perf_counter() - begun

    def _run(self, way: str, words: Sequence[str]) -> None:
        cache = str(self._folder / f"{way}-cache")
        places = dict.fromkeys(("GRADSWEEP_CACHE", "JAX_COMPILATION_CACHE_DIR"), cache)
        own = {**os.environ, **places, "RAY_worker_niceness": "0"}
        done = subprocess.run(words, env=own, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{way} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")

    def _launched(self, settings: list[str], place: Path) -> list[str]:
        sets = [word for setting in settings for word in ("--set", setting)]
        space = [f"packs/{self._case.space}", "--study", str(STUDY), *sets]
        return _python("orchestrator", "launch", *space, "--store", str(place))

    def _tuned(self, way: str) -> Callable[[Path], list[str]]:
        def command(place: Path) -> list[str]:
            place.mkdir(parents=True)
            (place / "configs").write_text("\n".join(self._configs), encoding="utf-8")
            return _python(RIVALS, way, str(place / "configs"), str(place / "results"))

        return command

    def _looped(self, place: Path) -> list[str]:
        one = shlex.join(_python(RIVALS, "one", "{}", str(place)))
        lines = shlex.quote("\n".join(self._configs))
        loop = f"printf '%s\\n' {lines} | xargs -d '\\n' -P {cpus_here()} -I{{}} {one}"
        return ["bash", "-c", loop]


def _python(*words: str) -> list[str]:
    return [sys.executable, "-m", *words]


def _busy_floor(case: Case) -> float:
    """The floor as each core measures it while all the others do the same."""
    cores = cpus_here()
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        return statistics.mean(pool.map(_floor, [case] * cores))


def _floor(case: Case) -> float:
    """Seconds that the bare epochs of all trials would take on all cores, from some epochs of one
    trial on one of them."""
    trial = case.resolved()[0]
    pack = Pack([trial], load_arrays(trial)[0])
    pack.init()
    pack.epoch(0)
    spans = []
    for epoch in range(1, 6):
        begun = time.perf_counter()
        pack.epoch(epoch)
        spans.append(time.perf_counter() - begun)
    return statistics.median(spans) * case.trials * case.epochs / cpus_here()
