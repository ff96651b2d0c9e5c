"""`compact` while others write and read, each in its own process: nothing lost, nothing twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from orchestrator.recording import Recorder
from results import Store, create_store, open_store
from tests.orchestrator.launches import command
from tests.results.synthetic import attempt_row

TRIALS, ATTEMPTS, LAYERS = 3, 3, 4


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
    """A worker's life: attempts of a pack one after the other, each epoch flushed on its own."""
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
                time.sleep(0.2)
            # What an attempt counts includes what those before left it, as after a resume point.
            ended = {"epochs_done": end, "rows": {"epochs": end, "layers": end * LAYERS}}
            recorder.add_trials(
                [attempt_row(trial, attempt, 1, **row | ended | {"status": "done"})]
            )
            recorder.flush()


def read(uri: str, name: str, seed: int) -> None:
    """Looks again and again until told to end; prints how often. Raises at whatever is wrong."""
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    store = open_store(uri)
    newest: dict[str, tuple[int, int]] = {}
    looked = 0
    print("reading", flush=True)
    while not stop:
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
        looked += 1
    print(looked, flush=True)


def _start(what: str, store: Store, name: str, seed: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", __name__, what, store.uri, name, str(seed)]
    return subprocess.Popen(
        words, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


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
    """Every other `compact` is killed, somewhere within the time that the one before took."""
    store = create_store(tmp_path / "store")
    draw = random.Random(seed)
    reader = _start("read", store, "", seed)
    assert reader.stdout is not None
    assert reader.stdout.readline() == "reading\n"
    writers = [_start("write", store, name, seed) for name in ("a", "b")]
    summed = {"merged": 0, "dropped_rows": 0, "deleted": 0}
    deaths, kill, took = 0, False, 0.0
    while any(writer.poll() is None for writer in writers):
        words = command("compact", "--grace", "0.6", "--store", store.uri, "--json")
        begun = time.monotonic()
        compact = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        if kill:
            time.sleep(draw.uniform(0.4, 0.9) * took)
            compact.kill()
        output, _ = compact.communicate()
        deaths += compact.returncode == -signal.SIGKILL
        kill, took = not kill, time.monotonic() - begun
        if compact.returncode == 0:
            summed = {name: summed[name] + json.loads(output)[name] for name in summed}
    for writer in writers:
        output, _ = writer.communicate()
        assert writer.returncode == 0, output
    reader.terminate()
    output, _ = reader.communicate()
    assert reader.returncode == 0, output
    print(f"{summed}, {deaths} killed, read {output.strip()} times")
    assert int(output) > 5
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
    {"write": write, "read": read}[sys.argv[1]](sys.argv[2], sys.argv[3], int(sys.argv[4]))
