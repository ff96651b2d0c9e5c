"""Deaths injected for real: nothing published is lost or doubled, the next launch finishes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest

from orchestrator.debug import debug
from results import open_store
from tests.fuzz.command_line import Said, say
from tests.support.launches import EPOCHS, OFTEN, SPACE, TINY, run, sets, wait_for
from tests.support.processes import below, own_workers, stopped, trains
from tests.support.ray.foreign_ray import ForeignRay, foreign_ray
from tests.support.stores import attempts, differing, published, redone, resume_points, rows, whole

pytestmark = pytest.mark.ray

LONG = f"epochs={EPOCHS}"


def _replays(store: Path, trial_id: str) -> None:
    """`debug --exact` gives the trial's epochs bit for bit, whatever interrupted it."""
    replayed = debug(trial=trial_id, store=str(store), exact=True).to_json()["epochs"]
    held = open_store(str(store)).sql(
        "SELECT * EXCLUDE (trial_id, attempt, launch_id, seconds) FROM epochs "
        "WHERE trial_id = $id ORDER BY epoch",
        {"id": trial_id},
    )
    assert [str(row) for row in replayed] == [str(row) for row in held.rows()]


def launch(store: Path) -> Said:
    """The command in this process, on the Ray of the test session."""
    words = ["launch", SPACE, "--store", str(store), "--checkpoint-seconds", OFTEN]
    return say(*words, *sets(*TINY, LONG))


@contextlib.contextmanager
def meanwhile(act: Callable[[], None], when: Callable[[], bool]) -> Iterator[None]:
    """Acts in another thread once `when` is true, which must be before the body has ended."""
    over = threading.Event()

    def wait_and_act() -> None:
        wait_for(lambda: over.is_set() or when())
        assert not over.is_set(), "it ended before what was waited for"
        act()

    with ThreadPoolExecutor(1) as pool:
        acting = pool.submit(wait_and_act)
        try:
            yield
        finally:
            over.set()
        acting.result()


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[], None]]:
    """Presses it for this process. That which comes too late does not end the tests."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    yield partial(os.kill, os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def foreign() -> Iterator[ForeignRay]:
    """Started before the fixtures that a test names after it, so that it comes up meanwhile."""
    with foreign_ray() as found:
        yield found


@pytest.mark.slow
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
def test_ctrl_c_stops_cleanly(
    ray_session: str, uninterrupted: Path, tmp_path: Path, ctrl_c: Callable[[], None]
) -> None:
    """Other ends are in `test_ends`."""
    store, other = tmp_path / "store", tmp_path / "other"
    with meanwhile(ctrl_c, when=lambda: published(store) > 40):
        said = launch(store)
    assert said.status == 130
    assert "run what is left: gradsweep launch" in said.out
    statuses = {row["status"] for row in attempts(store)}
    assert "interrupted" in statuses
    assert "running" not in statuses
    kept = rows(store)
    shutil.copytree(store, other)
    assert run(store, LONG).exit_status == 0
    whole(store)
    assert differing(uninterrupted, store) == {}
    # Another width is another signature: a new segment, which an exact replay follows. Its
    # numbers differ in the last bits, so that nothing but the replay can be compared.
    assert run(other, LONG, width=1, lanes="vmap").exit_status == 0
    resumed = [row for row in attempts(other) if row["first_epoch"] > 0]
    assert {json.loads(row["signature"])["strategy"] for row in resumed} == {"vmap"}
    _replays(other, resumed[0]["trial_id"])
    whole(other)
    assert kept < rows(store) == rows(other) == rows(uninterrupted)


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
        said = launch(store)
        assert said.status == 2
        assert "disk full" in said.out
        assert "free some space" in said.out
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
        with meanwhile(partial(remount, "ro"), when=lambda: published(store) > 40):
            said = launch(store)
        assert said.status == 2
        assert "Read-only file system" in said.out
        assert "Traceback" not in said.out + said.err
        kept = rows(store)
        remount("rw")
        assert kept == rows(store) > 0
        assert run(store, LONG).exit_status == 0
        whole(store)
        assert differing(uninterrupted, store) == {}
