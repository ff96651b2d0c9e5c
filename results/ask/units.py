"""What numbers are in: units of columns and metrics, a loss's from the trials that have it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from results.ask.named_queries import space_of, targets_of
from results.schema import DIAGNOSIS, EPOCHS, LOSS_UNIT, TRIALS
from results.store.metric_columns import MetricColumn, metric_columns

if TYPE_CHECKING:
    from results.store.store import Store

_UNITS = {column.name: column.unit for column in (*TRIALS, *DIAGNOSIS, *EPOCHS)}


def unit_of(
    name: str, loss_unit: str = "", metrics: Mapping[str, MetricColumn] | None = None
) -> str:
    """The unit of a column of `trials`, `epochs` or `diagnosis`, or of a metric; "" where it has
    none, or none that is known.

    Args:
      metrics: what is declared of metrics, by name (`metrics_of`).
    """
    bare = name.removeprefix("metrics.")
    if bare not in _UNITS and metrics and bare in metrics:
        return metrics[bare].unit
    unit = _UNITS.get(bare, "fraction" if bare.endswith("accuracy") else "")
    if unit == LOSS_UNIT:
        return loss_unit
    return f"{loss_unit}{unit.removeprefix('loss')}" if loss_unit and _per_loss(unit) else unit


def with_unit(words: str, unit: str) -> str:
    """`words (unit)`; the words alone where there is none or they name it: epochs done, seconds."""
    word = "second" if unit == "s" else unit.removesuffix("s")
    named = re.search(rf"(?<![A-Za-z0-9]){re.escape(word)}s?(?![A-Za-z0-9])", words)
    return words if named or not unit else f"{words} ({unit})"


def one_unit(units: Iterable[str | None]) -> str:
    """The unit that all losses are in, or the units joined by `or`; "" where one is not known."""
    found = list(dict.fromkeys(units))
    return " or ".join(unit for unit in found if unit) if all(found) else ""


def loss_unit(store: Store, ids: Iterable[str], known: str | None = None) -> str:
    """What the losses of these trials are in, as `one_unit` says; `known` for those that were
    stored before their unit was."""
    rows = store.sql(
        "SELECT DISTINCT loss_unit FROM all_trials WHERE trial_id IN (SELECT unnest($ids)) "
        "ORDER BY 1",
        {"ids": list(ids)},
    ).fetchall()
    return one_unit(unit or known for (unit,) in rows)


def metrics_of(store: Store, ids: Iterable[str]) -> dict[str, MetricColumn]:
    """The metrics that these trials record, by name, as their tasks declare them."""
    known = store.metrics
    if not known:
        return {}
    rows = store.sql(
        "SELECT DISTINCT metric_columns FROM all_trials WHERE trial_id IN (SELECT unnest($ids)) "
        "AND metric_columns IS NOT NULL ORDER BY 1",
        {"ids": list(ids)},
    ).fetchall()
    own = metric_columns((text for (text,) in rows), ())
    return {name: replace(own[name], column=known[name].column) for name in own if name in known}


def reported(
    store: Store, space: str | Mapping[str, Any], report: str | None, metric: str | None
) -> str:
    """The metric that `best` reports of a space, with its unit."""
    data = space_of(store, space) if isinstance(space, str) else space
    rule = data.get("select") or {}
    name = str(report or rule.get("report") or metric or rule.get("metric") or "val_loss")
    ids = targets_of(data)
    unit = loss_unit(store, ids, data.get("loss_unit"))
    return with_unit(name, unit_of(name, unit, metrics_of(store, ids)))


def _per_loss(unit: str) -> bool:
    return unit.startswith("loss/")
