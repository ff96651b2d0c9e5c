"""How a process ends that is asked to: by Ctrl-C, SIGTERM or the end of its terminal."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TextIO

SIGNALS = tuple(
    signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
AGAIN_S = 0.5
"""Two signals this close are one wish: `timeout` signals its child, and then the child's group."""
LAST_S = 18.0
"""Seconds after which a process that was asked to stop ends, whatever it is doing."""


class Stopped(KeyboardInterrupt):
    """A signal has asked this process to stop."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


def status_of(number: int) -> int:
    """The exit status of a process that signal `number` ended, as shells count: 130 for Ctrl-C."""
    return 128 + number


class Stopping:
    """What `signals` do to this process while this is entered; a context manager.

    The first raises `Stopped`, and a later one ends the process. After a call of `gently` two are
    only noted, in `number` and `at_once`. A signal that is ignored stays so, as `nohup` wants.
    Outside the main thread nothing changes.

    A process that does not come to its handlers, since it waits in somebody's C++, ends after
    `LAST_S`; what is in `at_last` is done before.
    """

    def __init__(self, signals: Sequence[signal.Signals] = SIGNALS):
        self.number: int | None = None
        self.at_once = False
        self._at = 0.0
        self.at_last: list[Callable[[], object]] = []
        self._signals = signals
        self._before: dict[int, object] = {}
        self._gentle = False
        self._patient = False
        self._over = threading.Event()

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._on_signal)
            reading, self._writing = os.pipe()
            os.set_blocking(self._writing, False)
            self._woken = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
            _entered.append(self)
            threading.Thread(target=self._watch, args=(reading,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self in _entered:
            _entered.remove(self)
            self._restore(self._woken)
            os.close(self._writing)

    def _restore(self, wakeup: int) -> None:
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def handle(self) -> None:
        """Takes the signals back from who has taken them meanwhile."""
        for number in self._before:
            signal.signal(number, self._on_signal)

    def gently(self, patient: bool) -> None:
        """From now on `number` says that a signal has come and `at_once` that a second has, and the
        caller sees to it that the process ends. `patient`: however long that takes."""
        self._gentle, self._patient = True, patient

    def _on_signal(self, number: int, _: object) -> None:
        now = time.monotonic()
        first = self.number is None
        if not first and now - self._at < AGAIN_S:
            return
        self._at = now
        if first:
            self.number = number
        if number == getattr(signal, "SIGHUP", None):
            leave_terminal()
        if not self._gentle and first:
            raise Stopped(number)
        if self.at_once or not self._gentle:
            self._end(number)
        self.at_once = not first

    def _watch(self, reading: int) -> None:
        """Ends the process at last; awake at each signal, though the main thread may not be."""
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            number = 0
            while number not in self._before:
                woken = pipe.read(1)
                if not woken:
                    return
                number = woken[0]
            left = LAST_S
            while left > 0:
                if self._over.wait(0.5):
                    return
                left -= 0 if self._patient else 0.5
            self._end(number)

    def _end(self, number: int) -> None:
        def last() -> None:
            for act in reversed(self.at_last):
                with contextlib.suppress(Exception):
                    act()

        closing = threading.Thread(target=last, daemon=True)
        closing.start()
        closing.join(3.0)
        os._exit(status_of(self.number or number))


_entered: list[Stopping] = []


def handle_again() -> None:
    """Lets what is entered in this process handle its signals again."""
    for one in _entered:
        one.handle()


_masks: list[set[int]] = []


def _before_fork() -> None:
    if _entered:
        _masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS))


def _after_fork() -> None:
    if _masks:
        signal.pthread_sigmask(signal.SIG_SETMASK, _masks.pop())


def _in_child() -> None:
    """A forked process is none that was asked to stop; its signals are none of its parent's."""
    while _entered:
        _entered.pop()._restore(-1)
    _after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


def leave_terminal() -> None:
    """Lets nothing more be written to a terminal that is gone."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            number = stream.fileno()
            if stat.S_ISCHR(os.fstat(number).st_mode) and not os.isatty(number):
                silence(stream)


def silence(stream: TextIO) -> None:
    """Nobody reads it any more."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
