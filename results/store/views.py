"""A DuckDB connection whose views show a store: visible rows, typed configs, metrics, diagnosis.

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
from results.schema import EPOCHS, KEYS, OWNER, RECORDS, TRIALS
from results.store.config_columns import config_table
from results.store.diagnosis import diagnosis_view
from results.store.merging.continued import borrowed
from results.store.merging.lines import chosen_lines
from results.store.metric_columns import MetricColumn, better_end, measured, metric_columns
from results.store.parquet_parts import PART, PartIndex

_LOCK = (
    "SET memory_limit = '{memory}B'",
    "SET temp_directory = '{spill}'",
    "SET TimeZone = 'UTC'",
    "SET python_enable_replacements = false",
    "SET enable_progress_bar = false",
    "SET allowed_paths = {allowed}",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


_WATCH = ("monitor", "monitor_mode")
_LINED = """trial_id, attempt, launch_id, follows, first_epoch, epochs_done, status, started,
newest, continues, continues_attempt"""
_BORROWED = pa.schema(
    [
        ("trial_id", pa.string()), ("attempt", pa.int32()), ("source_id", pa.string()),
        ("source_attempt", pa.int32()), ("source_launch", pa.string()),
        ("until_epoch", pa.int32()), ("shown", pa.bool_()),
    ]
)  # fmt: skip
_IS_SOURCE = """a.trial_id = b.source_id AND a.attempt = b.source_attempt
AND coalesce(a.launch_id, '') = b.source_launch"""
_LINES = pa.schema(
    [
        ("trial_id", pa.string()), ("attempt", pa.int32()), ("launch_id", pa.string()),
        ("newest", pa.bool_()), ("shown", pa.bool_()), ("followed", pa.bool_()),
        ("until_epoch", pa.int32()), ("spare_epoch", pa.int32()),
    ]
)  # fmt: skip


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
) -> tuple[duckdb.DuckDBPyConnection, dict[str, str], dict[str, MetricColumn], int]:
    """A locked in-memory connection over the parts of `index`.

    Args:
      allowed: files that SQL may read.
      memory: bytes that it may take; half of what is free if None.

    Returns:
      The connection, the column name of every config key, the metrics by name, and the bytes that
      it may take.
    """
    con = duckdb.connect()
    for table in RECORDS:
        con.register(f"files_{table}", index.dataset(table))
    con.execute(sql_text("attempts"))
    shared = _choose_lines(con)
    continued = _borrow(con)
    columns = _create_trials(con, spaces, continued)
    metrics = _metrics(con, columns.values())
    watched = _create_monitors(con, columns, metrics)
    _create_spaces(con, spaces)
    for table, listing in index.tables.items():
        if table not in RECORDS:
            named = listing.overlapping or (shared and not listing.owned)
            con.register(f"files_{view_name(table)}", index.dataset(table, named=named))
            own = metrics.values() if table == "epochs" else ()
            _create_rows(con, view_name(table), shared, continued, named, own)
    _create_runs(con, columns.values(), metrics.values())
    con.execute(sql_text("decisions"))
    con.execute(sql_text("launches"))
    same = {*(column.name for column in (*KEYS, *OWNER)), "seconds"}
    measured = ", ".join(f"'{c.name}': r.{c.name}" for c in EPOCHS if c.name not in same)
    con.execute(sql_text("conflicts").replace("{columns}", f"{{{measured}}}"))
    con.execute(sql_text("monitored").replace("{watched}", watched))
    con.execute(diagnosis_view(sql_text("diagnosis"), rules))
    spill = f"{tempfile.gettempdir()}/gradsweep-{os.getpid()}".replace("'", "''")
    given = _memory(con) if memory is None else memory
    for statement in _LOCK:
        con.execute(statement.format(memory=given, spill=spill, allowed=strings(allowed)))
    return con, columns, metrics, given


def _memory(con: duckdb.DuckDBPyConnection) -> int:
    """Half of what is free, or what DuckDB takes by itself, which knows a container's limit."""
    (own,) = con.execute("SELECT current_setting('memory_limit')").fetchall()[0]
    return min(half_of_free(), bytes_of(own))


def keep_diagnosis(con: duckdb.DuckDBPyConnection) -> None:
    """Makes the view `diagnosis` a table: what reads all layers is computed once a connection."""
    con.execute("CREATE OR REPLACE TABLE kept_diagnosis AS SELECT * FROM diagnosis")
    con.execute("CREATE OR REPLACE VIEW diagnosis AS SELECT * FROM kept_diagnosis")
    con.execute(
        "CREATE OR REPLACE VIEW run_verdicts AS SELECT trial_id, verdict FROM kept_diagnosis"
    )


