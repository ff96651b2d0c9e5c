"""Which process is meant by a record of it; ending those that carry a mark."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil


def this_process() -> dict[str, Any]:
    """This process, for a record that outlives it."""
    me = psutil.Process()
    # A pid is reused; with its start time it names one process.
    return {"host": socket.gethostname(), "pid": me.pid, "pid_started": me.create_time()}


def here(record: Mapping[str, Any]) -> bool:
    """Whether it was a process of this machine."""
    return record["host"] == socket.gethostname()


def lives(record: Mapping[str, Any]) -> bool:
    """Whether the process of a record of this machine is still there."""
    try:
        found = psutil.Process(record["pid"])
        return abs(found.create_time() - record["pid_started"]) < 1
    except (psutil.Error, ValueError, OverflowError):
        return False


def end_marked(name: str, value: str, patience_s: float = 3.0) -> None:
    """Kills this user's processes that were started with the variable `name` set to `value`, and
    waits until they are gone: also those that another starts while this looks."""
    end = time.monotonic() + patience_s
    while (marked := _marked(name, value)) and time.monotonic() < end:
        for process in marked:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(marked, patience_s)


def _marked(name: str, value: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # it ended, or is somebody else's
            ours = process.pid != os.getpid() and process.uids().real == os.getuid()
            if ours and process.environ().get(name) == value:
                found.append(process)
    return found


def killed_for_memory() -> int:
    """How many processes Linux has killed on this machine for want of memory; 0 elsewhere."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
