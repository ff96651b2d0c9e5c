"""What a query may take: seconds of work and bytes of memory. It runs where it can be ended."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import psutil

from results.errors import StoreError

GRACE_S = 0.5
"""Seconds that an interrupted query has to end. DuckDB looks between blocks of rows, and not inside
a function of one value, such as `repeat('x', 3000000000)`."""

_THREAD = "gradsweep query"
_AGAIN_S = 0.05
_LEAST = 64 * 10**6
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}

Found = TypeVar("Found")


class OutOfTimeError(StoreError):
    """A query that has used up its time."""


def bytes_of(memory: str | int) -> int:
    """Bytes of a size such as "2GB" or "512 MiB".

    Raises:
      StoreError: no size, or too little for any query.
    """
    found = _SIZE.fullmatch(str(memory).strip())
    if found is None:
        raise StoreError(f"memory is a size such as 2GB or 512MiB; got {memory!r}.")
    number, power, binary = found.groups()
    size = int(float(number) * (1024 if binary else 1000) ** _POWERS[power.upper()])
    if size < _LEAST:
        raise StoreError(f"a query needs at least {sized(_LEAST)} of memory; got {memory!r}.")
    return size


def half_of_free() -> int:
    """Half of the bytes that processes of this machine may still take."""
    return max(_LEAST, psutil.virtual_memory().available // 2)


def sized(count: float) -> str:
    """Bytes in megabytes or gigabytes."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def bounded(
    work: Callable[[], Found], interrupt: Callable[[], None], timeout: float | None
) -> Found:
    """What `work` returns, run in a thread while this one waits for Ctrl-C and the clock.

    A thread that ends neither by itself nor by `interrupt` is left behind; see `left_running`.

    Args:
      timeout: seconds; None for no end.

    Raises:
      OutOfTimeError: these are over.
    """
    if timeout is not None and not timeout > 0:
        raise StoreError(f"timeout is a number of seconds above 0; got {timeout}.")
    ended, found, failed = threading.Event(), [], []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # raised again below
            failed.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=run, name=_THREAD, daemon=True)
    try:
        thread.start()  # within, since a signal may come before the next line
        _wait(ended, timeout)
    except BaseException:
        _end(ended, interrupt)
        raise
    finally:
        if ended.is_set():
            thread.join()
    if failed:
        raise failed.pop()
    return found[0]


def _wait(ended: threading.Event, timeout: float | None) -> None:
    endless = timeout is None or timeout > threading.TIMEOUT_MAX
    if not ended.wait(None if endless else timeout):
        raise OutOfTimeError(
            f"the query was stopped after {timeout:g} s; ask for less, or give it more time "
            "(--timeout)."
        )


def _end(ended: threading.Event, interrupt: Callable[[], None]) -> None:
    """Asks again until it ends: what is asked between two statements is not heard."""
    last = time.monotonic() + GRACE_S
    while not ended.is_set() and time.monotonic() < last:
        interrupt()
        ended.wait(_AGAIN_S)


def left_running() -> bool:
    """Whether an interrupted query still runs in this process."""
    return any(thread.name == _THREAD for thread in threading.enumerate())
