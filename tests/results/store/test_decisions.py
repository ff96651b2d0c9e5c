"""Verdicts of pruning rules: published, read in the order they were taken, merged and copied."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results import Store, StoreError
from tests.support.made_up_rows import START, epoch_row, publish_trial, table


def decision(trial: str, rung: int = 0, second: int = 0, **columns: Any) -> dict[str, Any]:
    return {
        "space": "demo/grid", "rule": "asha", "trial_id": trial, "rung": rung,
        "epoch": 3**rung, "metric": "val_loss", "value": 1.5, "against": json.dumps({"b": 2.0}),
        "verdict": "go", "launch_id": "one", "decided": START + timedelta(seconds=second),
        **columns,
    }  # fmt: skip


def taken(store: Store, space: str | None = None) -> list[tuple[str, int]]:
    found = store.decisions(space).to_pylist()
    return [(row["trial_id"], row["rung"]) for row in found]


def test_they_come_in_the_order_in_which_they_were_taken(store: Store) -> None:
    """Whatever is published when, compacted or not; those of one moment as they were published."""
    assert taken(store) == []
    store.publish(
        "decisions", table([decision("c", 1, 5), decision("z", 0, 2), decision("a", 0, 2)])
    )
    store.publish("decisions", table([decision("b", 0, 1, space="demo/other", verdict="prune")]))
    order = [("b", 0), ("z", 0), ("a", 0), ("c", 1)]
    for _ in range(2):
        assert taken(store) == order
        assert taken(store, "demo/other") == [("b", 0)]
        assert taken(store, "demo") == []
        shown = store.sql("SELECT trial_id, verdict FROM decisions WHERE verdict = 'prune'")
        assert shown.fetchall() == [("b", "prune")]
        store.compact(grace_s=0)
    assert len(list(Path(store.root, "decisions").glob("*.parquet"))) == 1
    assert store.decisions().to_pylist()[0] == decision(
        "b", 0, 1, space="demo/other", verdict="prune"
    )


@settings(max_examples=15)
@given(
    rows=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(0, 9))),
    cut=st.integers(0, 20),
)
@pytest.mark.slow
def test_of_equal_decisions_the_first_shows(
    new_store: Callable[[], Store], rows: Sequence[tuple[str, int, int]], cut: int
) -> None:
    store = new_store()
    for some in (rows[:cut], rows[cut:]):
        if some:
            store.publish("decisions", table([decision(t, r, s, value=s) for t, r, s in some]))
    expected = {}
    for trial, rung, second in sorted(rows, key=lambda row: row[2]):
        expected.setdefault((trial, rung), second)
    for _ in range(2):
        assert taken(store) == list(expected)
        shown = store.sql("SELECT trial_id, rung, value FROM decisions").fetchall()
        assert sorted(shown) == sorted((*key, value) for key, value in expected.items())
        store.compact(grace_s=0)


def test_copied_stores_show_the_decisions_of_each_launch_once(
    new_store: Callable[[], Store],
) -> None:
    one, other = new_store(), new_store()
    for store, launch in ((one, "one"), (other, "two")):
        publish_trial(store, "a", [1.0], launch_id=launch)
        store.publish("decisions", table([decision("a", launch_id=launch)]))
    one.merge(other)
    other.merge(one)
    for store in (one, other):
        for _ in range(2):
            launches = [row["launch_id"] for row in store.decisions().to_pylist()]
            assert sorted(launches) == ["one", "two"]
            store.compact(grace_s=0)


def test_those_of_stale_trials_are_hidden_and_kept(store: Store) -> None:
    publish_trial(store, "old", [1.0], config_id="c", versions={"model:rnn": 1})
    publish_trial(store, "new", [1.0], config_id="c", versions={"model:rnn": 2})
    store.publish("decisions", table([decision("old"), decision("new")]))
    assert store.sql("SELECT trial_id FROM decisions").fetchall() == [("new",)]
    assert len(store.sql("FROM all_decisions")) == 2
    assert taken(store) == [("old", 0), ("new", 0)]


def test_damaged_and_foreign_files_are_named_and_the_rest_shows(store: Store) -> None:
    store.publish("decisions", table([decision("a")]))
    bad = Path(store.publish("decisions", table([decision(f"b{n}") for n in range(2000)])))
    content = bytearray(bad.read_bytes())
    content[len(content) // 3] ^= 0xFF
    bad.write_bytes(bytes(content))
    foreign = Path(store.publish("epochs", table([epoch_row("a", 0, 1.0)])))
    foreign = foreign.rename(bad.parent / foreign.name)
    store.refresh()
    assert taken(store) == [("a", 0)]
    assert store.sql("SELECT trial_id FROM decisions").fetchall() == [("a",)]
    store.compact(grace_s=0)
    assert taken(store) == [("a", 0)]
    named = " ".join(store.warnings)
    assert str(bad) in named
    assert str(foreign) in named
    assert "so it is no part of decisions" in named


def test_no_probe_can_have_that_name(store: Store) -> None:
    keys = {"trial_id": ["a"], "attempt": [0], "epoch": [0]}
    with pytest.raises(StoreError, match="a view has that name"):
        store.publish("probes/decisions", pa.table(keys))
