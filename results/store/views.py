"""A DuckDB connection whose views show a store: visible rows, typed configs, diagnosis.

After `connect` the connection is locked: no file, network or setting can be reached from SQL, but
for Parquet parts that `native_parquet` may come to read. The others are read through pyarrow data
sets.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any

import duckdb
import pyarrow as pa

from results.bounds import bytes_of, half_of_free
from results.schema import EPOCHS, KEYS, TRIALS
from results.store.config_columns import config_table
from results.store.diagnosis import diagnosis_view
from results.store.parquet_parts import PartIndex

_LOCK = (
    "SET memory_limit = '{memory}B'",
    "SET temp_directory = '{spill}'",
    "SET TimeZone = 'UTC'",
    "SET python_enable_replacements = false",
    "SET allowed_paths = {allowed}",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


def sql_text(name: str) -> str:
    """A file of `results/store/sql`."""
    return files("results.store").joinpath(f"sql/{name}.sql").read_text(encoding="utf-8")


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def strings(values: Iterable[str]) -> str:
    """A list of SQL strings."""
    return "[" + ", ".join("'" + value.replace("'", "''") + "'" for value in values) + "]"


def view_name(table: str) -> str:
    """View of a table; for a probe its bare name."""
    return table.removeprefix("probes/")


def connect(
    index: PartIndex,
    spaces: Mapping[str, Mapping[str, Any]],
    rules: Mapping[str, float],
    allowed: Iterable[str] = (),
    memory: int | None = None,
) -> tuple[duckdb.DuckDBPyConnection, dict[str, str], int]:
    """A locked in-memory connection over the parts of `index`.

    Args:
      allowed: files that SQL may read.
      memory: bytes that it may take; half of what is free if None.

    Returns:
      The connection, the column name of every config key, and the bytes that it may take.
    """
    con = duckdb.connect()
    for table in index.tables:
        con.register(f"files_{view_name(table)}", index.dataset(table))
    con.execute(sql_text("attempts"))
    columns = _create_trials(con, spaces)
    _create_spaces(con, spaces)
    for table in index.tables:
        if table != "trials":
            _create_rows(con, view_name(table))
    _create_runs(con)
    con.execute(diagnosis_view(sql_text("diagnosis"), rules))
    spill = f"{tempfile.gettempdir()}/gradsweep-{os.getpid()}".replace("'", "''")
    given = _memory(con) if memory is None else memory
    for statement in _LOCK:
        con.execute(statement.format(memory=given, spill=spill, allowed=strings(allowed)))
    return con, columns, given


def _memory(con: duckdb.DuckDBPyConnection) -> int:
    """Half of what is free, or what DuckDB takes by itself, which knows a container's limit."""
    (own,) = con.execute("SELECT current_setting('memory_limit')").fetchall()[0]
    return min(half_of_free(), bytes_of(own))


def keep_diagnosis(con: duckdb.DuckDBPyConnection) -> None:
    """Makes the view `diagnosis` a table: what reads all layers is computed once a connection."""
    con.execute("CREATE OR REPLACE TABLE kept_diagnosis AS SELECT * FROM diagnosis")
    con.execute("CREATE OR REPLACE VIEW diagnosis AS SELECT * FROM kept_diagnosis")


def _create_trials(
    con: duckdb.DuckDBPyConnection, spaces: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    fields = "trial_id, config, config_id, versions, labels, first_started"
    rows = con.sql(f"SELECT {fields} FROM attempts WHERE newest ORDER BY trial_id")
    declared = {
        name: str(key.get("type"))
        for space in spaces.values()
        for name, key in (space.get("keys") or {}).items()
    }
    table, columns = config_table(rows.to_arrow_table().to_pylist(), declared)
    _create_table(con, "configs", table)
    rest = ", ".join(f"a.{c.name}" for c in TRIALS if c.name not in ("trial_id", "status", "stage"))
    head = "a.trial_id, a.status, a.stage, c.* EXCLUDE (trial_id, stale)"
    con.execute(
        f"CREATE VIEW all_trials AS SELECT {head}, {rest}, c.stale "
        "FROM attempts a JOIN configs c USING (trial_id) WHERE a.newest"
    )
    con.execute("CREATE VIEW trials AS SELECT * FROM all_trials WHERE NOT stale")
    con.execute(
        "CREATE TABLE visible AS SELECT a.trial_id, a.attempt, c.stale, "
        "dense_rank() OVER (ORDER BY trial_id)::INTEGER AS trial, "
        "coalesce(a.until_epoch, 2147483647) AS until_epoch "
        "FROM attempts a JOIN configs c USING (trial_id)"
    )
    return columns


def _create_table(con: duckdb.DuckDBPyConnection, name: str, data: pa.Table) -> None:
    con.register(f"_{name}", data)
    con.execute(f"CREATE TABLE {name} AS SELECT * FROM _{name}")
    con.unregister(f"_{name}")


def _create_spaces(con: duckdb.DuckDBPyConnection, spaces: Mapping[str, Mapping[str, Any]]) -> None:
    heads = {"name": [], "study": [], "title": [], "paper": [], "reproduces": []}
    for name, space in spaces.items():
        heads["name"].append(name)
        for key in ("study", "title", "paper"):
            heads[key].append(str(space.get(key) or ""))
        heads["reproduces"].append(str(space.get("feeds") or ""))
    types = pa.schema([(key, pa.string()) for key in heads])
    _create_table(con, "spaces", pa.table(heads, schema=types))
    pairs = [(n, str(t)) for n, s in spaces.items() for t in s.get("trials") or []]
    members = {"space": [n for n, _ in pairs], "trial_id": [t for _, t in pairs]}
    types = pa.schema([("space", pa.string()), ("trial_id", pa.string())])
    _create_table(con, "space_trials", pa.table(members, schema=types))


def _create_rows(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """`all_<name>`: the rows no later attempt supersedes; `<name>`: without stale trials;
    `numbered_<name>`: these with their trial as a number, which groups and joins faster."""
    source, everything, view = quoted(f"files_{name}"), quoted(f"all_{name}"), quoted(name)
    shown = (
        f"FROM {source} r JOIN visible v "
        "ON r.trial_id = v.trial_id AND r.attempt = v.attempt AND r.epoch < v.until_epoch"
    )
    con.execute(f"CREATE VIEW {everything} AS SELECT r.* {shown}")
    con.execute(f"CREATE VIEW {view} AS SELECT r.* {shown} WHERE NOT v.stale")
    if name in ("epochs", "layers"):
        numbered = quoted(f"numbered_{name}")
        con.execute(f"CREATE VIEW {numbered} AS SELECT v.trial, r.* {shown} WHERE NOT v.stale")


def _create_runs(con: duckdb.DuckDBPyConnection) -> None:
    keys = [column.name for column in KEYS]
    metrics = ", ".join(f"e.{c.name}" for c in EPOCHS if c.name not in keys)
    con.execute(
        "CREATE VIEW runs AS SELECT e.trial_id, e.epoch, e.attempt, a.status, a.stage, "
        f"c.* EXCLUDE (trial_id, stale), {metrics} FROM epochs e "
        "JOIN configs c ON e.trial_id = c.trial_id "
        "JOIN attempts a ON e.trial_id = a.trial_id AND a.newest"
    )
