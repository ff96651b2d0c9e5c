"""Helpers of the tests that launch: a tiny space, stores compared row by row, processes driven."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psutil

from orchestrator.describing import space_json
from orchestrator.launching import LaunchResult, launch
from orchestrator.planning import plan
from orchestrator.running import Context, PackRun
from orchestrator.studies import catalogue
from results import Store, open_store

SPACE = "vanishing/quickstart"
TINY = ["depth=3", "width=8", "batch_size=256", "seed=0,1"]
"""Eight trials of two programs; two of them may go non-finite, an epoch takes milliseconds."""

EPOCHS = 100
"""Enough for a launch to be hit in the middle."""

TABLES = ("epochs", "layers", "steps", "timeline")


def run(
    store: Path,
    *extra: str,
    space: str = SPACE,
    tiny: Sequence[str] = tuple(TINY),
    **options: object,
) -> LaunchResult:
    """A launch in this process, on the Ray of the test session."""
    arguments = {"store": str(store), "set": [*tiny, *extra], "progress": "none", **options}
    return launch(space, **arguments, say=lambda text: None)


def run_here(store: Store, uri: str, name: str, *changes: str, smoke: bool = True) -> None:
    """What a launch of a space does, in this process and without Ray."""
    found = catalogue()
    (one,) = plan(name, store=uri, set=changes, smoke=smoke, lanes="sequential")
    store.write_space(one.name, space_json(one, found))
    for pack in one.packs:
        working = PackRun(pack, found.registry, store, Context(launch_id="here", space=one.name))
        working.start()
        while not working.step().done:
            pass


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "orchestrator", *words]


def start(
    store: Path,
    *extra: str,
    address: str | None,
    space: str = SPACE,
    tiny: Sequence[str] = tuple(TINY),
) -> subprocess.Popen[str]:
    """`gradsweep launch` as a process of its own, in its own group."""
    sets = [word for text in (*tiny, *extra) for word in ("--set", text)]
    where = ["--address", address] if address else []
    words = ["launch", space, "--store", str(store), "--checkpoint-seconds", "0.5", *where, *sets]
    return subprocess.Popen(
        command(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=dict(os.environ),
    )


def wait_for(
    what: Callable[[], bool], seconds: float = 240.0, of: subprocess.Popen[str] | None = None
) -> None:
    """Raises AssertionError if `what` does not come true in time, or process `of` ends before."""
    end = time.monotonic() + seconds
    while not what():
        assert of is None or of.poll() is None, of and of.communicate()
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def count(store: Path, sql: str) -> int:
    """One number from a store that may not exist yet."""
    if not (store / "store.json").exists():
        return 0
    value = open_store(str(store)).sql(sql).fetchall()[0][0]
    return int(value or 0)


def rows(store: Path) -> int:
    return count(store, "SELECT count(*) FROM epochs")


def workers() -> list[psutil.Process]:
    """Processes that run a pack at this moment."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if line.startswith("ray::") and "Trainable.train" in line:
            found.append(process)
    return found


def whole(store: Path) -> None:
    """Asserts that every trial has epochs 0..E-1 once."""
    found = open_store(str(store)).sql(
        "SELECT t.epochs_done, list(e.epoch ORDER BY e.epoch) FROM trials t "
        "JOIN epochs e USING (trial_id) GROUP BY t.trial_id, t.epochs_done"
    )
    for done, epochs in found.fetchall():
        assert epochs == list(range(done))


@dataclass(frozen=True)
class Redone:
    """What a store's attempts did twice: epochs of trials, and seconds of training."""

    epochs: int
    seconds: float


def redone(store: Path) -> Redone:
    """From the parts themselves, since views show no superseded row. Rows that died unpublished
    with their worker are in no store and are not counted."""
    found = duckdb.execute(
        "WITH rows AS (SELECT trial_id, attempt, epoch, seconds FROM read_parquet($epochs)), "
        "starts AS (SELECT DISTINCT trial_id, attempt, first_epoch FROM read_parquet($trials)) "
        "SELECT count(*), coalesce(sum(seconds), 0) FROM rows WHERE EXISTS (SELECT 1 FROM starts "
        "WHERE starts.trial_id = rows.trial_id AND starts.attempt > rows.attempt "
        "AND starts.first_epoch <= rows.epoch)",
        {name: f"{store}/{name}/*.parquet" for name in ("epochs", "trials")},
    ).fetchall()
    return Redone(*found[0])


def except_counts(one: Path, other: Path | str, tables: Sequence[str] = TABLES) -> dict[str, int]:
    """Rows that only one of two stores shows, by table: EXCEPT both ways, over all columns but
    times and attempts."""
    con = duckdb.connect()
    found = {}
    for table in tables:
        extra = ", seconds" if table == "epochs" else ""
        for name, path in (("a", one), ("b", other)):
            frame = open_store(str(path)).sql(f"SELECT * EXCLUDE (attempt{extra}) FROM {table}")
            con.register(name, frame.arrow())
        found[table] = sum(
            len(con.sql(f"SELECT * FROM {x} EXCEPT SELECT * FROM {y}").fetchall())
            for x, y in (("a", "b"), ("b", "a"))
        )
    return found
