"""What stores hold, as tests ask it: cheaply while something runs, and row by row afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from results import Store, open_store
from results.store.views import quoted, view_name

HOW_IT_RAN = (
    "attempt", "event", "first_epoch", "first_started", "started", "ended", "seconds",
    "compile_seconds", "signature", "pack", "lane", "launch_id", "host", "git_commit", "space",
    "follows", "continues", "continues_attempt",
)  # fmt: skip
"""Columns of `trials` that say how, when and where an attempt ran, not what came out."""

IGNORED = {
    "trials": HOW_IT_RAN,
    "epochs": ("attempt", "launch_id", "seconds"),
    "decisions": ("launch_id", "decided"),
}
"""Columns that stores of the same results may differ in; of other tables the first two alone."""


# ---- while something runs ------------------------------------------------------------------------


@cache
def _rows_of(part: Path) -> int:
    return pq.read_metadata(part).num_rows


@cache
def _columns_of(part: Path, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    read = pq.ParquetFile(part).read(columns=list(columns)).to_pydict()
    return list(zip(*(read[name] for name in columns), strict=True))


def parts(store: Path, table: str) -> list[Path]:
    """A table's published parts; none where there is no store yet."""
    return [path for path in (store / table).glob("*.parquet") if not path.name.startswith(".")]


def published(store: Path, table: str = "epochs") -> int:
    """How many rows a local store's parts hold, superseded ones too, by their footers: a look costs
    less than a millisecond, where `rows` lists, reads and joins everything."""
    return sum(_rows_of(part) for part in parts(store, table))


def seen(store: Path, table: str, *columns: str) -> list[tuple[Any, ...]]:
    """Those rows, of some columns. Each part is read once."""
    return [row for part in parts(store, table) for row in _columns_of(part, columns)]


def resume_points(store: Path) -> dict[str, int]:
    """trial id -> epoch at which it would go on, of those that have one and have not ended."""
    found: dict[str, int] = {}
    for index in (store / "checkpoints").glob("*.json"):
        with contextlib.suppress(FileNotFoundError):  # a newer one has just taken its place
            for lane in json.loads(index.read_text())["lanes"]:
                found[lane["trial_id"]] = max(lane["epoch"], found.get(lane["trial_id"], 0))
    over = {trial for trial, event in seen(store, "trials", "trial_id", "event") if event == 1}
    return {trial: epoch for trial, epoch in found.items() if trial not in over}


# ---- afterwards ----------------------------------------------------------------------------------


def count(store: Path, sql: str) -> int:
    """One number from a store that may not exist yet."""
    if not (store / "store.json").exists():
        return 0
    value = open_store(str(store)).sql(sql).fetchall()[0][0]
    return int(value or 0)


def rows(store: Path) -> int:
    """How many rows of epochs it shows."""
    return count(store, "SELECT count(*) FROM epochs")


def attempts(store: Path) -> list[dict[str, Any]]:
    return open_store(str(store)).attempts().to_pylist()


def whole(store: Path) -> None:
    """Asserts that every trial has epochs 0..E-1 once."""
    found = open_store(str(store)).sql(
        "SELECT t.epochs_done, list(e.epoch ORDER BY e.epoch) FROM trials t "
        "JOIN epochs e USING (trial_id) GROUP BY t.trial_id, t.epochs_done"
    )
    for done, epochs in found.fetchall():
        assert epochs == list(range(done))


def differing(
    one: Path | str | Store, other: Path | str | Store, without: Collection[str] = ()
) -> dict[str, int]:
    """How many rows one of two stores shows more often than the other, by table: {} where the
    tables of both, probes among them, and the kept weights are the same. A row that is there twice
    differs from one that is there once.

    Args:
      without: tables that are not compared.

    Raises:
      AssertionError: they show no epochs, so there is nothing to compare.
    """
    stores = [at if isinstance(at, Store) else open_store(str(at)) for at in (one, other)]
    names = {view_name(table) for store in stores for table in store.index.tables}
    found = {
        name: _differing(stores[0], stores[1], name, IGNORED.get(name, ("attempt", "launch_id")))
        for name in sorted(names - {*without})
    }
    assert any(store.sql("SELECT 1 FROM all_epochs LIMIT 1").fetchall() for store in stores)
    weights = [_weights(store) for store in stores]
    found["weights"] = len(weights[0] ^ weights[1])
    return {name: number for name, number in found.items() if number}


def _differing(one: Store, other: Store, name: str, ignored: Collection[str]) -> int:
    con, shown = duckdb.connect(), {}
    for side, store in (("a", one), ("b", other)):
        if store.has(name):
            frame = store.sql(f"SELECT * FROM {quoted(f'all_{name}')}").arrow()
            shown[side] = frame.select(sorted({*frame.column_names} - {*ignored}))
    if len({tuple(frame.column_names) for frame in shown.values()}) > 1 or len(shown) < 2:
        return sum(frame.num_rows for frame in shown.values())  # all of a table of one of them
    for side, frame in shown.items():
        con.register(side, frame)
    both = (("a", "b"), ("b", "a"))
    return sum(len(con.sql(f"FROM {x} EXCEPT ALL FROM {y}").fetchall()) for x, y in both)


def kept_epochs(store: Store) -> dict[str, list[int]]:
    """trial -> epochs of which its weights are kept, in order."""
    found: dict[str, set[int]] = {}
    for index in store.list_artifacts():
        for lane in index["lanes"]:
            found.setdefault(lane["trial_id"], set()).add(lane["epoch"])
    return {trial: sorted(epochs) for trial, epochs in found.items()}


def _weights(store: Store) -> set[tuple[str, int, str]]:
    """(trial, epoch, digest) of the weights that a store gives for each epoch it kept them of."""
    found = set()
    for trial, epoch in ((t, e) for t, epochs in kept_epochs(store).items() for e in epochs):
        digest = hashlib.sha256()
        for name, tensor in sorted(store.weights(trial, epoch).items()):
            digest.update(f"{name} {tensor.dtype} {tensor.shape} ".encode() + tensor.tobytes())
        found.add((trial, epoch, digest.hexdigest()))
    return found


@dataclass(frozen=True)
class Redone:
    """What a store's attempts did twice: epochs of trials, and seconds of training."""

    epochs: int
    seconds: float


def redone(store: Path) -> Redone:
    """From the parts themselves, since views show no superseded row. Rows that died unpublished
    with their worker are in no store and are not counted."""
    found = duckdb.execute(
        "WITH rows AS (SELECT trial_id, attempt, epoch, seconds FROM read_parquet($epochs)), "
        "starts AS (SELECT DISTINCT trial_id, attempt, first_epoch FROM read_parquet($trials)) "
        "SELECT count(*), coalesce(sum(seconds), 0) FROM rows WHERE EXISTS (SELECT 1 FROM starts "
        "WHERE starts.trial_id = rows.trial_id AND starts.attempt > rows.attempt "
        "AND starts.first_epoch <= rows.epoch)",
        {name: [str(part) for part in parts(store, name)] for name in ("epochs", "trials")},
    ).fetchall()
    return Redone(*found[0])
