"""A sweep whose bad trials are pruned, for tests that kill it, and what its store must show."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import duckdb

from results import Store, open_store
from results.store.views import quoted, view_name
from tests.support.stores import IGNORED, parts

CHANGES = ("lr=0.3,0.1,0.03", "seed=0,1", "epochs=120")
"""24 trials of two programs in 12 cells, for `launches.SPACE` with `TINY`."""

WIDTH, GRACE, FACTOR = 4, 8, 2
"""Fewer slots than trials, so that these follow one another in a slot; a width has its own
numbers. Rungs are after 8, 16, 32 and 64 epochs."""

OPTIONS: dict[str, Any] = {
    "prune": "halving", "metric": "val_loss", "grace": GRACE, "factor": FACTOR, "over": "seed",
    "within": "none", "width": WIDTH,
}  # fmt: skip
"""Of a launch in this process."""


def words(rule: str | None) -> list[str]:
    """The options of a launch; without a rule, of one that runs all trials to their ends."""
    options = OPTIONS | {"prune": rule} if rule else {"width": WIDTH}
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def check_ends(at: Path) -> None:
    """Every trial has one end, after a `prune` or after none, and all rows that it says it has."""
    store = open_store(str(at))
    ids = [one for (one,) in store.sql("SELECT trial_id FROM trials").fetchall()]
    assert len(ids) == 24
    for state in store.completeness(ids).values():
        assert state["done"] or state["status"] == "pruned"
        assert not state["missing"]
        assert state["rows"]
    said = Counter(
        duckdb.execute(
            "SELECT trial_id, attempt, event FROM read_parquet($at)",
            {"at": [str(part) for part in parts(at, "trials")]},
        ).fetchall()
    )
    assert set(said.values()) == {1}
    ended = store.sql(
        "SELECT trial_id FROM attempts WHERE status NOT IN ('paused', 'interrupted', 'running')"
    ).fetchall()
    assert sorted(ended) == sorted((one,) for one in ids)
    last = {row["trial_id"]: row["verdict"] for row in store.decisions().to_pylist()}
    status = dict(store.sql("SELECT trial_id, status FROM trials").fetchall())
    assert {i for i, s in status.items() if s == "pruned"} == {
        i for i, verdict in last.items() if verdict == "prune"
    }


def check_decisions(at: Path, rule: str) -> None:
    """Each was taken once, on values that `epochs` shows, and as the rule says of those that it
    was held against."""
    store = open_store(str(at))
    rows = store.decisions().to_pylist()
    assert len({(row["trial_id"], row["rung"]) for row in rows}) == len(rows)
    values: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
    found = store.sql(
        "SELECT trial_id, seed, epoch + 1, val_loss FROM epochs JOIN trials USING (trial_id)"
    ).fetchall()
    for one, seed, epochs, value in found:
        values[one, epochs][seed] = math.nan if value is None else value
    cells: dict[str, list[str]] = defaultdict(list)
    for one, config in store.sql("SELECT trial_id, config FROM trials").fetchall():
        rest = {name: value for name, value in json.loads(config).items() if name != "seed"}
        cells[json.dumps(rest, sort_keys=True)].append(one)
    cell_of = {one: sorted(ids) for ids in cells.values() for one in ids}
    before: dict[int, dict[str, float]] = defaultdict(dict)
    for row in rows:
        cell, rung = cell_of[row["trial_id"]], row["rung"]
        reached = [list(values[one, row["epoch"]].values()) for one in cell]
        mean = sum(one for (one,) in reached) / len(cell) if all(reached) else math.nan
        value = math.nan if row["value"] is None else row["value"]
        assert value == mean or (math.isnan(value) and math.isnan(mean))
        if rule == "asha":
            _check_asha(row, cell[0], value, before[rung])
        else:
            held = json.loads(row["against"])
            best = list(held)[: max(1, len(held) // FACTOR)]
            assert row["verdict"] == ("go" if cell[0] in best else "prune")


def _check_asha(row: dict[str, Any], cell: str, value: float, before: dict[str, float]) -> None:
    held = json.loads(row["against"])
    assert held == {one: other for one, other in before.items() if one != cell}
    if math.isnan(value):
        assert row["verdict"] == "prune"
        return
    before[cell] = value
    ranked = sorted(before.values())
    best = ranked[max(len(ranked) // FACTOR, 1) - 1]
    assert row["verdict"] == ("go" if value <= best else "prune")


def rows_of_another(full: Path | Store, part: Path | Store) -> dict[str, int]:
    """By table, how many rows of epochs, layers, steps and probes of one store are not those of
    another, in which trials ran to their ends."""
    stores = [at if isinstance(at, Store) else open_store(str(at)) for at in (full, part)]
    found = {}
    for table in stores[1].index.tables:
        if (name := view_name(table)) in ("trials", "decisions"):
            continue
        con = duckdb.connect()
        for side, store in zip(("a", "b"), stores, strict=True):
            frame = store.sql(f"SELECT * FROM {quoted(f'all_{name}')}").arrow()
            ignored = IGNORED.get(name, ("attempt", "launch_id"))
            con.register(side, frame.select(sorted({*frame.column_names} - {*ignored})))
        found[name] = len(con.sql("FROM b EXCEPT ALL FROM a").fetchall())
    assert "epochs" in found
    return {name: number for name, number in found.items() if number}
