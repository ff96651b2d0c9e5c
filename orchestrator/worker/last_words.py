"""What a worker leaves of where it was when it dies: a file that Python's fault handler writes,
also where no Python can run any more. The worker opens it; the driver reads it afterwards."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.user_code import of_user

_FRAME = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)
_FATAL = re.compile(r"^Fatal Python error: (.+)$", re.MULTILINE)
_LATE = re.compile(r"^Timeout \(.*\)!$", re.MULTILINE)


@dataclass(frozen=True)
class Found:
    """What a dead worker has left.

    Attributes:
      late: whether it took too long, and `doing` what. fatal: what else ended it, in Python's
        words; "" where nothing says.
      place: file and line of the user's code where it was, "" where it was in none.
      text: the stacks of its threads.
    """

    late: bool
    doing: str
    fatal: str
    place: str
    text: str


class LastWords:
    """A process's file of last words, from now on until another is opened in it.

    Raises:
      OSError: the file cannot be written.
    """

    def __init__(self, path: Path):
        self._path = path
        # What is written is added at the end, wherever that is after `_say`.
        self._number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        faulthandler.enable(self._number)

    @contextlib.contextmanager
    def within(self, doing: str, seconds: float) -> Iterator[None]:
        """Ends the process, with its stacks in the file, if this takes longer than `seconds`,
        whether or not anything else of the process can run."""
        self._say(f"{doing}\n")
        faulthandler.dump_traceback_later(seconds, exit=True, file=self._number)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _say(self, text: str) -> None:
        os.ftruncate(self._number, 0)
        os.write(self._number, text.encode())

    def close(self) -> None:
        """The process goes on without; nobody needs the file."""
        faulthandler.enable(sys.__stderr__ or 2)
        os.close(self._number)
        self._path.unlink(missing_ok=True)


def found(path: Path) -> Found | None:
    """What a worker that is dead has left in its file; None if that is nothing."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return None
    late, fatal = _LATE.search(text), _FATAL.search(text)
    first = late or fatal
    if first is None:
        return None
    stack = text[first.start() :]
    place = _user_place(stack)
    doing = text.partition("\n")[0] if not text.startswith(("Timeout (", "Fatal ")) else ""
    return Found(late is not None, doing, fatal.group(1) if fatal else "", place, stack)


def _user_place(stacks: str) -> str:
    """File and line of the first frame of a user's code in what Python's fault handler wrote, which
    begins with the innermost; "" where there is none."""
    frames = [
        traceback.FrameSummary(file, int(line), name, lookup_line=False)
        for file, line, name in _FRAME.findall(stacks)
    ]
    theirs = of_user(frames)
    return f"{theirs[0].filename}:{theirs[0].lineno}" if theirs else ""
