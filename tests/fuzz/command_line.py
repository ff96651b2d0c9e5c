"""The command line in this process, as fast as a function call; what must hold of any answer."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import typer

from orchestrator.cli import app as cli

for name in cli.COMMANDS:
    importlib.import_module(f"orchestrator.cli.{name}")

PARSER = typer.main.get_command(cli.app)
"""Made once: it takes longer than most answers."""

UNEXPECTED = re.compile(r"Traceback \(most recent|\(gradsweep --traceback")
"""What `gradsweep` prints of an error it did not expect: always a bug of ours."""

LONGEST = 2000
"""Characters an error may have; more is no sentence."""


class Said(NamedTuple):
    words: list[str]
    status: int
    out: str
    err: str

    def __repr__(self) -> str:
        words = [
            word if len(word) < 200 else f"{word[:80]}... ({len(word)})" for word in self.words
        ]
        return f"{words} -> {self.status}\n{self.out[-1000:]}\n{self.err[-3000:]}"


def say(*words: str) -> Said:
    """Runs `gradsweep words...` with streams as strict about text as a terminal's."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    before, sys.argv = sys.argv, ["gradsweep", *words]
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch.object(cli, "app", PARSER),
        ):
            cli.main()
        raise AssertionError("main returned instead of exiting")
    except SystemExit as end:
        status = end.code
    finally:
        sys.argv = before
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    assert isinstance(status, int), status
    return Said(list(words), status, *texts)


def sound(said: Said) -> Said:
    """`said` if it is an answer a user can live with: a known status, no traceback, and errors of a
    readable length, at least one where the status is 2."""
    assert said.status in (0, 1, 2), said
    assert not UNEXPECTED.search(said.err), said
    errors = [line for line in said.err.splitlines() if re.match(r"(?i)error: ", line)]
    assert errors or said.status != 2, said
    usage = said.err.startswith("Usage: ")  # the argument parser repeats what it is given
    assert usage or all(len(line) < LONGEST for line in errors), said
    return said


def told(*words: str) -> Said:
    """`say`, and the answer is `sound`."""
    return sound(say(*words))


def snapshot(folder: Path, *without: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file and folder below, those `without` and what is in them left out.

    A folder's time tells of a file that came and went.
    """
    found = {}
    for path in folder.rglob("*"):
        if not any(path == one or one in path.parents for one in without):
            state = path.lstat()
            found[str(path)] = (state.st_size, state.st_mtime_ns)
    return found
