"""A Ray of somebody else's on this machine, with a worker that looks like one of ours.

    python -m tests.support.ray.foreign_ray FOLDER

starts it, and an actor in it whose process is called `ray::ForeignTrainable.train` until there is a
file `stop` in FOLDER. `ForeignRay` is the side of the test.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.support.launches import wait_for

ROOT = Path(__file__).parents[3]

_LEAVE = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True)"
"""Starts a process and ends, so that it has no parent any more."""


class ForeignRay:
    """What a test may ask of it. Nothing here ends a process: the actor is asked to return."""

    def __init__(self, folder: Path):
        self.folder = folder

    def _told(self, what: str) -> str:
        file = self.folder / what
        wait_for(file.exists)
        return file.read_text()

    def actor(self) -> psutil.Process:
        """The actor's process, once it is at work."""
        return psutil.Process(int(self._told("actor")))

    def lived(self) -> int:
        """Asks the actor to return; the process it says it has been in all the time."""
        (self.folder / "stop").touch()
        return int(self._told("answer"))


@contextlib.contextmanager
def foreign_ray() -> Iterator[ForeignRay]:
    """Starts one; it comes up while the test does other things."""
    folder = Path(tempfile.mkdtemp(prefix="gs-"))  # short, as names of sockets must be
    words = [sys.executable, "-m", __name__, str(folder)]
    with (folder / "log").open("wb") as log:
        subprocess.run(
            [sys.executable, "-c", _LEAVE, *words],
            cwd=ROOT,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    found = ForeignRay(folder)
    try:
        yield found
    finally:
        (folder / "stop").touch()
        wait_for((folder / "over").exists)
        shutil.rmtree(folder, ignore_errors=True)


class ForeignTrainable:
    """Works until the file `stop` exists."""

    def train(self, folder: Path) -> int:
        _write(folder / "actor", os.getpid())
        while not (folder / "stop").exists():
            time.sleep(0.1)
        return os.getpid()


def _write(file: Path, number: int) -> None:
    """In one piece: it is there or not."""
    part = file.with_suffix(".part")
    part.write_text(str(number))
    part.rename(file)


def main(folder: Path) -> None:
    import ray
    from ray._private import utils
    from ray._private.node import Node

    # As little of Ray as an actor needs.
    utils.get_dashboard_dependency_error = lambda: ImportError("no extra [default]")
    for name in ("start_monitor", "start_api_server", "start_log_monitor"):
        setattr(Node, name, lambda *_, **__: None)
    try:
        ray.init(
            address="local",
            num_cpus=1,
            object_store_memory=80 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=str(folder / "ray"),
        )
        actor = ray.remote(ForeignTrainable).remote()
        answer: Any = ray.get(actor.train.remote(folder))
        _write(folder / "answer", int(answer))
        ray.shutdown()
    finally:
        _write(folder / "over", 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
