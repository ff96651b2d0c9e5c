"""Running code of a user: whose an exception is, where it arose, what would end the process."""

from __future__ import annotations

import contextlib
import dis
import os
import re
import sys
import sysconfig
import threading
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from orchestrator.errors import RequestError

_OURS = ("gradsweep", "orchestrator", "trainables", "search_spaces", "results")
_ROOT = Path(__file__).resolve().parents[1]
_IMPORTS = _ROOT / "orchestrator" / "plan" / "neighbours.py"
"""What an import statement of a study's calls, as it would Python's own."""
_LIBRARIES = frozenset({"site-packages", "dist-packages"})
_STANDARD = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))


_CELL = re.compile(r"<ipython-input-|[\\/]ipykernel_\d+[\\/]")
"""What Jupyter and IPython call the code of a cell; no file has that name."""


class UserExitError(Exception):
    """A user's code asked for the end of the process; the text says how and where."""


class _ExitNowError(SystemExit):
    """What `os._exit` raises in place of ending this process."""


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Code of a user that would end the process raises in here instead: `sys.exit`, `os._exit`, a
    KeyboardInterrupt that it raises itself. What comes from a signal, from Ray or from us goes on
    as it is.

    Raises:
      UserExitError: in place of such an end.
    """
    try:
        with _no_hard_exit():
            yield
    except Exception:
        raise
    except BaseException as error:
        if not _asked_by_user(error):
            raise
        raise UserExitError(f"{_deed(error)}{where(error, ' at {}')}") from error


def where(error: BaseException, form: str = " ({})") -> str:
    """`form` of the file and line of a user's own code that an exception passed last; "" where it
    passed none."""
    frames = user_frames(error)
    return form.format(f"{frames[-1].filename}:{frames[-1].lineno}") if frames else ""


def user_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames in a user's own files, which are theirs to read, the innermost last."""
    return of_user(traceback.extract_tb(error.__traceback__))


def of_user(frames: Iterable[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    """Those of the frames that lie in a user's own files."""
    return [frame for frame in frames if _owner(frame.filename) == "user"]


def described(error: BaseException) -> str:
    """An exception in one line: kind, text, and the place in the user's code."""
    from trainables.declarations import PartError  # slow to import, and most runs need none

    if isinstance(error, (UserExitError, RequestError, PartError)):
        return str(error)
    return f"{type(error).__name__}: {said(error)}{where(error)}"


def said(error: BaseException) -> str:
    """The text of an exception."""
    try:
        return str(error)
    except Exception:  # an exception of the user's own
        return "(it does not say what)"


def raised_by_user(error: BaseException) -> bool:
    """Whether a user's own code raised it, itself or by a call of Python's or of a library."""
    owners = (
        _owner(frame.filename) for frame in reversed(traceback.extract_tb(error.__traceback__))
    )
    return next((one for one in owners if one in ("user", "ours")), "") == "user"


def _owner(filename: str) -> str:
    """Whose file: ours, library, user or python; python too where there is no file."""
    if _CELL.search(filename):
        return "user"
    file = Path(filename)
    if filename.startswith("<") or not file.is_file():
        return "python"
    file = file.resolve()
    if file == _IMPORTS:
        return "python"
    if any(file.is_relative_to(_ROOT / name) for name in _OURS):
        return "ours"
    if not _LIBRARIES.isdisjoint(file.parts):
        return "library"
    return "python" if any(file.is_relative_to(place) for place in _STANDARD) else "user"


def _asked_by_user(error: BaseException) -> bool:
    """Whether an exception that ends processes was raised by a user's code or its libraries."""
    found: list[TracebackType] = []
    trace = error.__traceback__
    while trace is not None:
        found.append(trace)
        trace = trace.tb_next
    if isinstance(error, KeyboardInterrupt) and not (found and _raised(found[-1])):
        return False  # a signal's: it arises between two instructions
    for trace in reversed(found):
        code = trace.tb_frame.f_code
        owner = _owner(code.co_filename)
        if owner == "python" or code.co_filename == __file__:
            continue
        if owner == "library":
            # A library may end a process by `sys.exit`; what else it throws is its own affair.
            known = isinstance(error, (SystemExit, KeyboardInterrupt))
            called = bool(user_frames(error)) and "ray" not in Path(code.co_filename).parts
            return known and called
        return owner == "user"
    return False


def _raised(trace: TracebackType) -> bool:
    """Whether the frame was at a `raise` of its code."""
    code = trace.tb_frame.f_code.co_code
    return dis.opname[code[trace.tb_lasti]] == "RAISE_VARARGS"


def _deed(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        name = "os._exit" if isinstance(error, _ExitNowError) else "sys.exit"
        return f"it called {name}({'' if error.code is None else repr(error.code)})"
    text = said(error)
    return f"it raised {type(error).__name__}" + (f": {text}" if text else "")


def _exit_now(status: int) -> NoReturn:
    raise _ExitNowError(status)


@contextlib.contextmanager
def _no_hard_exit() -> Iterator[None]:
    """`os._exit` raises in this thread of this process; a forked child ends as it must, and so do
    we."""
    here, thread, really = os.getpid(), threading.get_ident(), os._exit

    def exit_or_raise(status: int) -> NoReturn:
        caller = sys._getframe(1).f_code.co_filename
        if (os.getpid(), threading.get_ident()) == (here, thread) and _owner(caller) == "user":
            _exit_now(status)
        really(status)

    replaced: Any = exit_or_raise
    os._exit = replaced
    try:
        yield
    finally:
        if os._exit is replaced:
            os._exit = really


def is_users(filename: str) -> bool:
    """Whether a file is a user's own: not Python's, not an installed library's, not ours."""
    return _owner(filename) == "user"
