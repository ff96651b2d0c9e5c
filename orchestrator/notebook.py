"""What a notebook shows of a result, and one display that is updated while something runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from orchestrator.units import duration, size_text
from results.ask.units import unit_of, with_unit
from results.html_tables import escaped, table_of

MOST_ROWS, MOST_NOTES = 20, 5
"""Rows of a table, and sentences below it; a cell of a notebook is no place for more."""


def shell() -> Any | None:
    """The shell of the Jupyter kernel that this process is; None anywhere else."""
    if "IPython" not in sys.modules:
        return None
    found = sys.modules["IPython"].get_ipython()
    return found if hasattr(found, "kernel") else None


def plans_html(plans: Sequence[Any]) -> str:
    """Plans of spaces as a table."""
    heads = ["space", "trials", "done", "to run", "packs", "programs", "rows to come",
             "one worker's time"]  # fmt: skip
    rows = [
        [one.name, len(one.trials), len(one.done), len(one.to_run), len(one.packs),
         len(one.programs), size_text(one.bytes),
         "" if one.seconds is None else duration(one.seconds)]
        for one in plans
    ]  # fmt: skip
    notes = [
        f"{one.name}: {len(one.blocked)} blocked by their parents" for one in plans if one.blocked
    ]
    notes += [f"warning: {text}" for one in plans for text in one.warnings]
    then = [f"launch({one.name!r})" for one in plans if one.to_run]
    done = [f"plot(open_store('store'), {one.name!r})" for one in plans if one.done]
    return _section("Plan", heads, rows, notes, (then or done)[:1])


def debug_title(result: Any) -> str:
    """What trial ran, and how it ended."""
    why = f", {result.reason}" if result.reason else ""
    count = len(result.rows.get("epochs") or ())
    return f"{result.trial.id}: {result.status} after {count} epochs{why}"


def debug_html(result: Any) -> str:
    """The last epochs of a trial as a table."""
    epochs = result.rows.get("epochs") or []
    shown = ("epoch", "loss", "val_loss", "val_accuracy", "grad_norm", "bad_step")
    names = [name for name in shown if any(row.get(name) is not None for row in epochs)]
    heads = [with_unit(name, unit_of(name, result.trial.loss_unit or "")) for name in names]
    last = [[row[name] for name in names] for row in epochs[-8:]]
    counts = ", ".join(f"{len(rows)} of {table}" for table, rows in result.rows.items())
    notes = [f"It recorded rows: {counts}." if counts else "It recorded no rows."]
    notes += [f"First non-finite: {result.culprit}"] if result.culprit else []
    then = ["import pandas", "pandas.DataFrame(_.rows['epochs'])"]
    return _section(f"Trial {debug_title(result)}", heads, last, notes, then)


def launch_title(result: Any) -> str:
    """What ran, for how long, and where its results are."""
    said = ", ".join(f"{count} {status}" for status, count in sorted(result.counts.items()))
    what = f"job {result.job}" if result.job else f"{result.ran} trials run: {said}"
    return f"{what}; {duration(result.seconds)}; {result.store}"


def launch_html(result: Any) -> str:
    """Trials of a launch by status, and why some have no result."""
    rows = [[status, count] for status, count in sorted(result.counts.items())]
    notes = [f"Stopped: {result.error}"] if result.error else []
    notes += ["Stopped before its end; the same call runs what is left."] * result.interrupted
    notes += ["Its time budget is used up; the same call goes on."] * result.time_up
    notes += [f"{trial}: {why}" for trial, why in sorted(result.reasons.items())]
    then = [f"store = open_store({result.store!r})"]
    then += [f"plot(store, {one.name!r})" for one in result.plans[:1]]
    then += ["store.sql('select verdict, count(*) from diagnosis group by 1').df()"]
    title = f"Launch: {launch_title(result)}"
    return _section(title, ["status", "trials"], rows, notes, then)


def _section(
    title: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[Any]],
    notes: Sequence[str],
    then: Sequence[str],
) -> str:
    """A title, a table, sentences, and lines of Python for the next step."""
    parts = [f"<p><b>{escaped(title)}</b></p>", table_of(heads, rows[:MOST_ROWS])]
    more = [f"and {len(rows) - MOST_ROWS} more rows"] if len(rows) > MOST_ROWS else []
    more += notes[:MOST_NOTES]
    more += [f"and {len(notes) - MOST_NOTES} more like these"] if len(notes) > MOST_NOTES else []
    parts += [f"<p>{escaped(text)}</p>" for text in more]
    code = "<br>".join(f"<code>{escaped(line)}</code>" for line in then)
    parts += [f"<p>next:<br>{code}</p>"] if code else []
    return f"<div>{''.join(parts)}</div>"


class Updated:
    """One output of a notebook's cell, replaced at each call."""

    def __init__(self, shell: Any):
        self._publish = shell.display_pub.publish
        self._name = f"gradsweep-{id(self):x}"
        self._shown = False

    def __call__(self, text: str, done: int, total: int) -> None:
        """Shows a bar and a line of text."""
        bar = f'<progress value="{done}" max="{max(total, 1)}"></progress>'
        self._publish(
            data={"text/plain": text, "text/html": f"{bar} {escaped(text)}"},
            metadata={},
            transient={"display_id": self._name},
            update=self._shown,
        )
        self._shown = True
