"""How much a plan will write, and how long it may take."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from results import Store
from trainables.declarations import Trial
from trainables.declarations.probes.base import times_due

BYTES_PER_ROW = {"epochs": 160, "layers": 22, "steps": 32, "timeline": 3, "trials": 140}
"""Parquet bytes per row, measured on vanishing/depth after `compact`; small parts take more."""


def estimated_bytes(rows: Mapping[str, int]) -> int:
    """Bytes of Parquet for so many rows of each table."""
    return sum(BYTES_PER_ROW.get(table, 20) * count for table, count in rows.items())


def estimated_rows(trials: Sequence[Trial]) -> dict[str, int]:
    """Rows by table that the trials will write."""
    alike: dict[tuple[Any, ...], tuple[Trial, int]] = {}
    for trial in trials:
        key = trial.program, trial.epochs, *trial.recordings().values()
        alike[key] = trial, alike.get(key, (trial, 0))[1] + 1
    found: Counter[str] = Counter()
    for trial, count in alike.values():
        found.update({table: count * rows for table, rows in rows_per_trial(trial).items()})
    return dict(found)


def estimated_seconds(
    trials: Sequence[Trial], store: Store | None, done: Mapping[str, int] | None = None
) -> float | None:
    """Seconds of one worker, from past attempts; None where a program was never measured.

    Args:
      done: epochs that trials need not train, by id.
    """
    if store is None or not trials:
        return None
    pace: dict[str, list[float]] = defaultdict(list)
    for row in store.attempts().to_pylist():
        epochs = (row["epochs_done"] or 0) - (row["first_epoch"] or 0)
        if row["seconds"] and epochs > 0:
            pace[row["program"]].append(row["seconds"] / epochs)
    if any(trial.program not in pace for trial in trials):
        return None
    left = {t.id: t.epochs - (done or {}).get(t.id, 0) for t in trials}
    return sum(left[t.id] * sum(pace[t.program]) / len(pace[t.program]) for t in trials)


def rows_per_trial(trial: Trial) -> dict[str, int]:
    """Rows the trial will write, by table: layers and the timeline where the model declares its
    rows, and other probes that declare theirs."""
    return {**_rows_of_epochs(trial), **_rows_of_probes(trial)}


def _rows_of_epochs(trial: Trial) -> dict[str, int]:
    epochs = trial.epochs
    if not trial.stage.epochs_key or not (trial.stage.task_loss or trial.stage.own_weights):
        return {"trials": 2, "epochs": epochs if trial.stage.epochs_key else 0}
    steps = (
        trial.sizes.steps if "task" in trial.parts else int(trial.config["steps_per_epoch"] or 1)
    )
    first = len(set(range(min(10, steps))) | set(range(max(steps - 10, 0), steps)))
    rows = {"trials": 2, "epochs": epochs, "steps": (epochs - 1) * min(10, steps) + first}
    if "model" not in trial.parts:
        return rows
    tensors, layers = trial.rows
    rows["layers"] = epochs * (tensors + layers)
    if "timeline" in trial.probes:
        probed = times_due(trial.config["timeline_every"], epochs)
        points = min(int(trial.config["timeline_points"] or 2), trial.sizes.seq_len)
        rows["timeline"] = probed * max(layers - 1, 1) * points
    return rows


def _rows_of_probes(trial: Trial) -> dict[str, int]:
    found = {}
    for name, probe in trial.probes.items():
        times = times_due(trial.config.get(f"{name}_every"), trial.epochs)
        if probe.rows is not None and times:
            each = probe.rows(trial.config) if callable(probe.rows) else probe.rows
            found[name] = times * int(each)
    return found
