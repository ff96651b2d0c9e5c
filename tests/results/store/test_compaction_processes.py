"""`compact` while others write and read, each in its own process: nothing lost, nothing twice.

No process waits for a time. Writers wait for a word for every epoch, the reader tells each look,
compactions have a clock that is ahead by as much as the grace asks for, and those that die do so at
a step that is drawn.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.worker.recorder import Recorder
from results import Store, create_store, open_store
from results.store import compaction
from tests.support.made_up_rows import attempt_row

TRIALS, ATTEMPTS, LAYERS = 3, 3, 4
EPOCHS = 8
"""How many a writer may flush for each `compact`."""
GRACE = timedelta(minutes=1)


def attempts_of(trial: str, seed: int) -> list[tuple[int, int]]:
    """(first epoch, epoch after the last) of each attempt: each starts within what is there."""
    draw = random.Random(f"{trial} {seed}")
    found, end = [], 0
    for _ in range(ATTEMPTS):
        first = draw.randint(0, end)
        end = first + draw.randint(2, 7)
        found.append((first, end))
    return found


def expected(trial: str, seed: int) -> dict[int, int]:
    """epoch -> the attempt that shows."""
    shown: dict[int, int] = {}
    for attempt, (first, end) in enumerate(attempts_of(trial, seed)):
        shown = {epoch: a for epoch, a in shown.items() if epoch < first}
        shown |= dict.fromkeys(range(first, end), attempt)
    return shown


def write(uri: str, name: str, seed: int) -> None:
    """A worker's life: attempts of a pack one after the other, each epoch flushed on its own when a
    line says so."""
    store = open_store(uri)
    trials = [f"{name}{number}" for number in range(TRIALS)]
    plans = [attempts_of(trial, seed) for trial in trials]
    for attempt in range(ATTEMPTS):
        spans = [plan[attempt] for plan in plans]
        for trial, (first, end) in zip(trials, spans, strict=True):
            recorder = Recorder(store, [trial], [attempt])
            row = {"status": "running", "first_epoch": first, "epochs_planned": end}
            recorder.add_trials([attempt_row(trial, attempt, 0, **row)])
            recorder.flush()
            for epoch in range(first, end):
                assert sys.stdin.readline(), "nobody is there"
                lanes, one = np.array([0]), np.array([epoch], np.int32)
                loss = np.array([attempt + epoch / 1000])
                recorder.add("epochs", lanes, {"epoch": one, "loss": loss}, 1)
                layers = {
                    "epoch": np.repeat(one, LAYERS),
                    "layer": np.arange(LAYERS, dtype=np.int32),
                    "tensor": np.array(["*"] * LAYERS, object),
                    "grad_norm": np.repeat(loss, LAYERS),
                }
                recorder.add("layers", lanes, layers, LAYERS)
                recorder.flush()
            # What an attempt counts includes what those before left it, as after a resume point.
            ended = {"epochs_done": end, "rows": {"epochs": end, "layers": end * LAYERS}}
            recorder.add_trials(
                [attempt_row(trial, attempt, 1, **row | ended | {"status": "done"})]
            )
            recorder.flush()


def read(uri: str, name: str, seed: int) -> None:
    """Looks again for each line until there is none; answers each. Raises at whatever is wrong."""
    store = open_store(uri)
    newest: dict[str, tuple[int, int]] = {}
    print("reading", flush=True)
    while sys.stdin.readline():
        store.refresh()
        rows = store.sql("SELECT trial_id, epoch, attempt FROM epochs ORDER BY ALL").fetchall()
        for trial in {row[0] for row in rows}:
            own = [row[1:] for row in rows if row[0] == trial]
            assert [epoch for epoch, _ in own] == list(range(len(own))), (trial, own)
            attempt = max(attempt for _, attempt in own)
            now = attempt, sum(a == attempt for _, a in own)
            began = store.sql(
                "SELECT max(attempt) FROM attempts WHERE trial_id = $t", {"t": trial}
            ).fetchall()[0][0]
            # A row goes only when a later attempt has begun.
            assert now >= newest.get(trial, now) or began > newest[trial][0], (trial, own, newest)
            newest[trial] = max(now, newest.get(trial, now))
        twice = store.sql(
            "SELECT trial_id, epoch, layer FROM layers GROUP BY ALL HAVING count(*) > 1"
        ).fetchall()
        assert twice == []
        assert store.warnings == []
        print("looked", flush=True)


def merge(uri: str, number: str, last: int) -> None:
    """A `compact` by a clock that is ahead by twice the grace for each one before; it dies just
    before it publishes or deletes file number `last`, counted from 1. Prints its summary."""
    steps = 0

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + int(number) * 2 * GRACE

    def counted(act: Callable[..., None]) -> Callable[..., None]:
        def step(*arguments: Any) -> None:
            nonlocal steps
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)
            act(*arguments)

        return step

    compaction.datetime = Clock
    compaction.files.publish = counted(compaction.files.publish)
    compaction.files.delete = counted(compaction.files.delete)
    print(json.dumps(open_store(uri).compact(grace_s=GRACE.total_seconds())))


def _start(what: str, store: Store, name: str, number: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", __name__, what, store.uri, name, str(number)]
    return subprocess.Popen(
        words, cwd=Path(__file__).parents[3], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, bufsize=1,
    )  # fmt: skip


def _tell(process: subprocess.Popen[str], lines: int = 1) -> None:
    """Sends lines; one that has ended takes none."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        for _ in range(lines):
            process.stdin.write("go\n")


