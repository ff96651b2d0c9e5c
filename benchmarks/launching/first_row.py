"""From a command to its first published epoch, compile cache warm, and where the time goes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import packs_study
from results import open_store

ROUNDS = 3
SPACE = ["packs/vanishing", "--study", str(Path(packs_study.__file__))]
SETTINGS = ["--set", "seed=range(2)", "--set", "lr=0.01", "--set", "epochs=2"]


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Seconds from `launch` of two trials (20 x 64 RNN, two epochs of some .3 s) to their first
    epoch in the store and to the command's end, and of `debug --epochs 1` of one, medians of three
    after one that fills the cache. The facts are the seconds of each phase of the launch."""
    spans: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as root:
        for turn in range(ROUNDS + 1):
            found = _launched(Path(root) / f"store{turn}") | {"debug: whole": _debugged()}
            for name, value in found.items():
                spans.setdefault(name, []).append(value)
    medians = {name: statistics.median(values[1:]) for name, values in spans.items()}
    facts = {name: value for name, value in medians.items() if name.startswith("seconds of")}
    return {name: value for name, value in medians.items() if name not in facts}, facts


def _debugged() -> float:
    words = ["debug", *SPACE, *SETTINGS, "--epochs", "1"]
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "orchestrator", *words], check=True, capture_output=True)
    return time.perf_counter() - begun


def _launched(store: Path) -> dict[str, float]:
    words = ["launch", *SPACE, *SETTINGS, "--store", str(store)]
    begun = time.time()  # of the wall clock, as files have
    done = subprocess.Popen(
        [sys.executable, "-u", "-m", "orchestrator", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "RAY_worker_niceness": "0"},
        text=True,
    )
    assert done.stdout is not None
    asked = {line.strip(): time.time() for line in done.stdout}
    if done.wait():
        sys.exit("launch failed: " + "\n".join(asked))
    ended = time.time()
    rows = open_store(store).attempts().to_pylist()
    marks = {
        "seconds of the command's start and plan": asked["starting Ray"],
        "seconds of Ray's and a worker's start, and its imports": min(
            row["started"].timestamp() for row in rows
        ),
        "seconds of data, tracing, and reading the cache": _first_part(store / "trials"),
        "seconds of the first epoch and probes": _first_part(store / "epochs"),
        "seconds of the second epoch and Ray's end": ended,
    }
    spans, before = {}, begun
    for name, mark in marks.items():
        spans[name], before = mark - before, mark
    first = _first_part(store / "epochs") - begun
    return {"launch: first epoch": first, "launch: whole": ended - begun, **spans}


def _first_part(folder: Path) -> float:
    return min(path.stat().st_mtime for path in folder.glob("*.parquet"))
