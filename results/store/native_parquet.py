"""Parts that DuckDB reads by itself, which takes a fifth of the time it takes through Arrow.

DuckDB compares no checksums: a damaged page would be other numbers. So the name of a part ends with
one of the whole file, and a file is compared with its name before DuckDB gets to read it, once in a
process and again when it has changed; one that differs is left out, by name. Other parts (of remote
stores, older versions, users' probes) are left to Arrow, which compares every page it reads.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pyarrow as pa

from results.schema import OWNER, RECORDS, arrow_schema
from results.store import files
from results.store.merging.counting import Part
from results.store.parquet_parts import PART, PartIndex
from results.store.paths import checksum, told_checksum
from results.store.views import strings, view_name

_ADDED = frozenset({*(column.name for column in OWNER), "frozen"})
"""Columns that parts of older versions lack, which are null there."""
_READ = 4 * 2**20
_GLOB = frozenset("*?[")
_READS = {"epochs": ("runs", "diagnosis"), "layers": ("diagnosis",)}
"""Views made of a table, beside those that have its name in theirs."""
_SOME_TRIALS = re.compile(
    r"""trial_id\s*(=\s*['$?]|like\s|in\s*\(\s*')|starts_with\([\w."]*trial_id""", re.IGNORECASE
)
"""A query that names the trials it wants; Arrow passes over the others' row groups, and nothing
need be compared first."""

_Stamp = tuple[int, int, int]
_compared: dict[str, _Stamp] = {}
"""Files that are what their names say, as they were when that was found."""


class NativeParts:
    """What one connection may read by itself, and does."""

    def __init__(self, index: PartIndex):
        self._index = index
        self._waiting = {table: told for table in index.tables if (told := _told(index, table))}
        self._taken: dict[str, list[str]] = {}

    @property
    def paths(self) -> list[str]:
        """All that the connection must be allowed to read."""
        waiting = self._waiting.items()
        return [part.path for table, told in waiting for part in told if _fits(part, table)]

    def take(self, con: duckdb.DuckDBPyConnection, query: str) -> str | None:
        """Has DuckDB itself read what the query names, if that is worth comparing it first.

        Returns:
          A table of which files are not what their names say: these are bad from now on, and the
          store must be listed again. None if all is well.
        """
        some = _SOME_TRIALS.search(query)
        for table in [name for name in self._waiting if _names(query, name)]:
            told = self._waiting[table]
            if some and not all(_unchanged(part.path) for part in told):
                continue
            del self._waiting[table]
            found = _compared_all([part.path for part in told])
            damaged = [part for part in told if found[part.path] is False]
            for part in damaged:
                self._index.condemn(part, "its content is not what its name tells")
            if damaged:
                return table
            sound = [part for part in told if found[part.path] and _fits(part, table)]
            if sound:
                self._taken[table] = sorted(part.path for part in sound)
                rest = [part for part in self._index.tables[table].live if part not in sound]
                _show(con, self._index, table, sound, rest)
        return None

    def changed(self) -> str | None:
        """A table of which DuckDB reads a file that is no longer what was compared."""
        for table, paths in self._taken.items():
            if not all(_unchanged(path) for path in paths):
                return table
        return None


def _told(index: PartIndex, table: str) -> list[Part]:
    """Live local parts of a pinned table whose names have a checksum."""
    if arrow_schema(table) is None or table in RECORDS or not files.is_local(index.fs):
        return []
    return [part for part in index.tables[table].live if told_checksum(part.path)]


def _fits(part: Part, table: str) -> bool:
    """Whether a part has every column of the table, but for those added since, and a path that
    DuckDB takes as it is."""
    lacking = _lacking(part, table)
    older = pa.schema([field for field in _pinned(table) if field.name not in lacking])
    return lacking <= _ADDED and part.schema.equals(older) and _GLOB.isdisjoint(part.path)


def _lacking(part: Part, table: str) -> frozenset[str]:
    """Columns of the table that the part has not."""
    return frozenset(_pinned(table).names) - frozenset(part.schema.names)


def _pinned(table: str) -> pa.Schema:
    schema = arrow_schema(table)
    assert schema is not None, table  # of others nothing is read here
    return schema


def _names(query: str, table: str) -> bool:
    text, name = query.lower(), view_name(table)
    return any(word in text for word in (name, *_READS.get(name, ())))


def _compared_all(paths: Sequence[str]) -> dict[str, bool | None]:
    """By path, whether its content is what its name says; None of what cannot be read."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return dict(zip(paths, pool.map(_compare, paths), strict=True))


def _compare(path: str) -> bool | None:
    if _unchanged(path):
        return True
    try:
        before, found = _stamp(path), "0"
        with Path(path).open("rb", buffering=0) as stream:
            while chunk := stream.read(_READ):
                found = checksum(chunk, found)
    except OSError:
        return None
    if found != told_checksum(path):
        return False
    _compared[path] = before
    return True


def _unchanged(path: str) -> bool:
    try:
        return _compared.get(path) == _stamp(path)
    except OSError:
        return False


def _stamp(path: str) -> _Stamp:
    found = Path(path).stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _show(
    con: duckdb.DuckDBPyConnection, index: PartIndex, table: str, own: list[Part], rest: list[Part]
) -> None:
    """`files_<table>`: what DuckDB reads by itself, and the rest."""
    name = view_name(table)
    columns = con.sql(f"SELECT * FROM files_{name} LIMIT 0").columns
    named = PART in columns
    reads = []
    versions: dict[frozenset[str], list[str]] = {}
    for part in own:
        versions.setdefault(_lacking(part, table), []).append(part.path)
    for lacking, paths in sorted(versions.items(), key=lambda one: sorted(one[0])):
        # NaN is the greatest number to DuckDB, and none to the statistics in a footer.
        how = "hive_partitioning = false, can_have_nan = true"
        how += f", filename = '{PART}'" if named else ""
        nulls = "".join(
            f", NULL::{'BOOLEAN' if name == 'frozen' else 'VARCHAR'} AS {name}"
            for name in sorted(lacking)
        )
        reads.append(f"SELECT *{nulls} FROM read_parquet({strings(sorted(paths))}, {how})")
    con.register(f"arrow_{name}", index.dataset(table, rest, named))
    reads += [f"FROM arrow_{name}"] if rest else []
    listed = ", ".join(columns)
    whole = " UNION ALL ".join(f"SELECT {listed} FROM ({read})" for read in reads)
    con.execute(f"CREATE OR REPLACE TEMP VIEW files_{name} AS {whole}")
