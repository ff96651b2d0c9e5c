"""A limit on the time that a trial takes: what is late is named, and its process ended, since
nothing else ends code that hangs."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator

from orchestrator.units import span_text
from orchestrator.user_code import of_user
from orchestrator.worker.last_words import LastWords

GRACE_S = 10.0
"""After the limit, for what keeps every Python thread of the process from running, this one too."""
Late = Callable[[str, str], None]
"""Takes the reason in one line, and the stacks as text."""


def late_reason(doing: str, limit: float, place: str) -> str:
    """Why a trial has failed that took too long."""
    where = f" ({place})" if place else ""
    return f"still {doing} after {span_text(limit)}, the --trial-timeout{where}"


class Watchdog:
    """Watches what the thread that enters `within` does, and ends the process when that is late.

    Args:
      limit: of a trial in seconds, as it was asked for.
      late: is called once, in another thread, while the late one still hangs; then the process
        ends.
      words: for a hang in C that holds Python's lock.
    """

    def __init__(
        self,
        limit: float,
        late: Late,
        words: LastWords | None = None,
        end: Callable[[int], object] = os._exit,
    ):
        self.limit = limit
        self._late = late
        self._words = words
        self._end = end
        # Held while a late trial is named: what it did may then end no more.
        self._changed = threading.Condition()
        self._doing = ""
        self._until: float | None = None
        self._wakes = 0.0
        self._whose = 0
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def within(self, doing: str, seconds: float) -> Iterator[None]:
        """`doing` this may take so long; it is what a sentence goes on with after "still"."""
        with contextlib.ExitStack() as stack:
            seconds = max(seconds, 0.0)
            if self._words is not None:
                stack.enter_context(self._words.within(doing, seconds + GRACE_S))
            with self._changed:
                self._doing, self._whose = doing, threading.get_ident()
                self._until = time.monotonic() + seconds
                if self._thread is None:
                    self._thread = threading.Thread(target=self._watch, daemon=True)
                    self._thread.start()
                elif self._until < self._wakes:
                    self._changed.notify()
            try:
                yield
            finally:
                with self._changed:
                    self._until = None

    def close(self) -> None:
        """Watches no more."""
        with self._changed:
            self._until, self._whose = None, -1
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while self._whose != -1:
                now = time.monotonic()
                if self._until is not None and self._until <= now:
                    self._name()
                    return
                # Woken for earlier ends only: most come later than the one before.
                self._wakes = float("inf") if self._until is None else self._until
                self._changed.wait(None if self._until is None else self._until - now)

    def _name(self) -> None:
        try:
            text, place = _stacks(self._whose)
            self._late(late_reason(self._doing, self.limit, place), text)
        finally:
            self._end(1)


def _stacks(first: int) -> tuple[str, str]:
    """The stacks of this process's threads, that of thread `first` at the top; and where the first
    of them that is in a user's file is there."""
    here = threading.get_ident()
    frames = sys._current_frames()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    order = [first, *sorted(set(frames) - {first, here})]
    text, place = "", ""
    for number in order:
        if number not in frames:
            continue
        stack = traceback.extract_stack(frames[number])
        theirs = of_user(stack)
        if not place and theirs:
            place = f"{theirs[-1].filename}:{theirs[-1].lineno}"
        if number == first or theirs:
            text += f"Thread {names.get(number, number)}:\n" + "".join(stack.format())
    return text, place
