"""Launches on a local Ray that are ended from outside, at moments that can be seen: with real
process groups and terminals, by killing Ray, by killing the launch. What they leave, and say."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from orchestrator.machine.scratch import MARK
from tests.support.launches import (
    TINY,
    Begun,
    InTerminal,
    launch_words,
    sets,
    start,
    wait_for,
)
from tests.support.processes import below, carrying, is_raylet, stopped, those
from tests.support.processes import trains as trains_a_pack
from tests.support.stores import attempts, differing, published, whole

pytestmark = [pytest.mark.ray, pytest.mark.slow]

LONG = "epochs=20000"
"""Of trials that are never finished here."""


class Launched:
    """The launches of one test: all that they start carries a mark of the test, and what they put
    beside the store lies in a folder of its own."""

    def __init__(self, folder: Path, short: Path):
        self.store = folder / "store"
        self.home = folder / "home"
        self.home.mkdir()
        self.top = short
        self._mark = secrets.token_hex(8)
        self.environment: Mapping[str, str] = {
            **{name: value for name, value in os.environ.items() if name not in TOKENS},
            "GRADSWEEP_TEST": self._mark,
            "RAY_TMPDIR": str(short),
            "HOME": str(self.home),
        }

    def words(self, *changes: str) -> list[str]:
        return launch_words(self.store, *sets(*TINY, *changes))

    def start(self, *changes: str, terminal: bool = False) -> Begun:
        return (InTerminal if terminal else Begun)(self.words(*changes), self.environment)

    def processes(self) -> list[psutil.Process]:
        return carrying("GRADSWEEP_TEST", self._mark)

    def left_nothing(self) -> None:
        """Nothing runs, nothing lies about, and the store is free."""
        assert self.processes() == []
        assert list(self.top.iterdir()) == []
        assert not (self.home / ".ray").exists()
        for name in ("lease.json", "fences", "claims"):
            held = self.store / name
            assert not held.exists() or (held.is_dir() and list(held.iterdir()) == [])


TOKENS = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""What a Ray of the test session sets."""


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launched]:
    short = Path("/tmp", f"gs-{secrets.token_hex(4)}")  # Ray's sockets need short names
    short.mkdir()
    found = Launched(tmp_path, short)
    yield found
    for process in found.processes():
        process.kill()
    wait_for(lambda: not found.processes())
    subprocess.run(["rm", "-rf", str(short)], check=True)


def trains(launch: Begun, store: Path) -> None:
    """Waits until epochs are published."""
    wait_for(lambda: published(store) > 0, of=launch)


def statuses(store: Path) -> set[str]:
    return {str(row["status"]) for row in attempts(store)}


def last_line(said: str) -> str:
    return said.replace("\r\n", "\n").rstrip("\n").rpartition("\n")[2]


def resumes(said: str, launched: Launched) -> None:
    """The last line says what is done and which command does the rest."""
    line = last_line(said)
    assert re.search(r"stopped after .* with \d of 8 trials done; run", line), said
    command = f"gradsweep launch vanishing/quickstart --store {launched.store}"
    assert f"; run what is left: {command}" in line, said
    assert "Traceback" not in said


def test_a_group_that_is_ended_by_timeout(
    launched: Launched, uninterrupted: Path, ray_session: str
) -> None:
    """It signals the launch and then the whole group. The next launch does the rest: no epoch is
    lost or doubled."""
    words = ["timeout", "--preserve-status", "600", *launched.words("epochs=100")]
    outer = Begun(words, launched.environment)
    trains(outer, launched.store)
    outer.send_signal(signal.SIGTERM)
    said = outer.ended(143)
    launched.left_nothing()
    resumes(said, launched)
    assert "running" not in statuses(launched.store)
    rest = start(launched.store, "epochs=100", address=ray_session)
    rest.ended()
    whole(launched.store)
    assert differing(uninterrupted, launched.store) == {}


def test_every_process_of_a_service_is_told_to_end(launched: Launched) -> None:
    """systemd and Slurm signal all there are, in whichever group and session."""
    launch = launched.start(LONG)
    trains(launch, launched.store)
    for process in launched.processes():
        process.send_signal(signal.SIGTERM)
    resumes(launch.ended(143), launched)
    launched.left_nothing()
    assert statuses(launched.store) == {"interrupted"}


