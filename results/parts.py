"""The Parquet parts of a store: writing one, and knowing which of them count."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from results import files
from results.errors import StoreError, nearest
from results.paths import MERGED, Paths, is_name
from results.schema import KEYS, REQUIRED, TABLES, arrow_schema, probe_fault

REPLACES = b"replaces"
"""Footer key of a merged part: the names of the parts it stands for, as a JSON list."""

_ROW_GROUP = 500_000


def conform(table: str, data: pa.Table) -> pa.Table:
    """`data` in the table's pinned schema: columns ordered and cast, absent ones null.

    A user's probe has no pinned schema here; it must have the three keys.

    Raises:
      StoreError: a column the table does not have, or values that do not fit its type.
    """
    schema = arrow_schema(table)
    if schema is None:
        keys = pa.schema([column.field() for column in KEYS])
        lacking = [name for name in keys.names if name not in data.column_names]
        if lacking:
            raise StoreError(f"rows for {table} lack {', '.join(lacking)}; every row has them.")
        own = [f for f in data.schema if f.name not in keys.names]
        schema = pa.schema([*keys, *own])
    for name in data.column_names:
        if name not in schema.names:
            hint = nearest(name, schema.names)
            raise StoreError(f"table {table} has no column {name!r}{hint}; see results/schema.py.")
    columns = []
    for column in schema:
        if column.name not in data.column_names:
            columns.append(pa.nulls(data.num_rows, column.type))
            continue
        try:
            columns.append(data[column.name].cast(column.type))
        except pa.ArrowInvalid as error:
            raise StoreError(
                f"column {column.name} of {table} must be {column.type}: {error}."
            ) from error
    return pa.Table.from_arrays(columns, schema=schema)


def encode(data: pa.Table, replaces: list[str] | None = None) -> pa.Buffer:
    """A whole Parquet file in memory, so that it can be published in one piece."""
    if replaces is not None:
        data = data.replace_schema_metadata({REPLACES: json.dumps(replaces).encode()})
    sink = pa.BufferOutputStream()
    # Checksums: a damaged page must be named, not read as other numbers.
    pq.write_table(
        data, sink, compression="zstd", row_group_size=_ROW_GROUP, write_page_checksum=True
    )
    return sink.getvalue()


def parquet_format() -> pads.ParquetFileFormat:
    options = pads.ParquetFragmentScanOptions(page_checksum_verification=True)
    return pads.ParquetFileFormat(default_fragment_scan_options=options)


@dataclass(frozen=True)
class Part:
    """One readable part, as its footer describes it."""

    path: str
    size: int
    rows: int
    schema: pa.Schema
    replaces: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


@dataclass
class Listing:
    """The parts of one table: those that count, and merged ones that came second and do not."""

    live: list[Part] = field(default_factory=list)
    merged: list[Part] = field(default_factory=list)
    replaced: dict[str, Part] = field(default_factory=dict)
    rejected: list[Part] = field(default_factory=list)


def settle(parts: list[Part]) -> Listing:
    """Which parts count. Of two merged parts that replace a part in common (two `compact` runs at
    once), the one published first holds; the other is passed over and what it held stays visible.
    """
    listing = Listing()
    claimed: set[str] = set()
    for part in sorted((p for p in parts if p.name.startswith(MERGED)), key=lambda p: p.name):
        if claimed.isdisjoint(part.replaces):
            claimed.update(part.replaces)
            listing.merged.append(part)
        else:
            listing.rejected.append(part)
    passed_over = {part.name for part in listing.rejected}
    for part in parts:
        if part.name in claimed:
            listing.replaced[part.name] = part
        elif part.name not in passed_over:
            listing.live.append(part)
    return listing


def _replaces(schema: pa.Schema) -> tuple[str, ...]:
    """Names a merged part's footer says it replaces. Raises ValueError."""
    names = json.loads((schema.metadata or {}).get(REPLACES, b"[]"))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("its footer names no list of files it replaces")
    return tuple(names)


def _fault(table: str, schema: pa.Schema) -> str | None:
    """Why a file with these columns is no part of the table; None if it may be one."""
    names = [name.lower() for name in schema.names]  # DuckDB's names ignore case
    if len({*names}) < len(names):
        return "two of its columns have one name"
    for column in arrow_schema(table) or [key.field() for key in KEYS]:
        if column.name in schema.names and schema.field(column.name).type != column.type:
            kind = schema.field(column.name).type
            return f"column {column.name} is {kind}, not {column.type}"
    absent = [n for n in REQUIRED.get(table, [k.name for k in KEYS]) if n not in schema.names]
    if absent:
        return f"it has no column {absent[0]}, so it is no part of {table}"
    return None


