"""SQL from a user: nothing is written, nothing outside the store is read, no traceback is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import strategies as st

from results.ask.named_queries import named_queries
from tests.fuzz.command_line import Said, snapshot, told
from tests.fuzz.conftest import SECRET, Fuzz, Guard
from tests.fuzz.stores import fill

PLACES = ["{secret}", "{root}/outside", "{root}/outside/out.csv", "{store}/new.parquet", "{store}",
          "{store}/store.json", "file://{secret}", "../secret.csv", "/etc/passwd", "/etc/hostname",
          "https://x.invalid/a.csv", "s3://x/y.parquet", "~/x.csv", "{root}/*.csv", "/dev/stdin",
          "/proc/self/environ", ":memory:"]  # fmt: skip
FUNCTIONS = ["read_csv", "read_csv_auto", "read_parquet", "read_json", "read_json_auto",
             "read_text",
             "read_blob", "read_ndjson", "read_ndjson_objects", "read_json_objects", "parquet_scan",
             "parquet_metadata", "parquet_schema", "parquet_file_metadata", "parquet_kv_metadata",
             "sniff_csv", "glob", "query", "query_table", "sqlite_scan", "arrow_scan",
             "pandas_scan",
             "python_map_function", "duckdb_secrets", "which_secret", "enable_logging", "write_log",
             "checkpoint", "force_checkpoint", "duckdb_logs", "duckdb_extensions", "getenv",
             "current_setting", "getvariable", "load_aws_credentials", "import_database",
             "read_duckdb", "parquet_bloom_probe", "parse_path", "file_exists"]  # fmt: skip
WHOLE = [
    "COPY epochs TO '{}'", "COPY (SELECT 1) TO '{}' (FORMAT parquet)", "COPY configs FROM '{}'",
    "EXPORT DATABASE '{}'", "IMPORT DATABASE '{}'", "ATTACH '{}' AS o", "ATTACH ':memory:' AS o",
    "DETACH memory", "USE memory", "INSTALL httpfs", "INSTALL httpfs FROM '{}'", "LOAD httpfs",
    "LOAD '{}'", "FORCE INSTALL json", "UPDATE EXTENSIONS", "SET enable_external_access = true",
    "SET lock_configuration = false", "SET GLOBAL temp_directory = '{}'",
    "SET home_directory = '{}'",
    "SET log_query_path = '{}'", "SET profiling_output = '{}'", "SET secret_directory = '{}'",
    "SET VARIABLE a = getenv('HOME')", "RESET ALL", "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "PRAGMA version", "PRAGMA enable_verification", "PRAGMA import_database('{}')",
    "PRAGMA memory_limit='1KB'", "CREATE TABLE t AS SELECT 1", "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE OR REPLACE VIEW epochs AS SELECT 1", "CREATE MACRO m(a) AS a",
    "CREATE SECRET (TYPE s3)",
    "CREATE PERSISTENT SECRET s (TYPE s3, KEY_ID 'a')", "CREATE SCHEMA s", "CREATE SEQUENCE q",
    "CREATE TYPE y AS ENUM ('a')", "CREATE INDEX i ON configs (trial_id)",
    "INSERT INTO configs FROM configs",
    "DELETE FROM configs", "UPDATE configs SET lr = 1", "DROP TABLE configs",
    "DROP VIEW epochs CASCADE",
    "ALTER TABLE configs ADD COLUMN z INT", "TRUNCATE configs",
    "MERGE INTO configs USING epochs ON true",
    "VACUUM", "ANALYZE", "CHECKPOINT", "FORCE CHECKPOINT", "BEGIN", "COMMIT", "ROLLBACK",
    "CALL dbgen(1)",
    "CALL enable_logging(storage='file', storage_path='{}')", "PREPARE p AS SELECT 1", "EXECUTE p",
    "EXPLAIN COPY epochs TO '{}'", "EXPLAIN ANALYZE DELETE FROM configs", "EXPLAIN SELECT 1",
    "WITH d AS (DELETE FROM configs RETURNING *) FROM d", "FROM (COPY epochs TO '{}')",
    "WITH i AS (INSERT INTO configs FROM configs RETURNING *) SELECT 1", "SELECT * FROM '{}'",
    "FROM '{}'", "TABLE epochs", "SHOW TABLES", "SHOW ALL TABLES", "DESCRIBE '{}'",
    "SUMMARIZE '{}'",
    "SUMMARIZE trials", "VALUES (1, 'a')", "PIVOT epochs ON epoch USING avg(loss)",
    "UNPIVOT configs ON lr", "COPY (PIVOT epochs ON epoch USING avg(loss)) TO '{}'",
    "PIVOT epochs ON epoch USING avg(loss)) TO '{}' --", "PIVOT read_csv('{}') ON a USING sum(b)",
    "CREATE TABLE t AS PIVOT epochs ON epoch USING avg(loss)",
    "COMMENT ON TABLE configs IS 'x'", "SELECT nextval('q')", "SELECT setseed(0.5)",
    "SELECT * INTO t FROM epochs",
    "SELECT 1 AS a, 2 AS a", "SELECT '[/b]' AS x", "SELECT '[red]a' AS \"[/b]\"",
    "SELECT chr(27) || '[31m'",
    "SELECT 'infinity'::timestamp, '-infinity'::date", "SELECT '294247-01-10'::timestamp",
    "SELECT '5000-01-01'::date",
    "SELECT INTERVAL 3 MONTH", "SELECT INTERVAL 90000 YEAR", "SELECT '\\xAA\\x00'::blob",
    "SELECT '101'::bit",
    "SELECT uuid()", "SELECT 170141183460469231731687303715884105727::hugeint, (2::uhugeint)**127",
    "SELECT '24:00:00'::time, '12:00:00+15:59:59'::timetz", "SELECT 1.5::decimal(38,10)",
    "SELECT [1, NULL, 2], {{'a': [1]}}",
    "SELECT MAP {{1: 'a', 2: NULL}}", "SELECT MAP {{[1]: {{'a': 1}}}}",
    "SELECT union_value(a := 1)", "SELECT 'a'::enum('a')",
    "SELECT 'nan'::double, 'inf'::float, '-0.0'::double", "SELECT NULL",
    "SELECT NULL::map(int, int)", "SELECT true, 'x'::varchar",
    "SELECT * FROM test_all_types()", "SELECT '1'::json, '{{}}'::json", "SELECT 1::variant",
    "SELECT [1, 2]::int[2]", "SELECT 'now'::timestamptz",
    "SELECT '2020-01-01'::timestamp_ns, '1677-01-01'::timestamp_s, '9999-12-31'::timestamp_ms",
    "SELECT ''", "SELECT chr(0) || 'x'",
    "SELECT repeat('x', 100000)", "SELECT range(1000)", "SELECT error('mine')", "SELECT 1/0, 0/0",
    "SELECT lr FROM configs WHERE 'a'",
    "SELECT \"", "SELECT '", "SELECT $$a", "SELECT $1", "SELECT $a", "SELECT ?", "--", "/*", ";",
    ";;", "SELECT 1;", "SELECT 1; SELECT 2",
    "SELECT * FROM epochs POSITIONAL JOIN layers", "SELECT columns('.*') FROM trials",
    "SELECT * EXCLUDE (x) FROM trials", "FROM trials SELECT count()",
    "SELECT list(trial_id) FROM trials GROUP BY ALL", "FROM files_trials", "FROM visible",
    "FROM attempts", "FROM duckdb_settings()", "FROM duckdb_views()",
    "FROM information_schema.tables", "SELECT current_setting('temp_directory')",
    "SELECT getenv('HOME')", "FROM pragma_table_info('epochs')",
    "FROM duckdb_functions() LIMIT 3", "FROM range(3)", "FROM unnest([1,2])", "FROM repeat('x', 3)",
    "FROM generate_series(1, 3)", "FROM seq_scan('x')",
]  # fmt: skip
WORDS = ["SELECT", "FROM", "WHERE", "epochs", "trials", "layers", "runs", "diagnosis", "configs",
         "trial_id", "loss",
         "epoch", "count(*)", "avg(loss)", "GROUP BY ALL", "ORDER BY", "LIMIT", "1", "'a'", "NULL",
         "JOIN", "USING",
         "(", ")", ",", "*", "AS", "WITH", "x", "UNION ALL", "OVER ()", "QUALIFY", ";", "=", "<",
         "::", "INT", "[", "]",
         "{{", "}}", "::json", "->", "lambda", "NOT", "IN", "EXISTS", "LATERAL", "DISTINCT", "-1",
         "1e400", ".", "$a"]  # fmt: skip

places = st.sampled_from(PLACES)
free = st.text(st.characters(exclude_characters="\0"), max_size=15)
escaped = free.map(lambda text: text.replace("{", "{{").replace("}", "}}"))


@st.composite
def calls(draw: st.DrawFn) -> str:
    """A function of a place, as a table or a value, perhaps hidden in a subquery."""
    inside = draw(st.sampled_from(["'{}'", "['{}']", "'{}', 1", "", "1, 2, 3", "path := '{}'"]))
    call = f"{draw(st.sampled_from(FUNCTIONS))}({inside.replace('{}', draw(places))})"
    return draw(
        st.sampled_from(["SELECT * FROM {}", "SELECT {}", "FROM {}",
                         "WITH x AS (SELECT * FROM {}) FROM x",
                         "SELECT (SELECT count(*) FROM {})", "FROM epochs JOIN {} ON true",
                         "CALL {}",
                         "SELECT * FROM trials WHERE EXISTS (FROM {})",
                         "DESCRIBE SELECT * FROM {}"])
    ).replace("{}", call)  # fmt: skip


@st.composite
def whole(draw: st.DrawFn) -> str:
    return draw(st.sampled_from(WHOLE)).replace("{}", draw(places))


@st.composite
def nested(draw: st.DrawFn) -> str:
    """Deeper than a parser likes."""
    depth = draw(st.sampled_from([10, 200, 1200, 5000]))
    before, after = draw(
        st.sampled_from([("(", ")"), ("(SELECT ", ")"), ("-", ""), ("NOT ", ""), ("[", "]"), ("1+",
                         ""), ("abs(", ")"),
                         ("CASE WHEN true THEN ", " END"), ("{{'a': ", "}}"), ("1 IN (", ")")])
    )  # fmt: skip
    return f"SELECT {before * depth}1{after * depth}"


@st.composite
def changed(draw: st.DrawFn) -> str:
    """SQL with a piece cut out, and another put in."""
    text = draw(
        whole()
        | calls()
        | st.sampled_from(
            [q.sql.replace("{", "{{").replace("}", "}}") for q in named_queries().values()]
        )
    )
    at, length = draw(st.integers(0, len(text))), draw(st.integers(0, 12))
    return text[:at] + draw(escaped | st.sampled_from(WORDS)) + text[at + length :]


sentences = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
several = st.lists(whole() | calls(), min_size=2, max_size=3).map("; ".join)
commented = st.tuples(
    st.sampled_from(["/* x */ ", "-- x\n", "\n\t", "(", "explain "]), whole()
).map("".join)
statements = whole() | calls() | nested() | changed() | sentences | several | commented | escaped


@pytest.fixture
def store(guard: Guard) -> Path:
    return Path(fill(guard.store).root)


def ask(guard: Guard, template: str, *words: str) -> Said:
    """Asks for a statement; braces in it name places."""
    try:
        text = template.format(secret=guard.secret, root=guard.root, store=guard.store)
    except (ValueError, KeyError, IndexError, AttributeError):
        text = template
    said = told("query", *words, "--store", str(guard.store), "--", text)
    assert SECRET not in said.out + said.err
    assert "root:x:0" not in said.out
    return said


@pytest.mark.slow
def test_statements(fuzz: Fuzz, guard: Guard, store: Path) -> None:
    before, inside = guard.around(), snapshot(store)
    formats = st.sampled_from([["--format", "csv"], ["--json"], ["--limit", "3"], []])

    def case(drawn: tuple[str, list[str]]) -> None:
        ask(guard, drawn[0], *drawn[1])
        assert snapshot(store) == inside
        assert guard.around() == before

    fuzz(0.25, st.tuples(statements, formats), case)


VALUES = [text for text in WHOLE if text.startswith("SELECT") and "{}" not in text]


def test_values_of_every_kind_in_files(fuzz: Fuzz, guard: Guard, store: Path) -> None:
    """Each is written whole, or refused in one sentence."""
    assert store.is_dir()

    def case(drawn: tuple[str, str]) -> None:
        path = guard.out / f"values{drawn[1]}"
        said = ask(guard, drawn[0], "-o", str(path))
        assert said.status in (0, 2), said
        if said.status == 0 and drawn[1] == ".json":
            json.loads(path.read_text(encoding="utf-8"))

    endings = st.sampled_from([".csv", ".json", ".parquet", "", ".xml"])
    fuzz(0.08, st.tuples(st.sampled_from(VALUES), endings), case)


def test_a_table_shows_text_as_it_is(guard: Guard, store: Path) -> None:
    assert store.is_dir()
    said = ask(guard, "SELECT '[/b] [red]x :smile:' AS \"[a]\", chr(27) || '[31m' AS b")
    assert "[/b] [red]x :smile:" in said.out
    assert "[a]" in said.out
    assert "\x1b" not in said.out
    assert "\\x1b[31m" in said.out
