"""What a space's trials came to: a metric of each at its last or best epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from results.ask.named_queries import nothing_yet, space_name, targets_of
from results.errors import StoreError, nearest
from results.schema import FINISHED, MEASURED
from results.store.metric_columns import measured

if TYPE_CHECKING:
    from results.store.store import Store

Row = dict[str, Any]


def metric_sql(name: str) -> str:
    """A metric of `epochs` as SQL: a column, or a name in its map of task metrics.

    Raises:
      StoreError: neither a numeric column nor a plain name.
    """
    columns = [*MEASURED, "epoch", "bad_step"]
    if name in columns:
        return name
    bare = name.removeprefix("metrics.")
    if not bare.replace("_", "").replace(".", "").isalnum():
        raise StoreError(f"no metric {name!r}{nearest(name, columns)}; see `query --schema`.")
    return measured(bare)


def best_first(metric: str, mode: str) -> str:
    """ORDER BY of a trial's epochs, the best in `metric` first, of equal ones the earliest."""
    value = metric_sql(metric)
    direction = "ASC" if mode == "min" else "DESC"
    return f"isfinite({value}) DESC NULLS LAST, {value} {direction}, epoch"


def rows_at(
    store: Store,
    data: Mapping[str, Any],
    keys: Sequence[str],
    metric: str,
    report: str,
    order: str,
) -> list[Row]:
    """The space's own trials, parents left out, each with its keys and its metrics at the epoch
    that comes first in `order`.

    Returns:
      Rows with `trial_id`, `status`, `key` (by name), `metric`, `report`, and what each counts as:
      `diverged`, `pruned` (known up to an epoch only) and `missing` (no result).

    Raises:
      StoreError: unknown key or metric; no trial of the space has a result.
    """
    columns = store.config_columns
    unknown = [key for key in keys if key not in columns]
    if unknown:
        raise StoreError(
            f"no trial here has the key {unknown[0]!r}{nearest(unknown[0], columns)}; "
            "see `query --schema`."
        )
    wanted = targets_of(data)
    chosen = ", ".join(f't."{columns[key]}" AS k{i}' for i, key in enumerate(keys))
    found = store.sql(
        f"""
        WITH last AS (
            SELECT trial_id, {metric_sql(metric)} AS metric, {metric_sql(report)} AS report
            FROM all_epochs WHERE trial_id IN (SELECT unnest($ids))
            QUALIFY row_number() OVER (PARTITION BY trial_id ORDER BY {order}) = 1
        )
        SELECT t.trial_id, t.status, t.bad_epoch, l.metric, l.report{", " + chosen if keys else ""}
        FROM all_trials t LEFT JOIN last l USING (trial_id)
        WHERE t.trial_id IN (SELECT unnest($ids))
        ORDER BY t.trial_id
        """,
        {"ids": list(wanted)},
    ).rows()
    for row in found:
        row["key"] = {key: row.pop(f"k{i}") for i, key in enumerate(keys)}
        row["diverged"] = row["status"] == "diverged" or row["bad_epoch"] is not None
        values = (row["metric"], row["report"])
        row["pruned"] = row["status"] == "pruned"
        row["missing"] = not row["pruned"] and (
            row["status"] not in FINISHED
            or (not row["diverged"] and any(v is None or math.isnan(v) for v in values))
        )
    if all(row["missing"] or row["pruned"] for row in found):
        if found and all(row["status"] in FINISHED for row in found):
            both = metric if metric == report else f"{metric} and {report}"
            close = nearest(metric, [*MEASURED, *store.metrics])
            raise StoreError(f"no trial of this space has {both}{close}; choose another --metric.")
        raise StoreError(nothing_yet(store, space_name(data), wanted, "a result"))
    return found


def sortable(value: Any) -> tuple[int, Any]:
    """What sorts values of a key, null and numbers and words among them."""
    if value is None:
        return (0, 0)
    return (1, value) if isinstance(value, (int, float)) else (2, str(value))
