"""Deaths injected for real: nothing published is lost or doubled, the next launch finishes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from orchestrator.debug import debug
from results import open_store
from tests.support.launches import EPOCHS, run, start, wait_for
from tests.support.processes import below, own_workers, stopped, trains
from tests.support.ray.foreign_ray import ForeignRay, foreign_ray
from tests.support.stores import attempts, differing, published, redone, resume_points, rows, whole

pytestmark = pytest.mark.ray

LONG = f"epochs={EPOCHS}"


def _replays(store: Path, trial_id: str) -> None:
    """`debug --exact` gives the trial's epochs bit for bit, whatever interrupted it."""
    replayed = debug(trial=trial_id, store=str(store), exact=True).to_json()["epochs"]
    held = open_store(str(store)).sql(
        "SELECT * EXCLUDE (trial_id, attempt, seconds) FROM epochs "
        "WHERE trial_id = $id ORDER BY epoch",
        {"id": trial_id},
    )
    assert [str(row) for row in replayed] == [str(row) for row in held.rows()]


@pytest.fixture(scope="session")
def foreign() -> Iterator[ForeignRay]:
    """Started before the fixtures that a test names after it, so that it comes up meanwhile."""
    with foreign_ray() as found:
        yield found


def test_killed_workers_resume_and_those_of_others_live(
    foreign: ForeignRay, uninterrupted: Path, tmp_path: Path
) -> None:
    """Every worker of this launch dies at once, in the middle; none that only looks like it."""
    store = tmp_path / "store"
    other = foreign.actor()
    wait_for(lambda: trains(other))
    assert other not in below(psutil.Process())
    with ThreadPoolExecutor(1) as pool:
        launching = pool.submit(run, store, LONG, checkpoint_s=0.5)
        wait_for(lambda: bool(resume_points(store)), of=launching)
        victims = own_workers()
        with stopped(*victims):
            before, points = published(store), resume_points(store)
            for victim in victims:
                victim.kill()
        assert launching.result().exit_status == 0
    assert victims
    assert other not in victims
    assert foreign.lived() == other.pid
    assert 0 < before < rows(uninterrupted)
    begun = {row["trial_id"]: row["first_epoch"] for row in attempts(store) if row["attempt"] == 1}
    assert points
    assert begun.items() >= points.items(), "each goes on from its last resume point"
    print(f"{len(victims)} killed workers: {redone(store)}")
    whole(store)
    assert differing(uninterrupted, store) == {}
    _replays(store, next(iter(points)))


@pytest.mark.slow
def test_a_killed_driver(ray_session: str, uninterrupted: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    driver = start(store, LONG, address=ray_session)
    wait_for(lambda: bool(resume_points(store)), of=driver)
    driver.killed()
    assert 0 < rows(store) < rows(uninterrupted)
    assert run(store, LONG, checkpoint_s=0.5).exit_status == 0
    assert any(row["first_epoch"] > 0 for row in attempts(store))
    whole(store)
    assert differing(uninterrupted, store) == {}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_cleanly(
    ray_session: str, uninterrupted: Path, tmp_path: Path, number: signal.Signals
) -> None:
    store = tmp_path / "store"
    driver = start(store, LONG, address=ray_session)
    wait_for(lambda: published(store) > 40, of=driver)
    os.kill(driver.pid, number)
    assert "run what is left: gradsweep launch" in driver.ended(status=1)
    statuses = {row["status"] for row in attempts(store)}
    assert "interrupted" in statuses
    assert "running" not in statuses
    kept = rows(store)
    if number == signal.SIGINT:
        assert run(store, LONG).exit_status == 0
        whole(store)
        assert differing(uninterrupted, store) == {}
    else:
        # Another width is another signature: a new segment, which an exact replay follows. Its
        # numbers differ in the last bits, so that nothing but the replay can be compared.
        assert run(store, LONG, width=1, lanes="vmap").exit_status == 0
        resumed = [row for row in attempts(store) if row["first_epoch"] > 0]
        assert {json.loads(row["signature"])["strategy"] for row in resumed} == {"vmap"}
        _replays(store, resumed[0]["trial_id"])
        whole(store)
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
        output = start(store, LONG, address=ray_session).ended(status=2)
        assert "disk full" in output
        assert "free some space" in output
        assert rows(store) > 0
        remount("size=200m")
        assert run(store, LONG).exit_status == 0
        whole(store)
        assert differing(uninterrupted, store) == {}


@pytest.mark.slow
def test_a_store_that_becomes_read_only(
    ray_session: str, uninterrupted: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "size=200m") as remount:
        store = tmp_path / "disk" / "store"
        driver = start(store, LONG, address=ray_session)
        wait_for(lambda: published(store) > 40, of=driver)
        remount("ro")
        output = driver.ended(status=2)
        assert "Read-only file system" in output
        assert "Traceback" not in output
        kept = rows(store)
        remount("rw")
        assert kept == rows(store) > 0
        assert run(store, LONG).exit_status == 0
        whole(store)
        assert differing(uninterrupted, store) == {}
