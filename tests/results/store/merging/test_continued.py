"""Trials that go on from shorter ones: rows of the epochs they share show under both ids, and are
stored once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results import Store
from tests.support.made_up_rows import (
    attempt_row,
    epoch_row,
    layer_rows,
    publish_rows,
    table,
)

NEW = Callable[[], Store]
TABLES = ("epochs", "layers", "steps", "timeline", "mine")
_EACH = {"epochs": 1, "layers": 8, "steps": 2, "timeline": 3, "mine": 1}
"""Rows of each table that an epoch has here."""


def rows_of(trial: str, epoch: int, attempt: int, loss: float, launch: str) -> dict[str, list[Any]]:
    keys = {"trial_id": trial, "attempt": attempt, "epoch": epoch, "launch_id": launch}
    layers = layer_rows(trial, epoch, [1.0], attempt=attempt)
    return {
        "epochs": [epoch_row(trial, epoch, loss, attempt, launch_id=launch)],
        "layers": [{**row, "launch_id": launch} for row in layers],
        "steps": [{**keys, "step": step, "loss": loss} for step in range(2)],
        "probes/timeline": [{**keys, "layer": 0, "t": t, "grad_norm": loss} for t in range(3)],
        "probes/mine": [{**keys, "x": loss}],
    }


@dataclass
class Run:
    """An attempt: it trains epochs `first` to `until`, each with the loss `mark`."""

    trial: str
    attempt: int
    first: int
    until: int
    mark: float
    source: tuple[str, int] | None = None
    launch: str = "one"
    columns: dict[str, Any] = field(default_factory=dict)


def rows_of_run(run: Run, columns: Mapping[str, Any]) -> list[dict[str, list[Any]]]:
    """What a pack publishes of an attempt, in order: its start, its rows, its end."""
    follows = [[run.attempt - 1, run.launch]] if run.attempt else []
    source, of = run.source or (None, None)
    own = {
        "status": "running", "first_epoch": run.first, "epochs_done": run.first,
        "epochs_planned": run.until, "launch_id": run.launch, "follows": json.dumps(follows),
        "continues": source,
        "continues_attempt": json.dumps([of, run.launch]) if source else None,
        **columns, **run.columns,
    }  # fmt: skip
    start = attempt_row(run.trial, run.attempt, 0, **own)
    rows: dict[str, list[Any]] = {}
    for epoch in range(run.first, run.until):
        for name, own in rows_of(run.trial, epoch, run.attempt, run.mark, run.launch).items():
            rows.setdefault(name, []).extend(own)
    counts = {name: run.until * n for name, n in _EACH.items()}
    end = {"event": 1, "status": "done", "epochs_done": run.until, "rows": json.dumps(counts)}
    return [{"trials": [start]}, rows, {"trials": [{**start, **end}]}]


def publish(store: Store, runs: Sequence[Run], **columns: Any) -> None:
    for run in runs:
        publish_rows(store, rows_of_run(run, columns))


def marks(store: Store, trial: str) -> dict[int, float]:
    """The loss that shows of each epoch."""
    return all_marks(store).get(trial, {})


def all_marks(store: Store) -> dict[str, dict[int, float]]:
    """The loss that shows of each epoch, by trial. Every table shows as many rows as it should."""
    store.refresh()
    shown: dict[str, dict[int, float]] = {}
    for trial, epoch, loss in store.sql(
        "SELECT trial_id, epoch, loss FROM epochs ORDER BY trial_id, epoch"
    ).fetchall():
        assert epoch not in shown.setdefault(trial, {})
        shown[trial][epoch] = loss
    for name in TABLES if shown else ():
        rows = store.sql(f"SELECT trial_id, count(*) FROM {name} GROUP BY trial_id").fetchall()
        assert dict(rows) == {trial: len(own) * _EACH[name] for trial, own in shown.items()}, name
    return shown


def closed_form(runs: Sequence[Run]) -> dict[str, dict[int, float]]:
    """Every trial's epochs, as its attempts are taken one after another: an attempt keeps what was
    there below its first epoch, of its own trial or of the attempt it goes on from."""
    after: dict[tuple[str, int], dict[int, float]] = {}
    trials: dict[str, dict[int, float]] = {}
    for run in runs:
        before = after[run.source] if run.source else trials.get(run.trial, {})
        own = {epoch: mark for epoch, mark in before.items() if epoch < run.first}
        own |= dict.fromkeys(range(run.first, run.until), run.mark)
        after[run.trial, run.attempt] = trials[run.trial] = own
    return trials


FIVE = Run("five", 0, 0, 5, 1.0)
TEN = Run("ten", 0, 5, 10, 2.0, ("five", 0))
TWENTY = Run("twenty", 0, 10, 20, 3.0, ("ten", 0))


def test_shared_epochs_show_under_both_ids_and_are_stored_once(store: Store) -> None:
    publish(store, [FIVE, TEN, TWENTY])
    whole = [1.0] * 5 + [2.0] * 5 + [3.0] * 10
    for length, trial in ((5, "five"), (10, "ten"), (20, "twenty")):
        assert list(marks(store, trial).values()) == whole[:length]
        assert store.completeness([trial])[trial]["done"]
        assert store.rows_intact(trial, length - 1, {"epochs": length - 1})
    assert store.sql("SELECT count(*) FROM files_epochs").fetchall() == [(20,)]
    verdicts = dict(store.sql("SELECT trial_id, epochs FROM diagnosis").fetchall())
    assert verdicts == {"five": 5, "ten": 10, "twenty": 20}
    assert store.sql("SELECT trial_id, count(*) FROM runs GROUP BY 1 ORDER BY 1").fetchall() == [
        ("five", 5), ("ten", 10), ("twenty", 20),
    ]  # fmt: skip
    # A longer trial's rows are its own attempts', by the launch that wrote them.
    where = store.sql("SELECT DISTINCT attempt, launch_id, space FROM runs WHERE trial_id = 'ten'")
    assert where.fetchall() == [(0, "one", "demo/grid")]


def test_what_the_shorter_trial_does_later_changes_nothing(store: Store) -> None:
    """It is run again, and is stale by then; compacting drops none of what the longer one needs."""
    again = Run("five", 1, 0, 5, 9.0, columns={"versions": {"model:rnn": 2}, "config_id": "c"})
    newer = Run("newer", 0, 0, 5, 7.0, columns={"versions": {"model:rnn": 3}, "config_id": "c"})
    publish(store, [FIVE, TEN, again, newer])
    for _ in range(2):
        assert list(marks(store, "ten").values()) == [1.0] * 5 + [2.0] * 5
        assert marks(store, "five") == {}, "stale"
        assert len(store.sql("FROM all_epochs WHERE trial_id = 'five' AND loss = 9")) == 5
        assert store.completeness(["ten"])["ten"]["done"]
        assert store.compact(grace_s=0)["dropped_rows"] >= 0
    assert store.sql("SELECT count(*) FROM files_epochs").fetchall() == [(20,)]


def test_a_longer_trial_that_starts_over_needs_the_shorter_one_no_more(store: Store) -> None:
    fresh = Run("ten", 1, 0, 10, 4.0)
    again = Run("five", 1, 0, 5, 9.0)
    publish(store, [FIVE, TEN, fresh, again])
    assert list(marks(store, "ten").values()) == [4.0] * 10
    store.compact(grace_s=0)
    assert store.sql("SELECT count(*) FROM files_epochs").fetchall() == [(15,)]
    assert list(marks(store, "ten").values()) == [4.0] * 10


@st.composite
def histories(draw: st.DrawFn) -> list[Run]:
    """Attempts at trials of 3, 6 and 9 epochs, each from epoch 0, from a state of its own trial, or
    from one of a shorter trial's attempts, whichever still shows."""
    runs: list[Run] = []
    lengths = {"a": 3, "b": 6, "c": 9}
    for number in range(draw(st.integers(1, 7))):
        trial = draw(st.sampled_from(sorted(lengths)))
        own = [run for run in runs if run.trial == trial]
        newest = {run.trial: run for run in runs}
        shorter = [run for name, run in newest.items() if name < trial and run.until]
        how = draw(st.sampled_from(["fresh", *["own"] * bool(own), *["other"] * 3 * bool(shorter)]))
        first, source = 0, None
        if how == "own":
            first = draw(st.integers(0, own[-1].until))
        elif how == "other":
            of = draw(st.sampled_from(shorter))
            first, source = draw(st.integers(1, of.until)), (of.trial, of.attempt)
        until = draw(st.integers(first, lengths[trial]))
        runs.append(Run(trial, len(own), first, until, float(number), source))
    return runs


