"""A launch's own folder of files that nobody needs afterwards; what dead launches left goes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import RequestError
from orchestrator.machine.processes import end_marked, here, lives, this_process

MARK = "GRADSWEEP_LAUNCH"
"""The variable that names the folder in every process that belongs to a launch's Ray."""

_PREFIX = "gradsweep-"
_RECORD = "launch.json"
_LONGEST = 20
"""Characters of the path above: Ray's sockets lie below, and their paths may have 107."""


def base() -> Path:
    """Where such folders lie: RAY_TMPDIR, TMPDIR if its path is short enough, or /tmp."""
    given = os.environ.get("RAY_TMPDIR")
    if given:
        return Path(given)
    usual = tempfile.gettempdir()
    return Path(usual if len(usual) <= _LONGEST and sys.platform != "darwin" else "/tmp")


@contextlib.contextmanager
def launch_folder() -> Iterator[Path]:
    """A folder that only this user can enter and that goes at the end.

    Raises:
      RequestError: it cannot be made.
    """
    top = base()
    try:
        top.mkdir(parents=True, exist_ok=True)
        clear_dead(top)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=top))
        record = _record(folder)
    except OSError as error:
        raise RequestError(
            f"cannot make a folder in {top} ({error.strerror}); set RAY_TMPDIR to a folder with a "
            "short path on a disk that has space"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(record)


def _record(folder: Path) -> int:
    """Says whose the folder is. The lock on the file ends with this process, however that ends, and
    holds for processes that see no pid of ours (in another container)."""
    new = folder / "new"
    number = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(number, fcntl.LOCK_EX)
    os.write(number, json.dumps(this_process()).encode())
    new.rename(folder / _RECORD)
    return number


def clear_dead(top: Path) -> None:
    """Ends the processes and deletes the folders of this user's launches on this machine that are
    dead. Where a record is missing or says otherwise, the folder is somebody else's."""
    for folder in top.glob(f"{_PREFIX}*"):
        with _dead(folder) as dead:
            if dead:
                end_marked(MARK, str(folder))
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _dead(folder: Path) -> Iterator[bool]:
    """Whether it was left by a dead launch of ours; nobody else may clear it meanwhile."""
    number = -1
    try:
        mine = folder.lstat().st_uid == os.geteuid() and folder.is_dir() and not folder.is_symlink()
        number = os.open(folder / _RECORD, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        mine = mine and os.fstat(number).st_uid == os.geteuid()
        record = json.loads(os.read(number, 4096))
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        dead = mine and here(record) and not lives(record)
    except (OSError, ValueError, KeyError, TypeError):
        dead = False
    try:
        yield dead
    finally:
        if number >= 0:
            os.close(number)
