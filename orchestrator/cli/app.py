"""The command line: parses, calls, prints. `gradsweep --help` imports neither Ray nor JAX."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Collection
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.errors import RequestError

_MOST_ERRORS = 50
_LONGEST_ERROR = 1600

at_end: list[Callable[[], None]] = []
"""What the command under way has to say when it has ended."""

app = typer.Typer(
    name="gradsweep",
    help="Sweep, debug and query gradient-dynamics experiments.\n\n"
    "First: gradsweep spaces, then gradsweep plan vanishing/quickstart, then gradsweep launch "
    "vanishing/quickstart. Results land in ./store; ask them with query, best and plot.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

StoreOption = Annotated[
    str,
    typer.Option(
        "--store", envvar="GRADSWEEP_STORE", help="Directory or URI (s3://, gs://) of the results."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key; several values re-grid: lr=0.1,0.01 or seed=range(4). Repeatable, "
        "each key once; a recording key takes one value.",
    ),
]
StudyOption = Annotated[
    str | None, typer.Option("--study", help="Python file that sets STUDY: a study of your own.")
]
SmokeOption = Annotated[
    bool, typer.Option("--smoke", help="The space's small variant: under a minute on two cores.")
]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first N trials.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
RerunOption = Annotated[
    list[str] | None,
    typer.Option("--rerun", help="Also run: stale, failed, or a trial id. Repeatable."),
]
LanesOption = Annotated[
    str,
    typer.Option(
        "--lanes",
        help="How a pack runs its lanes: vmap, sequential, or auto (vmap on a GPU only).",
    ),
]
WidthOption = Annotated[
    int | None, typer.Option("--width", min=1, help="Lanes per pack; forces a new signature.")
]
SpaceArgument = Annotated[
    str, typer.Argument(metavar="SPACE", help="study/space, or a study. See `gradsweep spaces`.")
]


def print_version(asked: bool) -> None:
    """Prints the version and ends, if it is asked for."""
    if asked:
        out(f"gradsweep {version('gradsweep')}")
        raise typer.Exit


@app.callback()
def common(
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show gradsweep's own frames when something fails.")
    ] = False,
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Options of every command."""
    os.environ["GRADSWEEP_TRACEBACK"] = "1" if show_traceback else ""


def out(text: str = "") -> None:
    """A line on standard output, at once."""
    print(text, flush=True)


def dump(value: Any) -> None:
    """`value` as JSON on standard output."""
    out(json_text(value))


def json_text(value: Any) -> str:
    """JSON of plain data; numbers JSON cannot hold become "nan", "inf" and "-inf"."""
    return json.dumps(_plain(value), indent=1, allow_nan=False, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    if isinstance(value, float) and value != value:
        return "nan"
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def print_table(
    columns: list[str],
    rows: list[list[Any]],
    title: str | None = None,
    keys: Collection[str] = (),
) -> None:
    """A table as wide as it needs to be; numbers to the right, four digits. Columns among `keys`
    hold values of configs."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    for index, name in enumerate(columns):
        numeric = any(isinstance(row[index], (int, float)) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
        table.columns[-1].no_wrap = name == "trial_id"
    cells = [
        key_texts([row[index] for row in rows])
        if name in keys
        else [cell_text(row[index]) for row in rows]
        for index, name in enumerate(columns)
    ]
    for row in zip(*cells, strict=True):
        table.add_row(*row)
    # Text is data here: no brackets or colons in it are markup.
    plain: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
    console = Console(**plain)
    if not console.is_terminal:
        width = Console(width=10_000, **plain).measure(table).maximum
        console = Console(width=width, **plain)
    console.print(table)


def cell_text(value: Any) -> str:
    """A table cell: four significant digits, nothing for null, nothing that steers a terminal."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return printable(str(value))


def key_texts(values: list[Any]) -> list[str]:
    """Cells of a column of config values, nothing for null."""
    from results.config_values import value_texts

    texts = zip(values, value_texts(values), strict=True)
    return ["" if value is None else printable(text) for value, text in texts]


def printable(text: str) -> str:
    """`text` with what cannot be printed spelled out (`\\x1b`), line breaks left as they are."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def _fail(problems: list[str]) -> int:
    for problem in problems[:_MOST_ERRORS]:
        print(f"error: {printable(_clipped(problem))}", file=sys.stderr)
    if len(problems) > _MOST_ERRORS:
        print(f"error: and {len(problems) - _MOST_ERRORS} more like these", file=sys.stderr)
    return 2


def _clipped(text: str) -> str:
    """An error as it is unless it repeats something endless that was typed; its remedy stands at
    the end, so that stays."""
    half = _LONGEST_ERROR // 2
    return text if len(text) <= _LONGEST_ERROR else f"{text[:half]} [...] {text[-half:]}"


COMMANDS = (
    "plan",
    "run",
    "simulate",
    "jobs",
    "store",
    "results",
)


def main() -> None:
    """Entry point: one sentence per error. Exit status 2 for a wrong request, 130 after Ctrl-C."""
    # Importing these registers their commands, in the order of --help.
    for name in COMMANDS:
        importlib.import_module(f"orchestrator.cli.{name}")
    sys.exit(_run())


def _run() -> int:
    with contextlib.suppress(AttributeError):
        # What the terminal's encoding lacks is spelled out, as Python does on standard error.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
    at_end.clear()
    try:
        returned = app(standalone_mode=False)
        for say in at_end:
            say()
        return returned if isinstance(returned, int) else 0
    except BrokenPipeError:
        # The reader of a pipe has gone (`| head`); nothing is left to say, nor anyone to hear it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> int:
    shown = getattr(error, "show", None)  # the argument parser's own errors format themselves
    if hasattr(error, "exit_code"):
        if shown is not None:
            shown()
        return int(error.exit_code)  # type: ignore[attr-defined]
    # Only here: they are slow to import, and --help needs neither.
    from orchestrator.plan.studies import StudyFileError
    from results import StoreError

    expected = isinstance(error, (RequestError, StoreError, StudyFileError))
    if os.environ.get("GRADSWEEP_TRACEBACK"):
        traceback.print_exception(error)
    elif isinstance(error, StudyFileError) and error.__cause__ is not None:
        _show_user_frames(error.__cause__)
    elif not expected:
        _show_user_frames(error)
    if expected:
        return _fail(getattr(error, "problems", [str(error)]))
    hint = " (gradsweep --traceback ... shows where)"
    print(f"error: {type(error).__name__}: {error}{hint}", file=sys.stderr)
    return 1


def _show_user_frames(error: BaseException) -> None:
    """The frames of a user's own study file, which are theirs to read."""
    ours = Path(__file__).resolve().parents[2]
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [
        f
        for f in frames
        if not Path(f.filename).resolve().is_relative_to(ours)
        and "site-packages" not in f.filename
        and "importlib" not in f.filename
        and Path(f.filename).is_file()
    ]
    for line in traceback.format_list(theirs):
        print(line, end="", file=sys.stderr)
