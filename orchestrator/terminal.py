"""The one place where text leaves for a terminal.

A store may be a foreign one: its text is shown and never obeyed. So nothing else here
prints (`tests/test_repository.py`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console


def out(text: str = "", end: str = "\n") -> None:
    """A line on standard output, at once."""
    print(printable(text), end=end, flush=True)


def say_on_stderr(text: str) -> None:
    """A line on standard error."""
    print(printable(text), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """`text` with what a terminal would obey spelled out; see `results.errors.printable`."""
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    # Only here: `results` is slow to import, and --help does without it.
    from results.errors import printable as spelled

    return spelled(text)


def data_stream() -> TextIO:
    """Standard output for data: exact in a file or a pipe, printable on a terminal."""
    return cast("TextIO", _Shown()) if sys.stdout.isatty() else sys.stdout


class _Shown:
    def write(self, text: str) -> int:
        return sys.stdout.write(printable(text))

    def flush(self) -> None:
        sys.stdout.flush()


def console(stderr: bool = False) -> Console:
    """A Rich console to which text is data: no brackets or colons in it are markup, and nothing in
    it steers the terminal. A table's cells are made printable by who fills it, who must know how
    wide they are."""
    from rich.console import Console

    class Shown(Console):
        def print(self, *objects: Any, **how: Any) -> None:
            shown = (printable(o) if isinstance(o, str) else o for o in objects)
            super().print(*shown, **how)

    return Shown(stderr=stderr, markup=False, emoji=False, highlight=False)