class PartIndex:
    """Every table's parts, footers read once. Bad files are in `bad`, by path, with the reason."""

    def __init__(self, filesystem: pafs.FileSystem, paths: Paths):
        self.fs = filesystem
        self.paths = paths
        self.bad: dict[str, str] = {}
        self.tables: dict[str, Listing] = {}
        self._footers: dict[tuple[str, int], Part | str] = {}

    def refresh(self) -> None:
        """Lists the store again; reads the footers not seen before."""
        self.bad = {}
        self.tables = {name: self._list(name) for name in sorted({*TABLES, *self._probes()})}

    def _probes(self) -> list[str]:
        """Tables of the folders of probes."""
        known = {name.lower() for name in TABLES}
        found: list[str] = []
        for info in sorted(self._inside(self.paths.probes), key=lambda info: info.path):
            name = f"probes/{info.base_name}"
            if info.type != pafs.FileType.Directory or name in TABLES:
                continue
            problem = probe_fault(info.base_name)
            if not is_name(info.base_name):
                problem = "no probe can be called so"
            elif name.lower() in known:
                problem = "a probe has the same name but for capitals"
            if problem:
                self.bad[info.path] = problem
            else:
                known.add(name.lower())
                found.append(name)
        return found

    def _inside(self, folder: str) -> list[pafs.FileInfo]:
        """What is in a folder; nothing if it does not exist, or is a file, which is then bad."""
        try:
            found = self.fs.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
            return list(files.with_names(found))
        except NotADirectoryError:
            self.bad[folder] = "a file where a folder belongs"
            return []

    def paths_of(self, table: str) -> list[str]:
        """Paths of the parts that count; none of an unknown table."""
        return [part.path for part in self.tables[table].live] if table in self.tables else []

    def _list(self, table: str, tries: int = 5) -> Listing:
        folder = self.paths.table(table)
        infos = [i for i in self._inside(folder) if i.type == pafs.FileType.File]
        infos = [i for i in infos if i.path.endswith(".parquet") and i.base_name[0] != "."]
        infos.sort(key=lambda info: info.path)
        new = [i for i in infos if (i.path, i.size) not in self._footers]
        with ThreadPoolExecutor(1 if files.is_local(self.fs) else 16) as pool:
            read = pool.map(lambda info: self._footer(table, info), new)
            for info, part in zip(new, read, strict=True):
                if part is not None:
                    self._footers[info.path, info.size] = part
        if tries and any((info.path, info.size) not in self._footers for info in new):
            # Deleted between listing and reading: what replaces it may have come after the listing.
            return self._list(table, tries - 1)
        parts: list[Part] = []
        for info in infos:
            part = self._footers.get((info.path, info.size))
            if isinstance(part, Part):
                parts.append(part)
            elif part is not None:
                self.bad[info.path] = part
        return settle(parts if table in TABLES else self._fitting(parts))

    def _fitting(self, parts: list[Part]) -> list[Part]:
        """Parts of a user's probe whose columns fit together; the others are bad."""
        union = pa.schema([column.field() for column in KEYS]).remove_metadata()
        kept: list[Part] = []
        for part in parts:
            try:
                union = pa.unify_schemas(
                    [union, part.schema.remove_metadata()], promote_options="permissive"
                )
                kept.append(part)
            except pa.ArrowException as error:
                self.bad[part.path] = f"its columns do not fit those of earlier files: {error}"
        return kept

    def _footer(self, table: str, info: pafs.FileInfo) -> Part | str | None:
        """The part, why it cannot be read, or None if it has just been deleted."""
        try:
            with self.fs.open_input_file(info.path) as stream:
                file = pq.ParquetFile(stream)
                schema, rows = file.schema_arrow, file.metadata.num_rows
                replaces = _replaces(schema)
        except FileNotFoundError:
            return None
        except (OSError, pa.ArrowException, ValueError, RecursionError) as error:
            return f"not a readable Parquet file: {error}"
        problem = _fault(table, schema)
        return problem or Part(info.path, info.size, rows, schema, replaces)

    def verify(self, table: str) -> None:
        """Reads every live part of a table in full; the unreadable ones become bad."""
        for part in self.tables[table].live:
            try:
                with self.fs.open_input_file(part.path) as stream:
                    pq.ParquetFile(stream, page_checksum_verification=True).read()
            except FileNotFoundError:
                continue
            except (OSError, pa.ArrowException) as error:
                self._footers[part.path, part.size] = f"damaged: {error}"

    def schema(self, table: str) -> pa.Schema:
        """The pinned schema, or the union of what a user's probe has been written with."""
        pinned = arrow_schema(table)
        if pinned is not None:
            return pinned
        keys = pa.schema([column.field() for column in KEYS])
        found = [part.schema.remove_metadata() for part in self.tables[table].live]
        return pa.unify_schemas([keys.remove_metadata(), *found], promote_options="permissive")

    def dataset(self, table: str, parts: list[Part] | None = None) -> pads.Dataset:
        """The live parts (or those given) as one data set, in the table's schema."""
        paths = self.paths_of(table) if parts is None else [part.path for part in parts]
        return pads.FileSystemDataset.from_paths(
            paths, schema=self.schema(table), format=parquet_format(), filesystem=self.fs
        )

    def live(self) -> Iterator[tuple[str, Part]]:
        for table, listing in self.tables.items():
            for part in listing.live:
                yield table, part
