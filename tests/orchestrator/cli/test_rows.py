"""Rows of `gradsweep query`: every format, limits, files, and how a query is ended."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from results import Store, create_store
from tests.fuzz.command_line import told
from tests.support.made_up_rows import publish_trial

TWICE = "SELECT 1 AS loss, 2 AS loss, 3 AS loss_1, 'x' AS loss"
NAMES = {"loss": 1, "loss_2": 2, "loss_1": 3, "loss_3": "x"}
FOR_EVER = "FROM range(100000000000) t(i)"
VALUES = (
    "SELECT 0.1::float AS f, 1e-7::float AS g, 2.0 :: double AS d, 'nan'::double AS n, "
    "NULL AS e, 'a,\"b\"\nc' AS s, [1, NULL] AS l, {'k': 'inf'::double} AS m, "
    "'2026-01-02'::timestamp AS t, true AS b, 12::bigint AS i"
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    found = create_store(tmp_path / "store")
    publish_trial(found, "a", [2.0, 1.0], config={"depth": 3})
    publish_trial(found, "b", [2.0, 1.5], config={"depth": 4})
    monkeypatch.setenv("GRADSWEEP_STORE", found.uri)
    monkeypatch.chdir(tmp_path)
    return found


# ---- columns and values ------------------------------------------------------------------------


@pytest.mark.usefixtures("store")
def test_every_format_shows_every_column(tmp_path: Path) -> None:
    table = told("query", TWICE).out
    assert [cell.strip() for cell in table.splitlines()[1].split("┃")[1:-1]] == list(NAMES)
    assert json.loads(told("query", TWICE, "--json").out) == [NAMES]
    assert told("query", TWICE, "--format", "csv").out == "loss,loss_2,loss_1,loss_3\n1,2,3,x\n"
    for name in ("a.json", "a.csv", "a.parquet"):
        assert told("query", TWICE, "-o", name).out == f"wrote 1 rows to {name}\n"
    assert json.loads((tmp_path / "a.json").read_text()) == [NAMES]
    assert (tmp_path / "a.csv").read_text() == "loss,loss_2,loss_1,loss_3\n1,2,3,x\n"
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == [NAMES]
    joined = "SELECT * FROM trials t JOIN diagnosis d ON t.trial_id = d.trial_id"
    (row, _) = json.loads(told("query", joined, "--json").out)
    assert row["trial_id"] == row["trial_id_1"]
    assert "trial_id_1" in told("query", joined).out


@pytest.mark.usefixtures("store")
def test_values_are_exact() -> None:
    (row,) = csv.DictReader(io.StringIO(told("query", VALUES, "--format", "csv").out))
    assert row == {
        "f": "0.1", "g": row["g"], "d": "2.0", "n": "nan", "e": "", "s": 'a,"b"\nc',
        "l": "[1, null]", "m": '{"k": "inf"}', "t": "2026-01-02 00:00:00", "b": "True", "i": "12",
    }  # fmt: skip
    assert float(row["g"]) == 1e-7, "and not the digits of its double, 1.0000000116860974e-07"
    (row,) = json.loads(told("query", VALUES, "--json").out)
    assert (row["d"], row["n"], row["e"], row["m"], row["i"]) == (
        2.0,
        "nan",
        None,
        {"k": "inf"},
        12,
    )


@pytest.mark.usefixtures("store")
def test_whole_numbers_stay_whole_beside_nulls() -> None:
    query = "SELECT CASE WHEN i % 7000 > 0 THEN i END AS i FROM range(30000) t(i)"
    lines = told("query", query, "--format", "csv").out.splitlines()
    assert lines == ["i", *('""' if i % 7000 == 0 else str(i) for i in range(30000))]
    assert json.loads(told("query", query, "--json").out)[14_000:14_002] == [
        {"i": None},
        {"i": 14_001},
    ]


@pytest.mark.usefixtures("store")
def test_no_rows_at_all(tmp_path: Path) -> None:
    none = "SELECT 1 AS a WHERE false"
    assert json.loads(told("query", none, "--json").out) == []
    assert told("query", none, "--format", "csv").out == "a\n"
    told("query", none, "-o", "none.parquet")
    assert pq.read_table(tmp_path / "none.parquet").column_names == ["a"]


@pytest.mark.usefixtures("store")
def test_what_is_a_query(store: Store) -> None:
    for text in (
        "PIVOT epochs ON epoch USING avg(loss) GROUP BY trial_id",
        "PIVOT epochs ON epoch USING avg(loss) GROUP BY trial_id;",
        "FROM (PIVOT epochs ON epoch USING avg(loss) GROUP BY trial_id) -- twice",
        "WITH p AS (PIVOT epochs ON epoch USING avg(loss) GROUP BY trial_id) FROM p",
        "UNPIVOT (SELECT trial_id, loss FROM epochs WHERE epoch = 0) ON loss",
        "PIVOT epochs ON epoch IN (0, 1) USING avg(loss) GROUP BY trial_id",
        "FROM trials", "TABLE trials", "VALUES (1), (2)", "SELECT 1 UNION SELECT 2",
        "WITH x AS (FROM trials) FROM x", "(SELECT 1) UNION (SELECT 2)",
        "/* why */ FROM trials -- and what",
    ):  # fmt: skip
        assert len(json.loads(told("query", text, "--json").out)) == 2, text
    assert len(json.loads(told("query", "DESCRIBE trials", "--json").out)) > 5
    assert len(json.loads(told("query", "SUMMARIZE epochs", "--json").out)) > 5
    part = next(Path(store.root, "epochs").glob("*.parquet"))
    content = part.read_bytes()
    for text in (
        f"COPY (PIVOT epochs ON epoch USING avg(loss)) TO '{part}'",
        "CREATE TABLE x AS PIVOT epochs ON epoch USING avg(loss)",
        "CREATE TEMP TABLE x AS FROM (PIVOT epochs ON epoch USING avg(loss))",
        "INSERT INTO configs FROM (PIVOT epochs ON epoch USING avg(loss))",
        "PIVOT epochs ON epoch USING avg(loss); DROP TABLE configs",
        f"PIVOT epochs ON epoch USING avg(loss)) TO '{part}' --",
        "EXPLAIN ANALYZE PIVOT epochs ON epoch USING avg(loss)",
    ):
        assert told("query", text).status == 2, text
        assert part.read_bytes() == content


# ---- limits ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("store")
def test_a_limit_is_part_of_the_query(tmp_path: Path) -> None:
    """Each would go on for ever, were all rows read first."""
    assert "these are the first 3 rows" in told("query", FOR_EVER, "--limit", "3").out
    assert "these are the first 200 rows" in told("query", FOR_EVER).out
    assert len(json.loads(told("query", FOR_EVER, "--limit", "4", "--json").out)) == 4
    assert told("query", FOR_EVER, "--limit", "2", "--format", "csv").out == "i\n0\n1\n"
    told("query", FOR_EVER, "--limit", "5", "-o", "few.parquet")
    assert pq.read_table(tmp_path / "few.parquet").num_rows == 5
    assert "these are the first" not in told("query", "VALUES (1), (2)", "--limit", "2").out
    assert "these are the first 1 rows" in told("query", "final", "--limit", "1").out


@pytest.mark.usefixtures("store")
def test_rows_are_written_as_they_come() -> None:
    """To a reader who leaves after the first ones."""
    for kind in ("csv", "json"):
        words = [sys.executable, "-m", "orchestrator", "query", FOR_EVER, "--format", kind]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline()
            process.stdout.close()
            assert (process.wait(), process.stderr.read()) == (0, b"")


@pytest.mark.usefixtures("store")
def test_what_a_named_query_says_once() -> None:
    said = told("query", "final")
    assert "the same in every row: stage=train" in said.out
    assert "depth" not in said.out.splitlines()[-1], "which varies"
    assert "in each of these rows" not in said.out
    said = told("query", "curves", "--limit", "2")
    assert "these are the first 2 rows" in said.out


# ---- files -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("store")
def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("mine")
    (tmp_path / "link.csv").symlink_to(tmp_path / "a.csv")
    late = "SELECT CASE WHEN i < 50000 THEN i ELSE error('late') END AS i FROM range(60000) t(i)"
    for ending in ("csv", "json", "parquet"):
        said = told("query", late, "-o", f"a.{ending}")
        assert (said.status, "late" in said.err) == (2, True)
    said = told("query", FOR_EVER, "-o", "a.csv", "--timeout", "0.5")
    assert (said.status, "stopped after 0.5 s" in said.err) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "link.csv", "store"]
    assert (tmp_path / "a.csv").read_text() == "mine"
    told("query", "SELECT 1 AS a", "-o", "link.csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "a.csv").read_text() == "a\n1\n"
    assert told("query", "SELECT 1 AS a", "-o", "/dev/null", "--format", "csv").status == 0
    assert Path("/dev/null").is_char_device()


@pytest.mark.usefixtures("store")
def test_wrong_requests() -> None:
    for words, sentence in {
        "-o x.csv --format table": "a table is only printed",
        "--timeout 0": "timeout is a number of seconds above 0",
        "--memory much": "memory is a size such as 2GB or 512MiB; got 'much'",
        "--memory 1MB": "a query needs at least 64 MB of memory",
    }.items():
        said = told("query", "SELECT 1", *words.split())
        assert (said.status, sentence in said.err) == (2, True), said
    said = told("query", "SELECT list(i) FROM range(100000000) t(i)", "--memory", "100MB")
    assert "needs more than the 100 MB of memory that it may take" in said.err


# ---- ending ------------------------------------------------------------------------------------

SIGNALLED = """
import os, sys, threading
from orchestrator.cli.app import main
from results.bounds import left_running

def send():
    while not left_running():
        pass
    os.kill(os.getpid(), number)

number = int(sys.argv.pop(1))
threading.Thread(target=send).start()
main()
"""
"""The command line, that gets a signal as soon as its query runs."""


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("query", "number", "status"),
    [
        ("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
         signal.SIGINT, 130),
        ("SELECT count(*) FROM range(100000000) a, range(100000) b", signal.SIGTERM, 143),
        ("PIVOT (FROM range(100000000000) t(i)) ON (i % 3) USING sum(i)", signal.SIGINT, 130),
        # Inside a function DuckDB hears nothing; the process ends all the same.
        ("SELECT levenshtein(repeat('a', 300000), repeat('b', 300000))", signal.SIGINT, 130),
        (FOR_EVER, signal.SIGTERM, 143),
    ],
)  # fmt: skip
def test_a_signal_ends_a_query(query: str, number: int, status: int, tmp_path: Path) -> None:
    words = [sys.executable, "-c", SIGNALLED, str(int(number)), "query", query, "-o", "x.csv"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "stopped\n")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
