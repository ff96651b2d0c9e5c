"""SQL: what a user's query may not do, named queries, the explanation of columns."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from results import Store, StoreError
from results.ask.explanation import describe
from results.ask.named_queries import named_queries, run_named
from results.schema import DIAGNOSIS, EPOCHS
from tests.support.made_up_rows import publish_trial, space_of


@pytest.fixture
def filled(store: Store) -> Store:
    publish_trial(store, "a", [2.3, 1.0], layers=[[1.0, 2.0]] * 2, steps=True, timeline=True)
    publish_trial(store, "b", [2.3], status="diverged", bad_epoch=0, bad_step=3)
    store.write_space("demo/grid", space_of(["a", "b", "c"]))
    return store


@pytest.mark.parametrize(
    "query",
    [
        "COPY trials TO '{out}'",
        "EXPORT DATABASE '{out}'",
        "ATTACH '{out}' AS other",
        "INSTALL httpfs",
        "LOAD httpfs",
        "UPDATE EXTENSIONS",
        "PRAGMA database_list",
        "SET threads = 1",
        "SET enable_external_access = true",
        "CREATE TABLE mine AS SELECT 1",
        "DROP TABLE configs",
        "DELETE FROM configs",
        "CALL pragma_version()",
        "SELECT 1; DROP TABLE configs",
        "EXPLAIN ANALYZE COPY trials TO '{out}'",
        "",
        "WITH gone AS (DELETE FROM configs RETURNING *) SELECT * FROM gone",
        "WITH more AS (INSERT INTO configs FROM configs RETURNING *) SELECT * FROM more",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM read_parquet('{parquet}')",
        "SELECT * FROM '{parquet}'",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM secret_table",
        "COPY (PIVOT epochs ON epoch USING avg(loss)) TO '{out}'",
        "CREATE TABLE mine AS PIVOT epochs ON epoch USING avg(loss)",
        "PIVOT epochs ON epoch USING avg(loss); DROP TABLE configs",
        "PIVOT read_csv('{secret}') ON a USING sum(b)",
    ],
)
def test_a_users_query_stays_inside(filled: Store, tmp_path: Path, query: str) -> None:
    import pyarrow as pa

    secret_table = pa.table({"x": [1]})  # a Python variable is out of reach, too
    assert secret_table.num_rows
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    parquet = shutil.copy(next(Path(filled.root, "epochs").glob("*.parquet")), tmp_path)
    before = filled.sql("SELECT * FROM configs ORDER BY trial_id").fetchall()
    text = query.format(out=tmp_path / "out", secret=secret, parquet=parquet)
    with pytest.raises(StoreError):
        filled.query_user(text)
    assert not (tmp_path / "out").exists()
    assert filled.sql("SELECT * FROM configs ORDER BY trial_id").fetchall() == before


@pytest.mark.parametrize(
    "query",
    ["SELECT count(*) FROM trials", "FROM epochs", "DESCRIBE trials", "SHOW TABLES",
     "PIVOT epochs ON epoch USING avg(loss)", "UNPIVOT epochs ON loss",
     "SUMMARIZE epochs", "WITH x AS (SELECT 1 AS a) SELECT * FROM x", "VALUES (1)"],
)  # fmt: skip
def test_reading_is_allowed(filled: Store, query: str) -> None:
    assert len(filled.query_user(query)) > 0


def test_wrong_sql_is_one_sentence(filled: Store) -> None:
    with pytest.raises(StoreError, match="nope") as caught:
        filled.query_user("SELECT nope FROM trials")
    assert "\n" not in str(caught.value)


def test_an_error_while_running_leaves_the_store_usable(filled: Store) -> None:
    for ask in (filled.sql, filled.query_user):
        with pytest.raises(StoreError, match="INT32"):
            ask("SELECT CAST(trial_id AS INTEGER) FROM epochs")
        assert len(ask("FROM epochs")) == 3


def test_the_schema_names_every_column(filled: Store) -> None:
    text = describe(filled)
    for column in (*EPOCHS, *DIAGNOSIS):
        assert f"  {column.name} " in text
    assert filled.sql("FROM diagnosis").columns == [column.name for column in DIAGNOSIS]
    assert "Learning rate." in text
    assert "timeline:" in text


@pytest.mark.parametrize("name", list(named_queries()))
def test_named_queries_run_and_say_what_they_answer(filled: Store, name: str) -> None:
    query = named_queries()[name]
    assert query.doc.endswith(".")
    filled.query_user(query.sql)
    if name not in ("diagnosis_counts",):
        assert "trial_id" in run_named(filled, name, "demo/grid").columns


def test_named_queries_answer(filled: Store) -> None:
    assert run_named(filled, "missing").fetchall() == [("c", "demo/grid", "not started", None)]
    assert [row["trial_id"] for row in run_named(filled, "divergence").rows()] == ["b"]
    assert [row["loss"] for row in run_named(filled, "final").rows()] == [1.0, 2.3]
    assert len(run_named(filled, "layer_profile")) == 3
    assert run_named(filled, "cost").rows()[0]["seconds_per_epoch"] == 1.0
    with pytest.raises(StoreError, match="did you mean final"):
        run_named(filled, "fina")
    with pytest.raises(StoreError, match="no space"):
        run_named(filled, "final", "demo/other")


def test_queries_from_many_threads(filled: Store) -> None:
    wrong: list[object] = []

    def ask() -> None:
        for _ in range(10):
            rows = filled.sql("SELECT trial_id, epoch FROM epochs ORDER BY ALL").fetchall()
            if rows != [("a", 0), ("a", 1), ("b", 0)]:
                wrong.append(rows)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
