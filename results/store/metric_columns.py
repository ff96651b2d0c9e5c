"""Metrics as columns: which names the store's trials record, in what unit, and what each is called
in `epochs` and `runs`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from results.schema import EPOCHS, KEYS, MEASURED
from results.store.config_columns import json_object

_RESERVED = {column.name.lower() for column in (*KEYS, *EPOCHS)} | {
    "status", "stage", "launch_id", "space", "study", "verdict", "run_study", "run_verdict",
}  # fmt: skip
"""Columns of `epochs` and `runs`."""

_SETS = ("", "val_", "test_")


@dataclass(frozen=True)
class MetricColumn:
    """A metric of some trials.

    Attributes:
      name: as it is recorded.
      column: in `epochs` and `runs`: its name, or one with `metric_` in front where another column
        has that name, such as a config key's (names of SQL have no case).
      unit: "" where it has none, or trials differ in it.
      mode: "min" or "max", whichever end is better; None where nothing says it, or trials differ.
      doc: what it is, as its task says.
    """

    name: str
    column: str
    unit: str = ""
    mode: str | None = None
    doc: str = ""


def metric_columns(texts: Iterable[str | None], configs: Iterable[str]) -> dict[str, MetricColumn]:
    """The metrics that trials record, by name.

    Args:
      texts: values of the column `metric_columns` of trials; what is no such JSON is passed over.
      configs: columns of config keys.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for text in texts:
        for name, says in json_object(text).items():
            if name and "\0" not in name and isinstance(says, Mapping):
                found.setdefault(name, []).append(says)
    taken = _RESERVED | {name.lower() for name in configs}
    columns = {}
    for name in sorted(found, key=_place):
        column = name
        while column.lower() in taken:
            column = f"metric_{column}"
        taken.add(column.lower())
        columns[name] = MetricColumn(
            name,
            column,
            str(_agreed(found[name], "unit") or ""),
            mode if (mode := _agreed(found[name], "mode")) in ("min", "max") else None,
            str(_agreed(found[name], "doc") or ""),
        )
    return columns


def _place(name: str) -> tuple[str, int, str]:
    """A metric beside its values on the validation and on the test set; of names that differ in
    case, those in small letters first."""
    base = base_name(name)
    of = name[: len(name) - len(base)]
    return base.lower(), _SETS.index(of), name.swapcase()


def base_name(column: str) -> str:
    """A metric's name as its task returns it, of the name of a column."""
    of = next((of for of in _SETS[1:] if column.startswith(of) and column != of), "")
    return column.removeprefix(of)


def measured(name: str) -> str:
    """A number of an epoch as SQL over rows of `epochs`: a column that is measured, or else a
    metric."""
    return name if name in MEASURED else "metrics['" + name.replace("'", "''") + "']"


def better_end(name: str, asked: str | None, metrics: Mapping[str, MetricColumn]) -> str:
    """Which end of a metric is better: what is asked for ("min" or "max"), else what is declared of
    it, else "max" for an accuracy and "min" for anything else."""
    if asked in ("min", "max"):
        return asked
    declared = metrics[name].mode if name in metrics else None
    return declared or ("max" if "accuracy" in name else "min")


def _agreed(says: Iterable[Mapping[str, Any]], what: str) -> Any:
    """What all say that say anything; None where they differ."""
    values = {str(one[what]) for one in says if one.get(what)}
    return values.pop() if len(values) == 1 else None
