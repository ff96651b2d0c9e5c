"""Whether the store holds everything a trial should have written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypedDict

from results.schema import FINISHED, table_name
from results.views import quoted, view_name

if TYPE_CHECKING:
    from results.reading import Reader


class Completeness(TypedDict):
    """State of one trial: `missing` names the tables whose visible rows are not as many as its
    newest attempt recorded; `rows` has (held, recorded) of each."""

    done: bool
    status: str | None
    missing: list[str]
    rows: dict[str, tuple[int, int]]


def completeness(store: Reader, trial_ids: Iterable[str]) -> dict[str, Completeness]:
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
    recorded: dict[str, tuple[str, dict[str, int]]] = {
        row["trial_id"]: (row["status"], json.loads(row["rows"] or "{}"))
        for row in newest.to_pylist()
    }
    tables = {table_name(table) for _, rows in recorded.values() for table in rows}
    held = {table: row_counts(store, table, asked) for table in tables}
    found: dict[str, Completeness] = {}
    for trial in asked:
        status, rows = recorded.get(trial, (None, {}))
        counts = {t: (held[table_name(t)].get(trial, 0), int(n)) for t, n in rows.items()}
        missing = [table for table, (have, want) in counts.items() if have != want]
        done = status in FINISHED and not missing
        found[trial] = {"done": done, "status": status, "missing": missing, "rows": counts}
    return found


def row_counts(
    store: Reader, table: str, trials: list[str], before_epoch: int | None = None
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
