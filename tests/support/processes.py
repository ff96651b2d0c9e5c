"""Processes that tests find and end: only those below one that the test itself has started."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

import psutil


def below(top: psutil.Process) -> list[psutil.Process]:
    """A process and everything that it has started; nothing where it is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [top, *top.children(recursive=True)]
    return []


def those(
    processes: list[psutil.Process], test: Callable[[psutil.Process], bool]
) -> list[psutil.Process]:
    """Those that pass the test; one may end while it is looked at, or be somebody else's."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if test(process):
                found.append(process)
    return found


def carrying(name: str, value: str) -> list[psutil.Process]:
    """Processes that were started with this variable and still live. A dead one may wait for long
    until somebody asks after it."""
    return those(
        list(psutil.process_iter()),
        lambda one: one.status() != psutil.STATUS_ZOMBIE and one.environ().get(name) == value,
    )


def is_raylet(process: psutil.Process) -> bool:
    return process.name() == "raylet"


def trains(process: psutil.Process) -> bool:
    """Whether it runs a pack at this moment. Others' workers on this machine look the same."""
    line = " ".join(process.cmdline())
    return line.startswith("ray::") and "Trainable.train" in line


def own_workers() -> list[psutil.Process]:
    """Workers of this process's own Ray that run a pack: those below its raylet. Clusters that
    tests start are below a `ray start` of theirs."""
    raylets = those(psutil.Process().children(), is_raylet)
    return [found for raylet in raylets for found in those(below(raylet), trains)]


@contextlib.contextmanager
def stopped(*processes: psutil.Process) -> Iterator[None]:
    """Processes that stand still for a while, as those of a node that is cut off seem to do."""
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)
