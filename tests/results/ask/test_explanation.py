"""What may be asked for by name: every view is explained by column, and holds what is said."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from results import Store
from results.ask.explanation import INTERNAL, VIEWS, describe
from results.ask.named_queries import run_named
from results.schema import TYPES, is_view
from results.store.views import connect
from tests.support.made_up_rows import START, attempt_row, publish_trial, space_of, table


@pytest.fixture
def filled(store: Store) -> Store:
    publish_trial(store, "a", [2.3, 1.0], layers=[[1.0, 2.0]] * 2, steps=True, timeline=True)
    publish_trial(store, "b", [2.3], status="diverged", bad_epoch=0, bad_step=3, lane=1)
    store.write_space("demo/grid", space_of(["a", "b", "c"]))
    return store


def test_every_view_is_explained(filled: Store) -> None:
    """A new one must be named in `VIEWS` or `INTERNAL`, and refused to probes as a name."""
    filled.sql("FROM diagnosis")
    filled.completeness(["a"])
    text = describe(filled)
    for (name,) in filled.sql("SHOW TABLES").fetchall():
        if name.startswith(("files_", "arrow_", "all_", "counts_")):
            assert f"{name[: name.index('_') + 1]}" in text or name.startswith(
                ("arrow_", "counts_")
            )
        elif f"probes/{name}" not in filled.index.tables:
            assert name in VIEWS or name in INTERNAL, name
            assert is_view(name)
            assert f"\n{name}: " in f"\n{text}" or f"\n  {name} " in text


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_has_the_columns_that_are_explained(filled: Store, view: str) -> None:
    found = filled.sql(f"FROM {view}").arrow().schema
    keys = {*filled.config_columns.values()} if view in ("trials", "runs") else set()
    explained = {column.name: TYPES[column.type] for column in VIEWS[view][1]}
    if view == "runs":
        explained |= {column.name: TYPES[column.type] for column in VIEWS["epochs"][1]}
    assert set(found.names) - keys == explained.keys() - keys
    for field in found:
        if field.name in explained and field.name != "metrics":
            assert field.type == explained[field.name], field.name
    for column in VIEWS[view][1]:
        assert f"  {column.name:24}{column.type:10} {column.doc}" in describe()


def test_internal_tables_are_those_there_are(filled: Store) -> None:
    con, *_ = connect(filled.index, filled.spaces(), filled.rules)
    there = {row[0] for row in con.sql("SHOW TABLES").fetchall()}
    assert INTERNAL.keys() - there == {"kept_diagnosis"}


def test_runs_says_where_a_row_comes_from(store: Store) -> None:
    """Old columns stay where they were. A launch of a whole study names the spaces that ask."""
    publish_trial(store, "a", [2.3, 1.0], layers=[[1.0, 2.0]] * 2, launch_id="one")
    publish_trial(store, "b", [2.3], launch_id="two", space="demo")
    store.write_space("demo/grid", space_of(["a", "b"]))
    store.write_space("demo/more", space_of(["b"]))
    found = store.sql(
        "SELECT trial_id, epoch, launch_id, space, study, verdict FROM runs ORDER BY ALL"
    ).fetchall()
    verdict = dict(store.sql("SELECT trial_id, verdict FROM diagnosis").fetchall())
    assert found == [
        ("a", 0, "one", "demo/grid", "demo", verdict["a"]),
        ("a", 1, "one", "demo/grid", "demo", verdict["a"]),
        ("b", 0, "two", "demo/grid, demo/more", "demo", verdict["b"]),
    ]
    columns = store.sql("FROM runs").columns
    assert columns[:5] == ["trial_id", "epoch", "attempt", "status", "stage"]
    assert columns[-4:] == ["launch_id", "space", "study", "verdict"]


def test_keys_that_are_called_like_our_columns_keep_their_names(store: Store) -> None:
    publish_trial(store, "a", [1.0], config={"study": "mine", "Verdict": 3})
    row = store.sql("FROM runs").rows()[0]
    assert (row["study"], row["Verdict"], row["run_study"]) == ("mine", 3, "demo")
    assert isinstance(row["run_verdict"], str)


READS = (
    "FROM runs", "SELECT * FROM runs", "SELECT r.* EXCLUDE (loss) FROM runs r",
    "SELECT verdict FROM runs", "SELECT r.VERDICT FROM Runs r", "SELECT COLUMNS('v.*') FROM runs",
    "SELECT r FROM runs r", "SELECT runs FROM runs", "SELECT count(*) FROM (SELECT * FROM runs)",
    "WITH x AS (FROM runs) SELECT count(*) FROM x", "DESCRIBE runs",
    "SELECT column_name FROM (SUMMARIZE runs)",
    "SELECT loss FROM runs NATURAL JOIN epochs", "SELECT UNNEST(runs) FROM runs",
    "SELECT any_value(columns(* EXCLUDE (metrics))) FROM runs", "FROM run_verdicts",
)  # fmt: skip
READS_NOT = (
    "SELECT count(*) FROM runs", "SELECT trial_id, loss FROM runs LIMIT 3",
    "SELECT r.lr * 2, avg(loss) FROM runs r WHERE r.seed = 0 GROUP BY ALL",
    "SELECT e.loss FROM runs r JOIN epochs e USING (trial_id, epoch)", "SELECT * FROM epochs",
    "WITH x AS (SELECT loss FROM runs) SELECT * EXCLUDE (loss), 1 FROM (SELECT 1 AS loss, 2 AS y)",
)  # fmt: skip


@pytest.mark.parametrize("query", [*READS, *READS_NOT])
def test_verdicts_are_computed_for_queries_that_may_read_them(filled: Store, query: str) -> None:
    """And for no other: they take the rows of all layers. What is read is right in both cases."""
    got = filled.query_user(query).fetchall()
    assert filled._judged == (query in READS or "EXCLUDE (loss), 1" in query)
    filled.sql("SELECT 1 FROM diagnosis")
    again = filled.query_user(query).fetchall()
    if "LIMIT" in query or "any_value" in query:  # of any rows
        assert len(again) == len(got)
    else:
        assert sorted(map(repr, again)) == sorted(map(repr, got))


def test_a_query_that_reads_a_verdict_gets_it(filled: Store) -> None:
    for query in ("SELECT * FROM runs", "SELECT r FROM runs r", "SELECT verdict FROM runs"):
        filled._con = None
        (row, *_) = filled.query_user(query).rows()
        row = row.get("r", row)
        assert isinstance(row["verdict"], str), query


def launch(store: Store, name: str | None, lanes: int, **columns: Any) -> None:
    """A pack of that many trials, which compiled for 6 s; every lane says so."""
    store.publish(
        "trials",
        table(
            [
                attempt_row(f"{name}-{lane}", launch_id=name, lane=lane, compile_seconds=6.0,
                            epochs_done=3, **columns)
                for lane in range(lanes)
            ]
        ),
    )  # fmt: skip


def test_launches_say_what_was_run_and_count_a_pack_s_compiling_once(store: Store) -> None:
    signature = json.dumps({"width": 4, "versions": {"jax": "1.2"}})
    end = START + timedelta(hours=1)
    launch(store, "x", 4, pack="p", signature=signature, ended=end, host="h1", git_commit="c+")
    launch(store, "y", 2, pack="p", signature="{damaged", started=end, host="h2")
    launch(store, None, 3, pack="q", status="failed", ended=end, first_epoch=2)
    rows = {row["launch_id"]: row for row in store.sql("FROM launches").rows()}
    assert list(rows) == ["x", None, "y"]
    assert {name: row["compile_seconds"] for name, row in rows.items()} == {
        "x": 6.0, "y": 6.0, None: 6.0,
    }  # fmt: skip
    first = rows["x"]
    assert (first["trials"], first["packs"], first["done"], first["epochs"]) == (4, 1, 4, 12)
    assert (first["started"], first["ended"], first["hosts"]) == (START, end, "h1")
    assert (first["versions"], first["git_commit"]) == ('{"jax":"1.2"}', "c+")
    assert (rows["y"]["ended"], rows["y"]["versions"]) == (None, None)
    assert (rows[None]["failed"], rows[None]["epochs"]) == (3, 3)
    packs = store.sql(
        "SELECT launch_id, pack, lanes, seconds, compile_seconds FROM packs ORDER BY 3"
    )
    assert packs.fetchall() == [("y", "p", 2, 4.0, 6.0), (None, "q", 3, 6.0, 6.0),
                                ("x", "p", 4, 8.0, 6.0)]  # fmt: skip
    cost = run_named(store, "cost").rows()
    assert sum(row["compile_seconds"] for row in cost) == pytest.approx(18.0)


def test_a_key_says_what_it_means_in_each_study(store: Store) -> None:
    """One that all explain alike has one line, and one that they do not has a line for each."""
    lr, width = {"type": "float", "doc": "Learning rate."}, {"type": "int"}
    meanings = {"one/a": "Units.", "one/b": "Units.", "two/a": "Lanes.", "two/b": "Units."}
    for name, doc in meanings.items():
        publish_trial(store, name.replace("/", "-"), [1.0], config={"width": 3, "model": "rnn"})
        keys = {"lr": lr, "width": {**width, "doc": doc}}
        store.write_space(name, space_of([name.replace("/", "-")], keys=keys))
    text = describe(store)
    assert text.count("Learning rate.") == 1
    assert f"  {'model':24}{'string':10} Name of the trial's model.\n" in text
    assert f"  {'width':24}{'int64':10} one, two/b: Units.\n" in text
    assert f"  {'width':24}{'int64':10} two/a: Lanes.\n" in text
