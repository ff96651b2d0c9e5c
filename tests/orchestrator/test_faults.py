"""Deaths injected for real: nothing published is lost or doubled, the next launch finishes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.debugging import debug
from results import open_store
from tests.orchestrator.launches import (
    EPOCHS,
    TABLES,
    count,
    except_counts,
    redone,
    rows,
    run,
    start,
    wait_for,
    whole,
    workers,
)

pytestmark = pytest.mark.ray

SAME = dict.fromkeys(TABLES, 0)


def _replays(store: Path, trial_id: str) -> None:
    """`debug --exact` gives the trial's epochs bit for bit, whatever interrupted it."""
    replayed = debug(trial=trial_id, store=str(store), exact=True).to_json()["epochs"]
    held = open_store(str(store)).sql(
        "SELECT * EXCLUDE (trial_id, attempt, seconds) FROM epochs "
        "WHERE trial_id = $id ORDER BY epoch",
        {"id": trial_id},
    )
    assert [str(row) for row in replayed] == [str(row) for row in held.rows()]


def test_a_killed_worker(uninterrupted: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    outcome = []
    launching = threading.Thread(
        target=lambda: outcome.append(run(store, f"epochs={EPOCHS}", checkpoint_s=0.5))
    )
    launching.start()
    seen: list[int] = []

    def three_rising() -> bool:
        newest = count(store, "SELECT max(epoch) FROM epochs")
        if not seen or newest > seen[-1]:
            seen.append(newest)
        return len(seen) > 3

    wait_for(three_rising)
    alive = workers()
    assert alive
    before = rows(store)
    alive[0].kill()
    assert rows(store) >= before
    launching.join()
    assert outcome[0].exit_status == 0
    attempts = open_store(str(store)).attempts().to_pylist()
    resumed = [row for row in attempts if row["attempt"] > 0]
    assert resumed
    print(f"a killed worker: {redone(store)}")
    whole(store)
    assert except_counts(uninterrupted, store) == SAME
    _replays(store, resumed[0]["trial_id"])


def test_a_killed_driver(ray_session: str, uninterrupted: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    driver = start(store, f"epochs={EPOCHS}", address=ray_session)
    total = rows(uninterrupted)
    wait_for(lambda: rows(store) > total // 4)
    driver.kill()
    driver.communicate()
    published = rows(store)
    print(f"0 < {published} < {total}")
    assert 0 < published < total
    result = run(store, f"epochs={EPOCHS}", checkpoint_s=0.5)
    assert result.exit_status == 0
    assert any(row["first_epoch"] > 0 for row in open_store(str(store)).attempts().to_pylist())
    whole(store)
    assert except_counts(uninterrupted, store) == SAME


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_ctrl_c_stops_cleanly(
    ray_session: str, uninterrupted: Path, tmp_path: Path, number: signal.Signals
) -> None:
    store = tmp_path / "store"
    driver = start(store, f"epochs={EPOCHS}", address=ray_session)
    wait_for(lambda: rows(store) > 40)
    os.kill(driver.pid, number)
    output, _ = driver.communicate(timeout=60)
    assert driver.returncode == 1, output
    assert "run what is left: gradsweep launch" in output
    statuses = {row["status"] for row in open_store(str(store)).attempts().to_pylist()}
    assert "interrupted" in statuses
    assert "running" not in statuses
    kept = rows(store)
    if number == signal.SIGINT:
        assert run(store, f"epochs={EPOCHS}").exit_status == 0
        assert except_counts(uninterrupted, store) == SAME
    else:
        # Another width is another signature: a new segment, which an exact replay follows.
        assert run(store, f"epochs={EPOCHS}", width=1, lanes="vmap").exit_status == 0
        attempts = open_store(str(store)).attempts().to_pylist()
        resumed = [row for row in attempts if row["first_epoch"] > 0]
        assert {json.loads(row["signature"])["strategy"] for row in resumed} == {"vmap"}
        _replays(store, resumed[0]["trial_id"])
    assert kept < rows(store) == rows(uninterrupted)


@contextlib.contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Callable[[str], None]]:
    """A file system of its own at `folder`; gives what mounts it anew with other options."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system needs root")

    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)

    try:
        yield remount
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk(ray_session: str, uninterrupted: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=600k") as remount:
        store = tmp_path / "disk" / "store"
        driver = start(store, f"epochs={EPOCHS}", address=ray_session)
        output, _ = driver.communicate(timeout=120)
        assert driver.returncode == 2, output
        assert "disk full" in output
        assert "free some space" in output
        kept = rows(store)
        assert kept > 0
        remount("size=200m")
        assert run(store, f"epochs={EPOCHS}").exit_status == 0
        whole(store)
        assert except_counts(uninterrupted, store) == SAME


@pytest.mark.slow
def test_a_store_that_becomes_read_only(
    ray_session: str, uninterrupted: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "size=200m") as remount:
        store = tmp_path / "disk" / "store"
        driver = start(store, f"epochs={EPOCHS}", address=ray_session)
        wait_for(lambda: rows(store) > 40, of=driver)
        remount("ro")
        output, _ = driver.communicate(timeout=120)
        assert driver.returncode == 2, output
        assert "Read-only file system" in output
        assert "Traceback" not in output
        kept = rows(store)
        remount("rw")
        assert kept == rows(store) > 0
        assert run(store, f"epochs={EPOCHS}").exit_status == 0
        whole(store)
        assert except_counts(uninterrupted, store) == SAME
