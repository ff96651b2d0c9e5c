"""Metrics as columns of `epochs` and `runs`, with units; what trials watch, in `diagnosis`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest

from results import Store, open_store
from results.ask.explanation import describe
from results.ask.watched import best_watched
from results.store.metric_columns import base_name, better_end, measured, metric_columns
from tests.support.made_up_rows import publish_trial

RMSE = {"unit": "m", "mode": "min", "doc": "Root mean square."}
HITS = {"unit": "fraction", "mode": "max", "doc": ""}


def put(
    store: Store,
    trial: str,
    metrics: Mapping[str, list[float]],
    says: Mapping[str, Any] | str | None = None,
    **what: Any,
) -> None:
    """A trial with these values of each metric, an epoch each."""
    epochs = len(next(iter(metrics.values())))
    extra = {e: {"val_loss": 1.0 + e, "metrics": [(n, v[e]) for n, v in metrics.items()]}
             for e in range(epochs)}  # fmt: skip
    text = says if isinstance(says, str | None) else json.dumps(says)
    publish_trial(store, trial, [2.0] * epochs, extra=extra, metric_columns=text, **what)


def test_a_metric_is_a_column_beside_the_map(store: Store) -> None:
    put(store, "a", {"rmse": [3.0, 2.0], "val_rmse": [4.0, math.nan]},
        {"rmse": RMSE, "val_rmse": RMSE})  # fmt: skip
    put(store, "b", {"hits": [0.5]}, {"hits": HITS})
    found = store.sql("SELECT trial_id, epoch, rmse, hits, metrics['rmse'] FROM runs ORDER BY ALL")
    assert found.fetchall() == [
        ("a", 0, 3.0, None, 3.0), ("a", 1, 2.0, None, 2.0), ("b", 0, None, 0.5, None),
    ]  # fmt: skip
    for view in ("epochs", "all_epochs"):
        (row,) = store.sql(f"SELECT val_rmse FROM {view} WHERE epoch = 1").fetchall()
        assert math.isnan(row[0])
    assert {n: (m.column, m.unit, m.mode) for n, m in store.metrics.items()} == {
        "hits": ("hits", "fraction", "max"),
        "rmse": ("rmse", "m", "min"),
        "val_rmse": ("val_rmse", "m", "min"),
    }
    text = describe(store)
    assert (
        f"  {'val_rmse':24}{'float64':10} Root mean square. On the validation set. Lower is "
        in text
    )
    assert "Lower is better. [m]" in text


def test_what_an_older_version_wrote_is_in_the_map_alone(store: Store) -> None:
    put(store, "a", {"rmse": [3.0]})
    assert "rmse" not in store.sql("FROM epochs").columns
    assert store.sql("SELECT metrics['rmse'] FROM epochs").fetchall() == [(3.0,)]
    assert store.metrics == {}


def test_names_that_need_quotes_or_are_taken(store: Store) -> None:
    """A word of SQL, names that differ in case only, the name of a config key."""
    values = {"select": [1.0], "rmse": [2.0], "RMSE": [3.0], "lr": [4.0], "Loss": [5.0]}
    put(store, "a", values, {key: {"unit": "", "mode": None} for key in values})
    asked = '"select", rmse, "metric_RMSE", metric_lr, "metric_Loss"'
    for view in ("epochs", "runs"):
        assert store.sql(f"SELECT {asked} FROM {view}").fetchall() == [(1.0, 2.0, 3.0, 4.0, 5.0)]
    assert store.sql("SELECT lr, loss FROM runs").fetchall() == [(0.01, 2.0)]  # the config's, ours


@pytest.mark.parametrize("text", ["no JSON", "[1]", '{"rmse": 3}', '{"": {"unit": "m"}}', "{}"])
def test_a_damaged_declaration_declares_nothing(store: Store, text: str) -> None:
    put(store, "a", {"rmse": [3.0]}, text)
    assert store.metrics == {}
    assert len(store.sql("FROM runs")) == 1


def test_names_and_units_are_strings_of_sql_and_nothing_else(store: Store) -> None:
    name = "a'] || (SELECT 1) || metrics['\"b"
    put(store, "a", {name: [3.0]}, {name: {"unit": "'m", "mode": "min"}})
    column = store.metrics[name].column.replace('"', '""')
    assert store.sql(f'SELECT "{column}" FROM epochs').fetchall() == [(3.0,)]
    assert measured("it's") == "metrics['it''s']"
    assert measured("val_loss") == "val_loss"


def test_what_trials_disagree_in_is_not_said() -> None:
    texts = [json.dumps({"rmse": RMSE}), json.dumps({"rmse": {**RMSE, "unit": "km"}}), None]
    found = metric_columns(texts, ())["rmse"]
    assert (found.unit, found.mode, found.doc) == ("", "min", "Root mean square.")
    other = json.dumps({"rmse": {**RMSE, "mode": "max"}})
    assert metric_columns([*texts, other], ())["rmse"].mode is None


def test_a_metric_stands_beside_those_of_the_other_sets() -> None:
    names = ["test_b", "val_a", "b", "test_a", "val_b", "a", "val_"]
    found = metric_columns([json.dumps(dict.fromkeys(names, RMSE))], ())
    assert list(found) == ["a", "val_a", "test_a", "b", "val_b", "test_b", "val_"]
    assert [base_name(name) for name in ("val_a", "test_a", "a", "val_")] == ["a", "a", "a", "val_"]


def test_which_end_is_better() -> None:
    metrics = metric_columns([json.dumps({"a": HITS, "b": RMSE, "c": {"unit": "m"}})], ())
    assert [better_end(name, None, metrics) for name in ("a", "b", "c", "d")] == [
        "max", "min", "min", "min",
    ]  # fmt: skip
    assert better_end("val_accuracy", "auto", metrics) == "max"
    assert better_end("a", "min", metrics) == "min"


def test_the_diagnosis_shows_what_a_trial_watches(store: Store) -> None:
    hits, rmse = [math.nan, 0.25, 0.75, 0.5], [4.0, 3.0, 1.0, 2.0]
    says = {"val_hits": HITS, "val_rmse": RMSE}
    values = {"val_hits": hits, "val_rmse": rmse}
    watch = {
        "default": {},
        "hits": {"monitor": "val_hits", "monitor_mode": "auto"},
        "rmse": {"monitor": "val_rmse", "monitor_mode": "auto"},
        "odd": {"monitor": "val_rmse", "monitor_mode": "max"},
        "column": {"monitor": "grad_norm", "monitor_mode": "auto"},
        "absent": {"monitor": "unheard_of", "monitor_mode": "auto"},
        "greatest": {"monitor": "val_loss", "monitor_mode": "max"},
    }
    for trial, config in watch.items():
        put(store, trial, values, says, config=config)
    columns = "trial_id, monitor, monitor_start, monitor_end, monitor_best"
    found = {row[0]: row[1:] for row in store.sql(f"SELECT {columns} FROM diagnosis").fetchall()}
    assert found == {
        "default": ("val_loss", 1.0, 4.0, 1.0),
        "hits": ("val_hits", 0.25, 0.5, 0.75),
        "rmse": ("val_rmse", 4.0, 2.0, 1.0),
        "odd": ("val_rmse", 4.0, 2.0, 4.0),
        "column": ("grad_norm", 1.0, 1.0, 1.0),
        "absent": (None, None, None, None),
        "greatest": ("val_loss", 1.0, 4.0, 4.0),
    }
    assert len(store.sql("SELECT DISTINCT verdict FROM diagnosis")) == 1  # no verdict reads them
    best = best_watched(store, ["default", "hits", "rmse", "odd"])
    assert [(row["monitor"], row["value"], row["unit"]) for row in best] == [
        ("val_hits", 0.75, "fraction"), ("val_rmse", 4.0, "m"),
    ]  # fmt: skip
    assert best_watched(store, ["default"]) == []


def test_a_store_without_the_key_watches_val_loss(store: Store) -> None:
    publish_trial(store, "a", [2.0, 1.0], extra={0: {"val_loss": 3.0}, 1: {"val_loss": 2.5}})
    publish_trial(store, "b", [2.0, 1.0])  # no validation set
    found = store.sql(
        "SELECT monitor, monitor_start, monitor_best FROM diagnosis ORDER BY trial_id"
    )
    assert found.fetchall() == [("val_loss", 3.0, 2.5), (None, None, None)]


def test_columns_come_with_the_trials_that_record_them(store: Store) -> None:
    put(store, "a", {"rmse": [3.0]}, {"rmse": RMSE})
    reader = open_store(store.uri)
    assert list(reader.metrics) == ["rmse"]
    put(store, "b", {"hits": [0.5]}, {"hits": HITS})
    reader.refresh()
    assert list(reader.metrics) == ["hits", "rmse"]