def _choose_lines(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether attempts of a trial are not one line, as where two stores ran it: two of one number,
    or one that does not say that it follows the one before it. If so, which of them show is
    corrected in the table `attempts`."""
    rows = _attempts_of(
        con,
        "SELECT trial_id FROM ("
        "SELECT trial_id, attempt, follows, lag(attempt) OVER earlier AS before, "
        "coalesce(lag(launch_id) OVER earlier, '') AS launch FROM attempts "
        "WINDOW earlier AS (PARTITION BY trial_id ORDER BY attempt, launch_id)) "
        "WHERE before = attempt OR follows <> "
        "CASE WHEN before IS NULL THEN '[]' "
        """ELSE '[[' || before || ', "' || launch || '"]]' END""",
    )
    if not rows:
        return False
    _create_table(con, "lines", pa.Table.from_pylist(chosen_lines(rows), _LINES))
    con.execute(
        "CREATE OR REPLACE TABLE attempts AS SELECT a.* REPLACE ("
        + ", ".join(
            f"CASE WHEN l.trial_id IS NULL THEN a.{name} ELSE l.{name} END AS {name}"
            for name in _LINES.names[3:]
        )
        + ") FROM attempts a LEFT JOIN lines l ON a.trial_id = l.trial_id "
        "AND a.attempt = l.attempt AND a.launch_id IS NOT DISTINCT FROM l.launch_id "
        "ORDER BY a.trial_id, a.attempt, a.launch_id"
    )
    con.execute("DROP TABLE lines")
    return True


def _attempts_of(con: duckdb.DuckDBPyConnection, trials: str) -> list[dict[str, Any]]:
    """Rows of `attempts` of the trials that a query gives, with what makes lines of them."""
    rows = con.sql(
        f"SELECT {_LINED} FROM attempts WHERE trial_id IN ({trials}) ORDER BY ALL"
    ).to_arrow_table()
    # As microseconds, since a damaged one need be no date.
    at = rows.column_names.index("started")
    return rows.set_column(at, "started", rows["started"].cast(pa.int64())).to_pylist()


def _borrow(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether trials go on from shorter ones. If so, `borrowed` has what they have of these, and
    `spare_epoch` of `attempts` spares it."""
    rows = _attempts_of(
        con,
        "SELECT trial_id FROM attempts WHERE continues <> '' UNION "
        "SELECT continues FROM attempts WHERE continues <> ''",
    )
    if not rows:
        return False
    found = [{**vars(one), "source_attempt": one.source[0], "source_launch": one.source[1]}
             for one in borrowed(rows)]  # fmt: skip
    _create_table(con, "borrowed", pa.Table.from_pylist(found, _BORROWED))
    con.execute(
        "UPDATE attempts a SET spare_epoch = greatest(a.spare_epoch, b.until_epoch) FROM ("
        "SELECT source_id, source_attempt, source_launch, max(until_epoch) AS until_epoch "
        "FROM borrowed GROUP BY ALL) b WHERE a.spare_epoch IS NOT NULL "
        f"AND {_IS_SOURCE}"
    )
    return True


def _create_trials(
    con: duckdb.DuckDBPyConnection, spaces: Mapping[str, Mapping[str, Any]], continued: bool
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
        "coalesce(a.until_epoch, 2147483647) AS until_epoch, "
        "a.launch_id, a.follows IS NULL AS ownerless, "
        "a.trial_id AS source_id, a.attempt AS source_attempt "
        "FROM attempts a JOIN configs c USING (trial_id) WHERE a.shown"
    )
    if continued:
        con.execute(
            "INSERT INTO visible SELECT b.trial_id, b.attempt, v.stale, v.trial, b.until_epoch, "
            "a.launch_id, a.follows IS NULL, b.source_id, b.source_attempt "
            "FROM borrowed b JOIN visible v ON b.trial_id = v.trial_id AND b.attempt = v.attempt "
            f"JOIN attempts a ON {_IS_SOURCE} WHERE b.shown"
        )
        con.execute("DROP TABLE borrowed")
    return columns


def _metrics(con: duckdb.DuckDBPyConnection, configs: Iterable[str]) -> dict[str, MetricColumn]:
    """The metrics that trials say they record; of what older versions wrote, none."""
    rows = con.execute(
        "SELECT DISTINCT metric_columns FROM attempts WHERE metric_columns IS NOT NULL AND shown "
        "ORDER BY 1"
    ).fetchall()
    return metric_columns((text for (text,) in rows), configs)


def _create_monitors(
    con: duckdb.DuckDBPyConnection,
    columns: Mapping[str, str],
    metrics: Mapping[str, MetricColumn],
) -> str:
    """The table `monitors`: what trials watch that do not watch val_loss, and which end of it is
    better. Returns the SQL of a trial's watched number in a row of epochs, given its monitor."""
    keys = [
        f"c.{quoted(columns[key])}::VARCHAR" if key in columns else "NULL::VARCHAR"
        for key in _WATCH
    ]
    asked = con.execute(
        f"SELECT DISTINCT {keys[0]}, {keys[1]} FROM configs c "
        f"WHERE {keys[0]} <> 'val_loss' OR {keys[1]} <> 'auto' ORDER BY ALL"
    ).fetchall()
    found = {"monitor": [], "asked": [], "mode": []}
    for name, mode in asked:
        found["monitor"].append(name)
        found["asked"].append(mode)
        found["mode"].append(better_end(name or "val_loss", mode, metrics))
    types = pa.schema([(key, pa.string()) for key in found])
    _create_table(con, "asked_monitors", pa.table(found, schema=types))
    con.execute(
        "CREATE TABLE monitors AS SELECT c.trial_id, coalesce(m.monitor, 'val_loss') AS monitor, "
        f"m.mode FROM configs c JOIN asked_monitors m ON {keys[0]} IS NOT DISTINCT FROM m.monitor "
        f"AND {keys[1]} IS NOT DISTINCT FROM m.asked"
    )
    con.execute("DROP TABLE asked_monitors")
    cases = [
        f"WHEN {strings([name])[1:-1]} THEN {measured(name)}"
        for name in dict.fromkeys(name for name in found["monitor"] if name)
    ]
    return f"CASE monitor {' '.join(cases)} ELSE val_loss END" if cases else "val_loss"


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


def _create_rows(
    con: duckdb.DuckDBPyConnection,
    name: str,
    shared: bool,
    continued: bool,
    named: bool = False,
    metrics: Iterable[MetricColumn] = (),
) -> None:
    """`all_<name>`: the rows no later attempt supersedes; `<name>`: without stale trials;
    `numbered_<name>`: these with their trial as a number, which groups and joins faster.

    Args:
      shared: attempts of several stores have one number, so that the launch distinguishes rows.
      continued: rows may be those of another trial too, which goes on from the one that wrote them.
      named: rows may be in several parts, whose names are in the column `PART`: of each attempt
        and epoch those of one part show, the first by name of those that name launches, if any.
      metrics: those to show as columns of `all_<name>` and `<name>`.
    """
    source, everything, view = quoted(f"files_{name}"), quoted(f"all_{name}"), quoted(name)
    own = " AND (r.launch_id = v.launch_id OR r.launch_id IS NULL AND v.ownerless)"
    # Where each row is one trial's, DuckDB sees that of the others none need be read.
    trial, attempt = ("source_id", "source_attempt") if continued else ("trial_id", "attempt")
    shown = (
        f"FROM {source} r JOIN visible v "
        f"ON r.trial_id = v.{trial} AND r.attempt = v.{attempt} AND r.epoch < v.until_epoch"
    ) + own * shared
    columns = "r.*"
    if named:
        columns = f"r.* EXCLUDE ({PART})"
        shown += (
            " JOIN (SELECT v.trial_id AS shown_id, r.trial_id, r.attempt, r.epoch, "
            f"arg_min(r.{PART}, (r.launch_id IS NULL, r.{PART})) AS {PART} {shown} GROUP BY ALL) u "
            "ON v.trial_id = u.shown_id AND r.trial_id = u.trial_id AND r.attempt = u.attempt "
            f"AND r.epoch = u.epoch AND r.{PART} = u.{PART}"
        )
    if continued:
        columns += " REPLACE (v.trial_id AS trial_id, v.attempt AS attempt)"
    own = [f"r.{measured(metric.name)} AS {quoted(metric.column)}" for metric in metrics]
    all_columns = ", ".join([columns, *own])
    con.execute(f"CREATE VIEW {everything} AS SELECT {all_columns} {shown}")
    con.execute(f"CREATE VIEW {view} AS SELECT {all_columns} {shown} WHERE NOT v.stale")
    if name in ("epochs", "layers"):
        numbered = quoted(f"numbered_{name}")
        con.execute(
            f"CREATE VIEW {numbered} AS SELECT v.trial, {columns} {shown} WHERE NOT v.stale"
        )


def _create_runs(
    con: duckdb.DuckDBPyConnection, configs: Iterable[str], metrics: Iterable[MetricColumn]
) -> None:
    """The view `runs`. A config key's column keeps the name that it shares with one of ours."""
    keys = {column.name for column in (*KEYS, *OWNER)}
    taken = {name.lower() for name in configs}
    own = {name: f"run_{name}" if name in taken else name for name in ("study", "verdict")}
    changes = {
        "configs": "c.* EXCLUDE (trial_id, stale)",
        "metrics": ", ".join(
            [
                *(f"e.{c.name}" for c in EPOCHS if c.name not in keys),
                *(f"e.{quoted(metric.column)}" for metric in metrics),
            ]
        ),
        **own,
    }
    text = sql_text("runs")
    for name, change in changes.items():
        text = text.replace(f"{{{name}}}", change)
    con.execute(text)
