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
from trainables.declarations.tasks.base import OVER_TIME

DEFAULT_MONITOR = "val_loss"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAKEN = {column.name.lower() for column in (*KEYS, *EPOCHS, *RUNS)}
_COLUMNS = frozenset(MEASURED)
_OURS = "trainables."
_SCHEDULED = ("lr", "lr_recurrent", "clip_fraction")
"""What schedules of ours record."""
_USUAL = tuple(f"{of}{metric.name}" for metric in OVER_TIME for of in ("val_", "test_"))
"""What classifying tasks record."""


def metric_problems(part: Part) -> list[str]:
    """Says what is wrong with the metrics that a task or a stage declares: a sentence for each
    fault."""
    declared, whose = getattr(part, "metric_columns", ()), f"{part.role} {part.name}"
    if not isinstance(declared, (tuple, list)):
        return [
            f"metric_columns of {whose} must be a tuple of Metric objects; got {shown(declared)}"
        ]
    found, columns = [], []
    for metric in declared:
        if not isinstance(metric, Metric):
            found.append(f"metric_columns of {whose} must be Metric objects; got {shown(metric)}")
            continue
        what = f"metric {metric.name} of {whose}"
        if not isinstance(metric.name, str):
            found.append(
                f"the name of a metric of {whose} must be a string; got {shown(metric.name)}"
            )
            continue
        own = [f"{of}{metric.name}" for of in ("", "val_", "test_")]
        columns += own
        found += name_problems(whose, own)[:1]
        if metric.mode not in ("min", "max"):
            found.append(
                f"mode of {what} must be min or max, whichever end is better; got "
                f"{shown(metric.mode)}"
            )
        if not isinstance(metric.unit, str):
            found.append(f"unit of {what} must be a string; got {shown(metric.unit)}")
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        found.append(f"two metrics of {whose} would fill the column {twice[0]}; rename one")
    return found


def name_problems(whose: str, names: Iterable[str]) -> list[str]:
    """Says which columns of metrics cannot have their names: a sentence for each.

    Args:
      whose: they are, as "task spirals".
    """
    found = []
    for name in names:
        if not _NAME.fullmatch(name):
            found.append(
                f"{whose} records the metric {shown(name)}, which cannot be a column; use letters, "
                "digits and _ only, a letter first"
            )
        elif name.lower() in _TAKEN:
            found.append(
                f"{whose} records the metric {name}, but every store has a column of that name "
                f"already; call it {_other(name)}, say"
            )
    return found


def _other(name: str) -> str:
    """A name in place of one that is taken."""
    of = next((of for of in ("val_", "test_") if name.startswith(of)), "")
    return f"my_{name.removeprefix(of)}"


def watched_problems(trial: Trial) -> list[str]:
    """Says which watched names its task cannot record, as far as the task declares what it does:
    others are looked at when the pack starts."""
    return undeclared(trial, _watched(trial))


def undeclared(trial: Trial, named: Iterable[tuple[str, Any]]) -> list[str]:
    """Says which of these names are none that the trial's epochs can have, as far as its task
    declares them: a sentence for each.

    Args:
      named: each with the option or key that names it.
    """
    columns = None
    if not all(name in _COLUMNS for _, name in named):
        columns = _declared_columns(trial)
    if columns is None:
        return []
    task: Any = trial.parts["task"]
    found = _unknown(named, columns, f"task {task.name} declares no metric")
    hint = "; declare what its `metrics` returns in metric_columns"
    return [text + hint if getattr(task, "metrics", None) else text for text in found]


def _declared_columns(trial: Trial) -> set[str] | None:
    """Names of what the trial's epochs can have; None where only the compiled epoch knows."""
    task: Any = trial.parts.get("task")
    if task is None:
        return None
    stage, optimizer = trial.stage, trial.parts.get("optimizer")
    known = task.metric_columns or (
        getattr(task, "metrics", None) is None and str(task.runtime).startswith(_OURS)
    )
    schedule = getattr(optimizer, "schedule", _OURS)
    if (
        not known
        or not str(stage.build).startswith(f"{_OURS}training.epoch")
        or not (isinstance(schedule, str) and schedule.startswith(_OURS))
    ):
        return None
    return {*MEASURED, *trial.metrics, *_USUAL, *_SCHEDULED}


def declared_end(trial: Trial, name: str) -> str | None:
    """Which end of a metric is better, "min" or "max", where that is beyond doubt: what the trial's
    key says of what it watches, what its task declares, and that of losses and accuracies."""
    asked = str(trial.config.get("monitor_mode", "auto"))
    if asked != "auto" and name == trial.config.get("monitor", DEFAULT_MONITOR):
        return asked
    declared = trial.metrics.get(name)
    if declared is not None:
        return declared.mode
    if name in _COLUMNS or name in _USUAL:
        return "max" if "accuracy" in name else "min" if "loss" in name else None
    return None


def require_names(trial: Trial, metrics: Iterable[str]) -> None:
    """Raises PartError where a metric that a program records cannot be a column."""
    part = trial.parts.get("task", trial.stage)
    problems = name_problems(f"{part.role} {part.name}", metrics)
    if problems:
        raise PartError(problems[0])


def require_watched(trial: Trial, recorded: Collection[str]) -> None:
    """Raises PartError where a trial watches what its compiled epoch does not give.

    Args:
      recorded: columns of `epochs` and metrics that it gives.
    """
    problems = _unknown(_watched(trial), recorded, "no epoch of this trial records")
    if problems:
        raise PartError(problems[0])


def _watched(trial: Trial) -> list[tuple[str, Any]]:
    """Keys that name what the trial watches, and what they name. What nobody reads need not be
    there: `stop_on` without `stop_below`, and the default of `monitor`."""
    config, found = trial.config, []
    monitor = config.get("monitor")
    reads = config.get("early_stopping") is not None or config.get("keep_weights") == "best"
    if monitor is not None and (reads or monitor != DEFAULT_MONITOR):
        found.append(("monitor", monitor))
    if config.get("stop_below") is not None:
        found.append(("stop_on", config["stop_on"]))
    return found


def _unknown(named: Iterable[tuple[str, Any]], known: Collection[str], who: str) -> list[str]:
    metrics = sorted(c for c in known if c not in (*MEASURED, *_SCHEDULED, *_USUAL))
    there = f"; its metrics are {', '.join(metrics)}" if metrics else ""
    return [
        f"{key}={name}: {who} {shown(name)}{nearest(str(name), known)}{there}"
        for key, name in named
        if name not in known
    ]
