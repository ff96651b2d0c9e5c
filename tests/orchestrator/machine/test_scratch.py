"""Folders of launches: a dead one's goes with its processes, nobody else's does."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import RequestError
from orchestrator.machine.processes import this_process
from orchestrator.machine.scratch import MARK, base, clear_dead, launch_folder
from tests.support.launches import wait_for
from tests.support.processes import carrying

HOLD = """
import subprocess, sys
from orchestrator.machine.scratch import MARK, launch_folder
with launch_folder() as folder:
    subprocess.Popen(["sleep", "1000"], env={MARK: str(folder), "PATH": sys.argv[1]})
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def launched() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process with such a folder and a child that belongs to it; both end with the test."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, os.environ["PATH"]],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        yield process, folder
        process.kill()
        for child in carrying(MARK, str(folder)):
            child.kill()


def dead() -> dict[str, object]:
    """The record of a process of this machine that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return {**this_process(), "pid": process.pid}


def left(top: Path, name: str, record: object) -> Path:
    folder = top / name
    folder.mkdir()
    if record is not None:
        (folder / "launch.json").write_text(json.dumps(record))
    return folder


def test_a_folder_is_its_user_s_alone_and_goes_at_the_end(top: Path) -> None:
    with launch_folder() as folder:
        assert folder.parent == top
        assert folder.stat().st_mode & 0o777 == 0o700
        record = json.loads((folder / "launch.json").read_text())
        assert record == this_process()
        with launch_folder() as second:  # clears none of this process's
            assert second != folder
        assert folder.exists()
    assert list(top.iterdir()) == []


def test_what_a_killed_launch_left_goes_and_a_living_one_s_stays(
    top: Path, launched: tuple[subprocess.Popen[str], Path]
) -> None:
    process, folder = launched
    clear_dead(top)
    assert folder.exists()
    wait_for(lambda: len(carrying(MARK, str(folder))) == 1)  # not before it has become itself
    process.kill()
    process.wait()
    with launch_folder() as mine:
        assert list(top.iterdir()) == [mine]
        assert carrying(MARK, str(folder)) == []


def test_a_killed_child_of_another_launch_s_folder_lives(
    top: Path, launched: tuple[subprocess.Popen[str], Path]
) -> None:
    """The mark names the folder: only its own processes end with it."""
    gone = left(top, "gradsweep-gone", dead())
    clear_dead(top)
    assert not gone.exists()
    wait_for(lambda: len(carrying(MARK, str(launched[1]))) == 1)


@pytest.mark.parametrize(
    "record",
    [None, [], {}, {"host": "elsewhere"}, {"pid": "x", "pid_started": "y"}],
    ids=["none", "list", "empty", "elsewhere", "types"],
)
def test_a_folder_that_is_not_known_to_be_ours_stays(top: Path, record: object) -> None:
    if isinstance(record, dict) and record:
        record = {**dead(), **record}
    folder = left(top, "gradsweep-other", record)
    (folder / "data").write_text("mine")
    clear_dead(top)
    assert (folder / "data").exists()


def test_a_locked_folder_stays_whatever_its_record_says(top: Path) -> None:
    """Its launch runs in another container, say, and has no pid here."""
    folder = left(top, "gradsweep-locked", dead())
    with (folder / "launch.json").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        clear_dead(top)
        assert folder.exists()
    clear_dead(top)
    assert not folder.exists()


def test_links_and_other_users_folders_stay(top: Path) -> None:
    target = left(top, "kept", dead())
    (top / "gradsweep-link").symlink_to(target)
    unlike = left(top, "other-gradsweep", dead())
    if os.geteuid() == 0:
        theirs = left(top, "gradsweep-theirs", dead())
        os.chown(theirs, 12345, 12345)
        half = left(top, "gradsweep-half", dead())
        os.chown(half / "launch.json", 12345, 12345)
    before = sorted(top.rglob("*"))
    clear_dead(top)
    assert sorted(top.rglob("*")) == before
    assert unlike.exists()


def test_a_place_that_cannot_be_written_is_one_sentence(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "file").write_text("")
    monkeypatch.setenv("RAY_TMPDIR", str(top / "file" / "below"))
    with pytest.raises(RequestError, match=r"cannot make a folder in .*; set RAY_TMPDIR to"):
        launch_folder().__enter__()


def test_names_of_sockets_stay_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A long TMPDIR is left for /tmp; RAY_TMPDIR is what the user wants."""
    assert base() == tmp_path
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setattr("tempfile.tempdir", "/" + "x" * 40)
    assert base() == Path("/tmp")
    monkeypatch.setattr("tempfile.tempdir", "/scratch/7")
    assert base() == Path("/scratch/7")
