"""Helpers of the tests that launch: a tiny space, launches in this process and in others."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from orchestrator.launch import LaunchResult, launch
from orchestrator.plan.plan import plan
from orchestrator.plan.space_record import space_json
from orchestrator.plan.studies import catalogue
from orchestrator.worker.pack_run import Context, PackRun
from results import Store

SPACE = "vanishing/quickstart"
TINY = ["depth=3", "width=8", "batch_size=256", "seed=0,1"]
"""Eight trials of two programs; two of them may go non-finite, an epoch takes milliseconds."""

EPOCHS = 100
"""Enough for a launch to be hit in the middle."""

OFTEN = "0.5"
"""Seconds between resume points of the launches that are hit."""

ALWAYS = {"PYTHONUNBUFFERED": "1", "RAY_worker_niceness": "0"}
"""What a process says can be read at once, and Ray's workers do not give way to other tests."""

STARTED: list[Begun] = []
"""Processes that the running test has started; the fixture `ended_with_the_test` ends them."""


def run(
    store: Path,
    *extra: str,
    space: str = SPACE,
    tiny: Sequence[str] = tuple(TINY),
    **options: object,
) -> LaunchResult:
    """A launch in this process, on the Ray of the test session."""
    arguments = {"store": str(store), "set": last(*tiny, *extra), "progress": "none", **options}
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


def last(*changes: str) -> list[str]:
    """Of each key the last change: a test's own in place of `TINY`'s."""
    return list({change.partition("=")[0]: change for change in changes}.values())


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "orchestrator", *words]


def sets(*changes: str) -> list[str]:
    """`--set` for each, the last of a key."""
    return [word for change in last(*changes) for word in ("--set", change)]


class Begun(subprocess.Popen[bytes]):
    """A separate process, in its own group, and in a terminal of its own if it has one. It does not
    outlive its test unless it is `lasting`, and has somebody else who ends it."""

    def __init__(
        self,
        words: Sequence[str],
        environment: Mapping[str, str] | None = None,
        lasting: bool = False,
        terminal: int | None = None,
    ):
        # A file and not a pipe, which would have to be read all the time.
        self._log, name = tempfile.mkstemp()
        Path(name).unlink()
        weakref.finalize(self, os.close, self._log)
        super().__init__(
            words if terminal is None else [sys.executable, "-c", _TAKE, *words],
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=self._log if terminal is None else terminal,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**(os.environ if environment is None else environment), **ALWAYS},
        )
        if not lasting:
            STARTED.append(self)

    def said(self) -> str:
        """All it has said so far."""
        return os.pread(self._log, os.fstat(self._log).st_size, 0).decode()

    def ended(self, status: int = 0) -> str:
        """What it has said, once it has ended with this status."""
        self.wait()
        assert self.returncode == status, self.said()
        return self.said()

    def killed(self) -> None:
        """Ends it with -9 and waits until it is gone."""
        self.kill()
        self.wait()


_TAKE = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
for number in (signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Makes the terminal this process's own, and its keys heard, which a shell's background jobs
ignore; not between fork and exec, as a test's process may run JAX, which must not be forked."""


class InTerminal(Begun):
    """A process in a terminal of its own, as a shell gives it one."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str] | None = None):
        self._keys, slave = pty.openpty()
        super().__init__(words, environment, terminal=slave)
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # its last process has ended, or it was closed
            while text := os.read(self._keys, 4096):
                os.write(self._log, text)

    def press(self, keys: bytes) -> None:
        os.write(self._keys, keys)

    def close(self) -> None:
        """As closing the window does."""
        os.close(self._keys)

    def ended(self, status: int = 0) -> str:
        self.wait()
        self._reader.join()
        return super().ended(status)


def start(
    store: Path,
    *extra: str,
    address: str | None,
    space: str = SPACE,
    tiny: Sequence[str] = tuple(TINY),
) -> Begun:
    """`gradsweep launch` as such a process."""
    where = ["--address", address] if address else []
    return Begun(launch_words(store, *where, *sets(*tiny, *extra), space=space))


def launch_words(store: Path, *more: str, space: str = SPACE) -> list[str]:
    """`gradsweep launch` with frequent resume points."""
    return command("launch", space, "--store", str(store), "--checkpoint-seconds", OFTEN, *more)


def wait_for(what: Callable[[], bool], of: Begun | Future[Any] | None = None) -> None:
    """Waits until `what` is true, and fails as soon as `of`, a process or a call in another thread,
    has ended without. How long that takes is no concern of a test's: pytest-timeout ends one that
    waits for ever."""
    while not what():
        if of is not None and _over(of) and not what():
            last = of.result() if isinstance(of, Future) else of.said()
            raise AssertionError(f"it ended before what was waited for: {last}")
        time.sleep(0.2)


def _over(of: Begun | Future[Any]) -> bool:
    return of.done() if isinstance(of, Future) else of.poll() is not None
