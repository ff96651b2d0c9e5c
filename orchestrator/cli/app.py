"""The command line: parses, calls, prints. `gradsweep --help` imports neither Ray nor JAX."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Collection
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from orchestrator.errors import RequestError
from orchestrator.stopping import SIGNALS, Stopping, silence, status_of
from orchestrator.terminal import console, out, printable, say_on_stderr
from orchestrator.user_code import (
    UserExitError,
    described,
    guarded,
    raised_by_user,
    user_frames,
)

_MOST_ERRORS = 50
_LONGEST_ERROR = 1600

at_end: list[Callable[[], None]] = []
"""What the command under way has to say when it has ended."""


class _Ended(BaseException):
    """The command under way was asked to end, by signal `number`."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


class _Commands(TyperGroup):
    """Hears of Ctrl-C and of a closed pipe before typer, which has its own way with both."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _Ended(getattr(error, "number", signal.SIGINT)) from error
        except BrokenPipeError:
            silence(sys.stdout)
            return 0


app = typer.Typer(
    name="gradsweep",
    cls=_Commands,
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
    str | None,
    typer.Option(
        "--study",
        metavar="FILE|MODULE",
        help="A study of your own: a Python file that sets STUDY, or a module, package.module or "
        "package.module:NAME.",
    ),
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
PruneOption = Annotated[
    str | None,
    typer.Option(
        "--prune",
        metavar="RULE",
        help="End bad trials early. halving: at each rung the best third (--factor) of all trials "
        "goes on, the same ones on any cluster. asha: the same, at once, against those that have "
        "come as far. hyperband: asha with several graces. median: ends what is worse than the "
        "median of ended trials. none: turn the space's own rule off.",
    ),
]
MetricOption = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="What --prune compares: a metric, or a column of epochs. By default what the space "
        "selects by, or val_loss.",
    ),
]
ModeOption = Annotated[
    str | None,
    typer.Option(
        "--mode", metavar="min|max", help="Which end of --metric is better, if nothing declares it."
    ),
]
GraceOption = Annotated[
    int | None,
    typer.Option(
        "--grace",
        help="Epochs before --prune first judges a trial: 5 if left out. Then after grace*factor, "
        "grace*factor^2, ... epochs; median: every grace epochs.",
    ),
]
FactorOption = Annotated[
    int | None,
    typer.Option("--factor", help="Of this many trials at a rung, one goes on: 3 if left out."),
]
OverOption = Annotated[
    list[str] | None,
    typer.Option(
        "--over",
        metavar="KEY",
        help="Judge trials that differ only in this key together, by their mean: seed. Repeatable.",
    ),
]
WithinOption = Annotated[
    list[str] | None,
    typer.Option(
        "--within",
        metavar="KEY",
        help="Compare trials with those alone that have the same value of this key. Repeatable. If "
        "left out, the swept keys that the space neither chooses nor averages over; none: compare "
        "all.",
    ),
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


def dump(value: Any) -> None:
    """`value` as JSON on standard output."""
    out(json_text(value))


def json_text(value: Any, indent: int | None = 1) -> str:
    """JSON of plain data in printable ASCII; numbers JSON cannot hold become "nan", "inf" and
    "-inf"."""
    try:
        text = json.dumps(value, indent=indent, allow_nan=False, default=str)
    except ValueError:
        text = json.dumps(_plain(value), indent=indent, allow_nan=False, default=str)
    return text.replace("\x7f", "\\u007f")


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
    from rich.table import Table

    title = None if title is None else printable(title)
    table = Table(title=title, title_justify="left", title_style="bold")
    for index, name in enumerate(columns):
        numeric = any(isinstance(row[index], (int, float)) for row in rows)
        justify = "right" if numeric else "left"
        table.add_column(printable(name), justify=justify, overflow="fold")
        table.columns[-1].no_wrap = name == "trial_id"
    cells = [
        key_texts([row[index] for row in rows])
        if name in keys
        else [cell_text(row[index]) for row in rows]
        for index, name in enumerate(columns)
    ]
    for row in zip(*cells, strict=True):
        table.add_row(*row)
    shown = console()
    if not shown.is_terminal:
        shown.width = 10_000
        shown.width = shown.measure(table).maximum
    shown.print(table)


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


def _fail(problems: list[str]) -> int:
    for problem in problems[:_MOST_ERRORS]:
        say_on_stderr(f"error: {_clipped(problem)}")
    if len(problems) > _MOST_ERRORS:
        say_on_stderr(f"error: and {len(problems) - _MOST_ERRORS} more like these")
    return 2


def _clipped(text: str) -> str:
    """An error as it is unless it repeats something endless that was typed; its remedy stands at
    the end, so that stays."""
    half = _LONGEST_ERROR // 2
    return text if len(text) <= _LONGEST_ERROR else f"{text[:half]} [...] {text[-half:]}"


COMMANDS = (
    "plan",
    "run",
    "promote",
    "simulate",
    "jobs",
    "store",
    "results",
    "draw",
    "board",
    "import_sweep",
    "measure",
    "weights",
)


def main() -> None:
    """Entry point: one sentence per error. Exit status 2 for a wrong request, 130 after Ctrl-C, 143
    after SIGTERM, 129 when its terminal has gone."""
    with Stopping([one for one in SIGNALS if one is not signal.SIGINT]):
        status = _run()
    bounds = sys.modules.get("results.bounds")
    if bounds is not None and bounds.left_running():  # and would hold up a usual exit
        importlib.import_module("orchestrator.cli.rows").drop_unfinished()
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


def _run() -> int:
    with contextlib.suppress(AttributeError):
        # What the terminal's encoding lacks is spelled out, as Python does on standard error.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
    at_end.clear()
    try:
        # Importing these registers their commands, in the order of --help.
        for name in COMMANDS:
            importlib.import_module(f"orchestrator.cli.{name}")
        with guarded():
            returned = app(standalone_mode=False)
        for say in at_end:
            say()
        return returned if isinstance(returned, int) else 0
    except BrokenPipeError:
        # The reader of a pipe has gone (`| head`); nothing is left to say, nor anyone to hear it.
        silence(sys.stdout)
        return 0
    except (_Ended, KeyboardInterrupt) as error:
        with contextlib.suppress(OSError):
            say_on_stderr("stopped")
        return status_of(getattr(error, "number", signal.SIGINT))
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> int:
    show = getattr(error, "show", None)  # the argument parser's own errors format themselves
    if hasattr(error, "exit_code"):
        if show is not None:
            with contextlib.redirect_stderr(io.StringIO()) as shown:
                show()
            say_on_stderr(shown.getvalue().rstrip("\n"))
        return int(error.exit_code)  # type: ignore[attr-defined]
    # Only here: they are slow to import, and --help needs neither.
    from orchestrator.plan.studies import StudyFileError
    from results import StoreError
    from trainables.declarations import PartError

    expected = isinstance(error, (RequestError, StoreError, StudyFileError, PartError))
    cause = error.__cause__ if isinstance(error, StudyFileError) else error
    if os.environ.get("GRADSWEEP_TRACEBACK"):
        say_on_stderr("".join(traceback.format_exception(error)).rstrip("\n"))
    elif cause is not None and (cause is not error or not expected):
        for line in traceback.format_list(user_frames(cause)):
            say_on_stderr(line.rstrip("\n"))
    if expected:
        return _fail(getattr(error, "problems", [str(error)]))
    theirs = isinstance(error, UserExitError) or raised_by_user(error)
    hint = "" if theirs else " (gradsweep --traceback ... shows where)"
    say_on_stderr(f"error: {_clipped(described(error))}{hint}")
    return 1
