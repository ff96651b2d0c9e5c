"""Launches of examples, trials of a program together against one at a time, compile cache warm."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.timing import alternate

ROUNDS = 3
FOLDER = Path(__file__).parents[2] / "examples"
CASES = {
    "regression": ("regression/beta", "--set", "epochs=20"),
    "pinn": ("pinn/poisson", "--set", "epochs=5"),
    "complex_rnn": ("complex/rnn", "--set", "epochs=2"),
}


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Seconds from a command to its end: packs as planned, and packs of one trial each, whose
    program is compiled once."""
    ways: dict[str, Callable[[], object]] = {}
    facts: dict[str, float] = {}
    for name, words in CASES.items():
        facts[f"{name}: trials"] = float(_launched(name, words))
        ways[f"{name}: packed"] = partial(_launched, name, words)
        ways[f"{name}: one at a time"] = partial(_launched, name, (*words, "--width", "1"))
    begun = time.perf_counter()
    found = alternate(ways, ROUNDS)
    facts["seconds in all"] = time.perf_counter() - begun
    return found, facts


def _launched(name: str, words: tuple[str, ...]) -> int:
    """Launches an example into a store of its own; how many trials it ran."""
    with tempfile.TemporaryDirectory() as folder:
        where = ("--study", str(FOLDER / f"{name}.py"), "--store", folder)
        command = [sys.executable, "-m", "orchestrator", "launch", *words, *where, "--cpus", "2"]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"launch failed: {done.stdout}{done.stderr}")
        (line,) = [text for text in done.stdout.splitlines() if " to run; in " in text]
        return int(line.split()[0])