def _answer(process: subprocess.Popen[str], wanted: str) -> None:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == f"{wanted}\n", line + process.stdout.read()


def _shown(store: Store) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    store.refresh()
    for trial, epoch, attempt, loss in store.sql(
        "SELECT trial_id, epoch, attempt, loss FROM epochs ORDER BY ALL"
    ).fetchall():
        assert loss == attempt + epoch / 1000
        assert found.setdefault(trial, {}).setdefault(epoch, attempt) == attempt
    return found


@pytest.mark.slow
def test_two_writers_a_reader_and_compact(tmp_path: Path, seed: int) -> None:
    """Every other `compact` dies, before one of its first steps. The reader looks once while each
    runs, and once after it."""
    store = create_store(tmp_path / "store")
    draw = random.Random(seed)
    reader = _start("read", store, "", seed)
    _answer(reader, "reading")
    writers = [_start("write", store, name, seed) for name in ("a", "b")]
    summed = {"merged": 0, "dropped_rows": 0, "deleted": 0}
    deaths, rounds = 0, 0
    while any(writer.poll() is None for writer in writers):
        last = draw.randint(1, 4) if rounds % 2 else 0
        compact = _start("merge", store, str(rounds), last)
        for writer in writers:
            _tell(writer, EPOCHS)
        _tell(reader)
        output, _ = compact.communicate()
        _answer(reader, "looked")
        _tell(reader)
        _answer(reader, "looked")
        assert compact.returncode in ((0, -signal.SIGKILL) if last else (0,)), output
        deaths += compact.returncode == -signal.SIGKILL
        if compact.returncode == 0:
            summed = {name: summed[name] + json.loads(output)[name] for name in summed}
        rounds += 1
    for writer in writers:
        output, _ = writer.communicate()
        assert writer.returncode == 0, output
    output, _ = reader.communicate()
    assert reader.returncode == 0, output
    print(f"{summed}, {deaths} of {rounds} killed")
    assert summed["merged"] > 50
    assert summed["deleted"] > 20
    assert deaths > 0
    wanted = {f"{name}{n}": expected(f"{name}{n}", seed) for name in "ab" for n in range(TRIALS)}
    assert _shown(store) == wanted
    for _ in range(2):
        store.compact(grace_s=0)
    assert _shown(store) == wanted
    assert all(one["done"] for one in store.completeness(wanted).values())
    layers = store.sql("SELECT count(*), count(DISTINCT (trial_id, epoch, layer)) FROM layers")
    epochs = sum(len(own) for own in wanted.values())
    assert layers.fetchall() == [(epochs * LAYERS, epochs * LAYERS)]
    held = [len(os.listdir(f"{store.root}/{table}")) for table in ("epochs", "layers", "trials")]  # noqa: PTH208
    assert held == [1, 1, 1]


if __name__ == "__main__":
    {"write": write, "read": read, "merge": merge}[sys.argv[1]](
        sys.argv[2], sys.argv[3], int(sys.argv[4])
    )
