"""What recording, probes, checkpoints, store and Ray add to the bare jitted epochs of a pack."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import packs_study
from orchestrator.launch import launch
from orchestrator.machine import environment
from orchestrator.plan.packs import Context, Lane, PackSpec
from orchestrator.plan.plan import plan
from orchestrator.plan.studies import catalogue
from orchestrator.worker.pack_run import PackRun
from results import Store, create_store, open_store

STUDY = str(Path(packs_study.__file__))
LENGTHS = {"1 s": ("vanishing", 4, 64, 25), "100 ms": ("vanishing", 1, 16, 300)}
"""epoch of a pack -> (space, lanes, units, epochs)."""
CHECKPOINT_S = 10.0
"""Six times as often as by default, so that a short run has some."""


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of all epochs of one pack: by the compiled epochs' own clock, and as the
    run that contains them took, in this process and under `launch`. The facts are what the second
    adds to the first, in per cent of it, in the same run; and seconds of one epoch."""
    seconds: dict[str, float] = {}
    facts: dict[str, float] = {}
    os.environ.update(environment.worker_environment() | {"RAY_worker_niceness": "0"})
    for name, (space, lanes, units, epochs) in LENGTHS.items():
        settings = [f"seed=range({lanes})", f"epochs={epochs}", f"width={units}", "lr=0.01"]
        for way, work in (("here", _here), ("launch", _launched)):
            with tempfile.TemporaryDirectory() as folder:
                epochs_s, whole_s = work(f"packs/{space}", settings, folder)
            seconds[f"{name}: epochs, {way}"] = epochs_s
            seconds[f"{name}: whole, {way}"] = whole_s
            facts[f"{name}: per cent added, {way}"] = 100 * (whole_s / epochs_s - 1)
            facts[f"{name}: ms of an epoch, {way}"] = 1e3 * epochs_s / epochs
    return seconds, facts


def _here(space: str, settings: list[str], folder: str) -> tuple[float, float]:
    (one,) = plan(space, store=None, set=settings, study=STUDY)
    slots = [Lane(trial.id, dict(trial.config)) for trial in one.trials]
    spec = PackSpec("here", one.trials[0].program, slots, len(slots), "default")
    store: Store = create_store(folder)
    run = PackRun(spec, catalogue(STUDY).registry, store, Context(checkpoint_s=CHECKPOINT_S))
    run.start()
    begun = time.perf_counter()
    while not run.step().done:
        pass
    return _epoch_seconds(store), time.perf_counter() - begun


def _launched(space: str, settings: list[str], folder: str) -> tuple[float, float]:
    """Under Ray the whole is from the end of compiling to the last row, by the store's times."""
    launch(
        space, store=folder, set=settings, study=STUDY, checkpoint_s=CHECKPOINT_S, cpus=1,
        progress="none", say=lambda _: None,
    )  # fmt: skip
    store = open_store(folder)
    rows: list[dict[str, Any]] = store.attempts().to_pylist()
    span = max(row["ended"] for row in rows) - min(row["started"] for row in rows)
    return _epoch_seconds(store), span.total_seconds() - rows[0]["compile_seconds"]


def _epoch_seconds(store: Store) -> float:
    """Seconds inside compiled epochs, over all lanes."""
    store.refresh()
    return sum(float(row["seconds"]) for row in store.attempts().to_pylist())
