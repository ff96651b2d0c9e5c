"""Names of metrics: which a task may record, and which a trial may watch.

Asked of what is declared when a space is planned, and of what a compiled epoch gives when a pack
starts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from results.ask.explanation import RUNS
from results.schema import EPOCHS, KEYS, MEASURED
from trainables.declarations import Metric, Part, PartError, Trial, nearest
from trainables.declarations.core.keys import shown

WATCHED = ("monitor", "stop_on")
"""Keys whose value is the name of a column of `epochs` or of a metric."""
DEFAULT_MONITOR = "val_loss"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAKEN = {column.name.lower() for column in (*KEYS, *EPOCHS, *RUNS)}
_OURS = "trainables."
_SCHEDULED = ("lr", "lr_recurrent", "clip_fraction")
"""What schedules of ours record."""


def metric_problems(task: Part) -> list[str]:
    """Says what is wrong with the metrics that a task declares: a sentence for each fault."""
    declared = getattr(task, "metric_columns", ())
    what = f"metric_columns of task {task.name}"
    if not isinstance(declared, (tuple, list)):
        return [f"{what} must be a tuple of Metric objects; got {shown(declared)}"]
    found, columns = [], []
    for metric in declared:
        if not isinstance(metric, Metric):
            found.append(f"{what} must be Metric objects; got {shown(metric)}")
        elif not isinstance(metric.name, str):
            found.append(f"the name of a metric of task {task.name} must be a string; got "
                         f"{shown(metric.name)}")  # fmt: skip
        else:
            own = [f"{of}{metric.name}" for of in ("", "val_", "test_")]
            columns += own
            found += name_problems(task.name, own)[:1]
            if metric.mode not in ("min", "max"):
                found.append(f"mode of metric {metric.name} of task {task.name} must be min or max,"
                             f" whichever end is better; got {shown(metric.mode)}")  # fmt: skip
            if not isinstance(metric.unit, str):
                found.append(f"unit of metric {metric.name} of task {task.name} must be a string; "
                             f"got {shown(metric.unit)}")  # fmt: skip
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        found.append(f"two metrics of task {task.name} would fill the column {twice[0]}; rename "
                     "one")  # fmt: skip
    return found


def name_problems(task: str, names: Iterable[str]) -> list[str]:
    """Says which columns of metrics cannot have their names: a sentence for each."""
    found = []
    for name in names:
        if not _NAME.fullmatch(name):
            found.append(
                f"task {task} records the metric {shown(name)}, which cannot be a column; use "
                "letters, digits and _ only, a letter first"
            )
        elif name.lower() in _TAKEN:
            found.append(
                f"task {task} records the metric {name}, but every store has a column of that name "
                f"already; call it {_other(name)}, say"
            )
    return found


def _other(name: str) -> str:
    """A name in place of one that is taken."""
    of = next((of for of in ("val_", "test_") if name.startswith(of)), "")
    return f"task_{name.removeprefix(of)}"


def watched_problems(trial: Trial) -> list[str]:
    """Says which watched names its task cannot record, as far as the task declares what it does:
    others are looked at when the pack starts."""
    task: Any = trial.parts.get("task")
    stage, optimizer = trial.stage, trial.parts.get("optimizer")
    if task is None:
        return []
    ours = not task.build and str(task.runtime).startswith(_OURS)
    schedule = getattr(optimizer, "schedule", _OURS)
    if (
        not (ours or task.metric_columns)
        or not str(stage.build).startswith(f"{_OURS}training")
        or not (isinstance(schedule, str) and schedule.startswith(_OURS))
    ):
        return []
    known = {*MEASURED, *trial.metrics, *_SCHEDULED}
    return _unknown(trial, known, f"task {task.name} does not record")


def require_names(trial: Trial, metrics: Iterable[str]) -> None:
    """Raises PartError where a metric that a program records cannot be a column."""
    task = trial.parts.get("task")
    problems = name_problems(task.name if task else trial.stage.name, metrics)
    if problems:
        raise PartError(problems[0])


def require_watched(trial: Trial, recorded: Collection[str]) -> None:
    """Raises PartError where a trial watches what its compiled epoch does not give.

    Args:
      recorded: columns of `epochs` and metrics that it gives.
    """
    problems = _unknown(trial, recorded, "no epoch of this trial records")
    if problems:
        raise PartError(problems[0])


def _unknown(trial: Trial, known: Collection[str], who: str) -> list[str]:
    found = []
    for key in WATCHED:
        name = trial.config.get(key)
        # What nobody reads need not be there: `stop_on` without `stop_below`, and the default.
        unread = key == "stop_on" and trial.config.get("stop_below") is None
        if name is None or unread or name in known or _unused_default(trial, key, name):
            continue
        metrics = [column for column in known if column not in MEASURED]
        there = f"; its metrics are {', '.join(sorted(metrics))}" if metrics else ""
        found.append(f"{key}={name}: {who} {shown(name)}{nearest(str(name), known)}{there}")
    return found


def _unused_default(trial: Trial, key: str, name: Any) -> bool:
    watches = trial.config.get("early_stopping") is not None
    watches |= trial.config.get("keep_weights") == "best"
    return key == "monitor" and name == DEFAULT_MONITOR and not watches
