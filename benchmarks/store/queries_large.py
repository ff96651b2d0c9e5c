"""The queries of `queries` on a hundred million rows of layers, in 4 GB of memory."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import duckdb

from benchmarks.store import filling
from benchmarks.store.queries import questions
from benchmarks.timing import alternate
from results import create_store, open_store

SEEDS, EPOCHS = 485, 100
MEMORY = "2GB"
"""What DuckDB may take; Arrow reads ahead beside it."""


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Median seconds of three of every named query and three more on 100 M rows of layers of 10,670
    trials, compacted, on an open store in a process of its own, two threads; its peak memory; and
    what the store takes. "open" is a store opened up to its first SELECT."""
    with tempfile.TemporaryDirectory() as root:
        begun = time.perf_counter()
        filling.fill_merged(create_store(root), filling.planned(SEEDS, EPOCHS))
        filled = time.perf_counter() - begun
        sizes = [path.stat().st_size for path in Path(root).rglob("*.parquet")]
        words = [sys.executable, "-m", "benchmarks.store.queries_large", root]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout)
    facts = {"s to fill": filled, "GB of Parquet": sum(sizes) / 1e9, "files": float(len(sizes))}
    return found["seconds"], facts | found["facts"]


def ask(path: Path) -> dict[str, dict[str, float]]:
    """Seconds by question, and what was measured beside."""
    duckdb.connect = partial(duckdb.connect, config={"memory_limit": MEMORY, "threads": 2})
    rows = open_store(path).sql("SELECT count(*) FROM layers").fetchall()[0][0]
    seconds = alternate(questions(path), rounds=3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "facts": {"rows of layers": rows, "peak MB": peak}}


if __name__ == "__main__":
    print(json.dumps(ask(Path(sys.argv[1]))))
