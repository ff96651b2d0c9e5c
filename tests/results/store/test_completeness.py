"""What is missing, and what is there too often: rows as recorded, no more and no fewer."""

from __future__ import annotations

import pytest

from results import Store
from results.schema import CENSORED, FINISHED
from results.store.completeness import recorded_rows, row_counts
from tests.support.made_up_rows import (
    attempt_row,
    epoch_row,
    layer_rows,
    publish_rows,
    table,
    trial_rows,
)

TABLES = ("epochs", "layers", "steps", "probes/timeline")


def test_a_doubled_row_is_seen_in_every_table(store: Store) -> None:
    """Of the rows of one trial each, published once more as a worker would that knows of no other;
    the trial beside it stays whole."""
    whole = {
        name: trial_rows(name, [1.0, 0.9], layers=[[1.0, 1.0]] * 2, steps=True, timeline=True)
        for name in (*TABLES, "sound")
    }
    publish_rows(store, whole.values())
    assert all(state["done"] for state in store.completeness(whole).values())
    for name in TABLES:
        store.publish(name, table(whole[name][name][:1]))
    found = store.completeness(whole)
    for name in TABLES:
        count = len(whole[name][name])
        assert (found[name]["done"], found[name]["missing"]) == (False, [name])
        assert found[name]["rows"][name] == (count + 1, count)
        assert not store.rows_intact(name, 2, {name: count})
        assert store.rows_intact(name, 2, {name: count + 1})
    assert found["sound"]["done"]
    assert found["sound"]["missing"] == []
    store.compact(grace_s=0)
    assert store.completeness(whole) == found, "and merging the parts does not hide it"


def test_rows_of_every_epoch_of_which_one_is_there_twice_and_another_not_at_all(
    store: Store,
) -> None:
    """As many rows as recorded, up to the end; not up to the epoch that is lost."""
    rows = trial_rows("a", [1.0, 0.9, 0.8])
    rows["epochs"][1] = rows["epochs"][2]
    publish_rows(store, [rows])
    assert not store.rows_intact("a", 2, {"epochs": 2})
    assert store.rows_intact("a", 1, {"epochs": 1})


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('{"epochs": 2, "layers": 26}', {"epochs": 2, "layers": 26}),
        ("{}", {}),
        (" {} ", {}),
        (None, {}),
        ("", {}),
        ("{", None),
        ("[]", None),
        ("3", None),
        ('{"epochs": []}', None),
        ('{"epochs": 1.5}', None),
        ('{"epochs": true}', None),
        ('{"epochs": 2, "layers": null}', None),
    ],
)
def test_what_an_attempt_recorded(text: str | None, rows: dict[str, int] | None) -> None:
    assert recorded_rows(text) == rows


def test_only_what_shows_counts(store: Store) -> None:
    """A later attempt hides rows from its first epoch on, and its record is what must be there."""
    store.publish("epochs", table([epoch_row("a", e, 1.0) for e in range(4)]))
    store.publish("layers", table(layer_rows("a", 3, [1.0])))
    store.publish("trials", table([attempt_row("a", rows={"epochs": 4, "layers": 8})]))
    assert store.completeness(["a"])["a"]["done"]
    later = attempt_row("a", 1, first_epoch=2, rows={"epochs": 3, "layers": 0})
    store.publish("trials", table([later]))
    assert store.completeness(["a"])["a"]["rows"] == {"epochs": (2, 3), "layers": (0, 0)}
    assert store.completeness(["a"])["a"]["missing"] == ["epochs"]
    store.publish("epochs", table([epoch_row("a", 2, 1.0, 1)]))
    assert store.completeness(["a"])["a"]["done"]


def test_rows_are_counted_below_an_epoch(store: Store) -> None:
    rows = trial_rows("a", [1.0] * 4, layers=[[1.0]] * 4, timeline=True)
    publish_rows(store, [rows, trial_rows("b", [1.0])])
    per_epoch = len(rows["probes/timeline"]) // 4
    assert row_counts(store, "epochs", ["a", "b"]) == {"a": 4, "b": 1}
    assert row_counts(store, "epochs", ["a"]) == {"a": 4}
    assert row_counts(store, "epochs", ["a", "b"], 1) == {"a": 1, "b": 1}
    assert row_counts(store, "epochs", ["a", "b"], 0) == {}
    for name in ("timeline", "probes/timeline"):
        assert row_counts(store, name, ["a", "b"], 3) == {"a": 3 * per_epoch}
    assert row_counts(store, "unheard_of", ["a"]) == {}


def test_every_end_that_is_a_result_is_done(store: Store) -> None:
    statuses = (*FINISHED, *CENSORED, "running", "failed", "interrupted")
    publish_rows(store, [trial_rows(status, [1.0], status=status) for status in statuses])
    found = store.completeness([*statuses, "done", "unseen"])
    assert list(found) == [*statuses, "unseen"], "each once, in the order asked"
    assert [name for name in found if found[name]["done"]] == list(FINISHED)
    assert {name: found[name]["status"] for name in statuses} == {name: name for name in statuses}
    assert found["unseen"]["status"] is None


def test_a_pruned_trial_is_whole_or_not_like_any_other(store: Store) -> None:
    """The driver ends one that was paused, in a further row of the same attempt."""
    rows = trial_rows("a", [1.0, 0.9], status="paused")
    publish_rows(store, [rows])
    pruned = {**rows["trials"][0], "event": 2, "status": "pruned"}
    store.publish("trials", table([pruned]))
    for _ in range(2):
        assert store.completeness(["a"])["a"] == {
            "done": False, "status": "pruned", "missing": [], "rows": {"epochs": (2, 2)},
        }  # fmt: skip
        assert store.sql("SELECT pruned, paused, trials FROM launches").fetchall() == [(1, 0, 1)]
        store.compact(grace_s=0)
    assert store.sql("SELECT event FROM files_trials").fetchall() == [(2,)]
    store.publish("epochs", table(rows["epochs"][:1]))
    assert store.completeness(["a"])["a"]["missing"] == ["epochs"]