@settings(max_examples=15)
@given(runs=histories(), cut=st.integers(0, 7))
@pytest.mark.slow
def test_whatever_goes_on_from_whatever(new_store: NEW, runs: list[Run], cut: int) -> None:
    store = new_store()
    for some in (runs[:cut], runs[cut:]):
        publish_rows(store, [rows for run in some for rows in rows_of_run(run, {})])
        store.compact(grace_s=0)
    expected = {trial: own for trial, own in closed_form(runs).items() if own}
    for _ in range(2):
        assert all_marks(store) == expected
        store.compact(grace_s=0)


@pytest.mark.parametrize("compacted", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_copied_stores_keep_what_each_went_on_from(new_store: NEW, compacted: bool) -> None:
    """Both ran the shorter trial, one of them went on from its own."""
    one, other = new_store(), new_store()
    publish(one, [FIVE])
    mine = Run("five", 0, 0, 5, 6.0, launch="two")
    longer = Run("ten", 0, 5, 10, 2.0, ("five", 0), launch="two")
    publish(other, [mine, longer])
    for store in (one, other) if compacted else ():
        store.compact(grace_s=0)
    for source, target in ((one, other), (other, one)):
        target.merge(source)
    for store in (one, other):
        for _ in range(2):
            assert list(marks(store, "ten").values()) == [6.0] * 5 + [2.0] * 5
            shown = set(marks(store, "five").values())
            assert len(shown) == 1, "one line, whole"
            assert store.completeness(["five", "ten"])["ten"]["done"]
            store.compact(grace_s=0)


@pytest.mark.parametrize(
    ("continues", "attempt"),
    [
        ("ten", '[0, "one"]'), ("eleven", '[0, "one"]'), ("eleven", '[7, "x"]'),
        ("eleven", "[{}]"), ("eleven", "["), ("nobody", None), ("", None),
    ],
)  # fmt: skip
def test_damaged_records_make_no_circle(store: Store, continues: str, attempt: str | None) -> None:
    publish(store, [Run("eleven", 0, 3, 11, 1.0, ("ten", 0))])
    publish(store, [Run("ten", 0, 2, 10, 2.0)], continues=continues, continues_attempt=attempt)
    assert all_marks(store) == {
        "eleven": {2: 2.0, **dict.fromkeys(range(3, 11), 1.0)},
        "ten": dict.fromkeys(range(2, 10), 2.0),
    }


def test_an_older_store_has_no_such_column(store: Store) -> None:
    publish(store, [FIVE])
    rows = pa.Table.from_pylist([attempt_row("six", rows={"epochs": 1})])
    store.publish("trials", rows)
    store.publish("epochs", table([epoch_row("six", 0, 1.0)]))
    assert store.sql("SELECT trial_id, continues FROM trials ORDER BY 1").fetchall() == [
        ("five", None), ("six", None),
    ]  # fmt: skip


@pytest.mark.slow
def test_copies_that_were_compacted_apart_show_each_row_once(new_store: NEW) -> None:
    """Neither merged part holds all that the other does, so that rows are in two of them."""
    one, other = new_store(), new_store()
    publish(one, [FIVE, TEN])
    shutil.copytree(one.root, other.root, dirs_exist_ok=True)
    for store, name in ((one, "a"), (other, "b")):
        publish(store, [Run(name, 0, 0, 2, 5.0)])
        store.compact(grace_s=0)
    shutil.copytree(one.root, other.root, dirs_exist_ok=True)
    other.refresh()
    assert other.index.tables["epochs"].overlapping
    expected = closed_form([FIVE, TEN, Run("a", 0, 0, 2, 5.0), Run("b", 0, 0, 2, 5.0)])
    for _ in range(2):
        assert all_marks(other) == expected
        other.compact(grace_s=0)
