"""Whether the store holds everything a trial should have written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypedDict

from results.result import Result
from results.schema import FINISHED, table_name
from results.store.config_columns import json_object
from results.store.views import quoted, view_name


class Readable(Protocol):
    """What is asked of a store here; `reader.Reader` has it."""

    def refresh(self) -> None: ...

    def has(self, table: str) -> bool: ...

    def sql(self, query: str, params: Mapping[str, Any] | None = None) -> Result: ...


class Completeness(TypedDict):
    """State of one trial: `missing` names the tables whose visible rows are not as many as its
    newest attempt recorded, whatever its status; `rows` has (held, recorded) of each. A pruned
    trial of which nothing is missing is whole up to its last epoch."""

    done: bool
    status: str | None
    missing: list[str]
    rows: dict[str, tuple[int, int]]


def completeness(store: Readable, trial_ids: Iterable[str]) -> dict[str, Completeness]:
    """State of each trial asked for; status None for one the store has never seen.

    A trial is done when its newest attempt ended in one of `schema.FINISHED` and every table holds
    exactly the rows that attempt recorded.
    """
    store.refresh()
    asked = list(dict.fromkeys(trial_ids))
    newest = store.sql(
        "SELECT trial_id, status, rows FROM attempts WHERE newest AND trial_id IN "
        "(SELECT unnest($ids))",
        {"ids": asked},
    ).arrow()
    recorded = {row["trial_id"]: (row["status"], row["rows"]) for row in newest.to_pylist()}
    counted = {trial: recorded_rows(rows) for trial, (_, rows) in recorded.items()}
    tables = {table_name(table) for rows in counted.values() for table in rows or ()}
    held = {table: row_counts(store, table, asked) for table in tables}
    found: dict[str, Completeness] = {}
    for trial in asked:
        status, _ = recorded.get(trial, (None, None))
        rows = counted.get(trial, {})
        counts = {t: (held[table_name(t)].get(trial, 0), n) for t, n in (rows or {}).items()}
        missing = [table for table, (have, want) in counts.items() if have != want]
        if rows is None:  # its own record is damaged, so nothing tells what should be there
            missing = ["trials"]
        done = status in FINISHED and not missing
        found[trial] = {"done": done, "status": status, "missing": missing, "rows": counts}
    return found


def recorded_rows(text: str | None) -> dict[str, int] | None:
    """Rows by table that an attempt recorded; None where its record cannot be read."""
    rows = json_object(text)
    fits = all(type(count) is int for count in rows.values())
    return rows if fits and (rows or (text or "{}").strip() == "{}") else None


def row_counts(
    store: Readable, table: str, trials: list[str], before_epoch: int | None = None
) -> dict[str, int]:
    """Visible rows per trial, of epochs below `before_epoch`; none of a table without parts."""
    name = view_name(table_name(table))
    if not store.has(table):
        return {}
    # Counted once per listing of the store: a plan asks for thousands of trials one by one.
    counts = quoted(f"counts_{name}")
    result = store.sql(
        f"CREATE TEMP TABLE IF NOT EXISTS {counts} AS "
        f"SELECT trial_id, epoch, count(*) AS n FROM {quoted('all_' + name)} GROUP BY ALL; "
        f"SELECT trial_id, sum(n)::BIGINT FROM {counts} "
        "WHERE trial_id IN (SELECT unnest($ids)) AND epoch < $before GROUP BY trial_id",
        {"ids": trials, "before": 2**31 if before_epoch is None else before_epoch},
    )
    return dict(result.fetchall())