@pytest.mark.parametrize("again", [False, True], ids=["once", "again"])
def test_ctrl_c_in_a_terminal(launched: Launched, again: bool) -> None:
    launch = launched.start(LONG, terminal=True)
    assert isinstance(launch, InTerminal)
    wait_for(lambda: "ETA" in launch.said(), of=launch)
    launch.press(b"\x03")
    if again:
        wait_for(lambda: "Ctrl-C again stops at once" in launch.said())
        with stopped(*those(launched.processes(), trains_a_pack)):
            # One that comes too soon is taken for the first.
            while "stopping at once" not in launch.said():
                pressed = launch.said().count("^C")
                launch.press(b"\x03")
                wait_for(lambda before=pressed: launch.said().count("^C") > before)
    said = launch.ended(130)
    launched.left_nothing()
    assert "run what is left: gradsweep launch" in said
    assert "Traceback" not in said


def test_a_terminal_that_is_closed(launched: Launched) -> None:
    launch = launched.start(LONG, terminal=True)
    assert isinstance(launch, InTerminal)
    trains(launch, launched.store)
    launch.close()
    launch.wait()
    assert launch.returncode == 129
    launched.left_nothing()
    assert statuses(launched.store) == {"interrupted"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_launch_that_is_still_starting(launched: Launched, number: signal.Signals) -> None:
    launch = launched.start(LONG, terminal=True)
    wait_for(lambda: bool(those(launched.processes(), is_raylet)), of=launch)
    os.killpg(launch.pid, number)
    said = launch.ended(128 + number)
    launched.left_nothing()
    assert "stopped before any trial ran; run them: gradsweep launch" in last_line(said)
    assert "Traceback" not in said


@pytest.mark.parametrize("victim", ["gcs_server", "raylet"])
def test_a_ray_that_dies(launched: Launched, victim: str) -> None:
    launch = launched.start(LONG)
    trains(launch, launched.store)
    (found,) = those(launched.processes(), lambda process: process.name() == victim)
    found.kill()
    said = launch.ended(2)
    launched.left_nothing()
    lines = said.splitlines()
    assert re.match(r"stopped: Ray has died: its (head|node) at 127.0.0.1:\d+ gives no", lines[-2])
    assert lines[-1].startswith("run what is left: gradsweep launch")
    assert "terminate" not in said
    assert "Traceback" not in said
    assert statuses(launched.store) == {"interrupted"}


def test_what_a_killed_launch_leaves_goes_with_the_next(launched: Launched, tmp_path: Path) -> None:
    """Meanwhile what lies there is the user's alone; and what is somebody else's stays."""
    foreign = launched.top / "gradsweep-foreign"
    foreign.mkdir()
    launch = launched.start(LONG)
    trains(launch, launched.store)
    (folder,) = [path for path in launched.top.iterdir() if (path / "ray").exists()]
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "token").stat().st_mode & 0o077 == 0
    assert not (launched.home / ".ray").exists()
    marked = carrying(MARK, str(folder))
    assert {process.name() for process in marked} >= {"gcs_server", "raylet"}
    agents = those(below(psutil.Process(launch.pid)), lambda one: "Agent" in one.name())
    assert agents
    assert {agent.pid for agent in agents} <= {process.pid for process in marked}
    launch.killed()
    assert folder.exists()
    after = launched.start(LONG)
    wait_for(lambda: "starting Ray" in after.said(), of=after)
    wait_for(lambda: not folder.exists(), of=after)
    os.killpg(after.pid, signal.SIGTERM)
    after.ended(143)
    assert carrying(MARK, str(folder)) == []
    foreign.rmdir()
    launched.left_nothing()


def raylet_below(launch: Begun, without: int = 0) -> psutil.Process:
    """The raylet that a launch has just started."""
    found: list[psutil.Process] = []

    def there() -> bool:
        children = those(psutil.Process(launch.pid).children(), is_raylet)
        found[:] = [one for one in children if one.pid != without]
        return bool(found)

    wait_for(there, of=launch)
    return found[0]


@pytest.mark.parametrize("tries", [1, 2])
def test_a_ray_that_does_not_start(launched: Launched, tries: int) -> None:
    launch = launched.start("epochs=1")
    first = raylet_below(launch)
    first.kill()
    if tries == 2:
        raylet_below(launch, without=first.pid).kill()
    said = launch.ended(0 if tries == 1 else 2)
    assert "Ray did not start (its process raylet ended with status -9); trying once more" in said
    assert ("Ray does not start on this machine (its process raylet" in said) == (tries == 2)
    assert "Traceback" not in said
    assert ("8 done" in said) == (tries == 1)
    launched.left_nothing()
