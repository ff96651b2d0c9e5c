"""The Parquet parts of a store: writing one, and knowing which of them count."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from results.errors import StoreError, nearest
from results.schema import KEYS, OWNER, REQUIRED, TABLES, arrow_schema, is_view
from results.store import files
from results.store.merging.counting import Listing, Part, counted
from results.store.paths import Paths, is_segment

if TYPE_CHECKING:
    import pyarrow.dataset as pads

REPLACES = b"replaces"
"""Footer key of a merged part: the names of the parts it stands for, as a JSON list."""

PART = "gradsweep_part"
"""Column of the path of the part that a row is in, where views need it; no part has it."""

_ROW_GROUP = 131_072
"""Rows; as many as pyarrow reads at a time. Four times as many are no smaller, and skip less."""


def conform(table: str, data: pa.Table) -> pa.Table:
    """`data` in the table's pinned schema: columns ordered and cast, absent ones null.

    A user's probe has no pinned schema here; it must have the three keys, and may have an owner.

    Raises:
      StoreError: a column the table does not have, or values that do not fit its type.
    """
    schema = arrow_schema(table)
    if schema is None:
        keys = pa.schema([column.field() for column in KEYS])
        lacking = [name for name in keys.names if name not in data.column_names]
        if lacking:
            raise StoreError(f"rows for {table} lack {', '.join(lacking)}; every row has them.")
        owner = pa.schema([column.field() for column in OWNER])
        own = [f for f in data.schema if f.name not in (*keys.names, *owner.names)]
        schema = pa.schema([*keys, *own, *owner])
    if data.schema.equals(schema, check_metadata=True):
        return data
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
    floats = [f.name for f in data.schema if pa.types.is_floating(f.type)]
    sink = pa.BufferOutputStream()
    # Of measured numbers hardly two are equal: a dictionary of them costs half as much again in
    # bytes, and nearly twice the time.
    words: Any = [_leaf(f) for f in data.schema if f.name not in floats]
    # LZ4 costs a worker less time; zstd makes a part that stays some 5 % smaller.
    # Checksums: a damaged page must be named, not read as other numbers.
    pq.write_table(
        data,
        sink,
        compression="lz4" if replaces is None else "zstd",
        row_group_size=_ROW_GROUP,
        write_page_checksum=True,
        use_dictionary=words,
        column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
    )
    return sink.getvalue()


def _leaf(column: pa.Field) -> str:
    """Parquet's path of a column's values; of a map's, its keys."""
    return f"{column.name}.key_value.key" if pa.types.is_map(column.type) else column.name


def parquet_format() -> pads.ParquetFileFormat:
    # Not above: it brings pandas, which a worker and `debug` can start without.
    import pyarrow.dataset as pads

    options = pads.ParquetFragmentScanOptions(page_checksum_verification=True)
    return pads.ParquetFileFormat(default_fragment_scan_options=options)


def _described(path: str, size: int, metadata: pq.FileMetaData) -> Part:
    """A part by its footer. Raises ValueError if what it replaces is no list of names."""
    replaces = json.loads((metadata.metadata or {}).get(REPLACES, b"[]"))
    if not isinstance(replaces, list) or not all(isinstance(name, str) for name in replaces):
        raise ValueError("what it replaces is no list of names")
    schema = metadata.schema.to_arrow_schema()
    return Part(path, size, metadata.num_rows, schema, tuple(replaces), _owned(metadata))


def _owned(metadata: pq.FileMetaData) -> bool:
    """Whether no row lacks the launch that wrote it, by the statistics of its column."""
    if OWNER[0].name not in metadata.schema.names:
        return False
    at = metadata.schema.names.index(OWNER[0].name)
    columns = [metadata.row_group(i).column(at) for i in range(metadata.num_row_groups)]
    return all(c.statistics is not None and c.statistics.null_count == 0 for c in columns)


def _misfit(table: str, schema: pa.Schema) -> str | None:
    """Why rows of this schema are none of the table's."""
    if len({name.lower() for name in schema.names}) < len(schema.names):  # as in DuckDB
        return "two of its columns have one name"
    keys = [column.field() for column in KEYS]
    wanted = arrow_schema(table) or [*keys, *(column.field() for column in OWNER)]
    for column in wanted:
        if column.name in schema.names and schema.field(column.name).type != column.type:
            kind = schema.field(column.name).type
            return f"column {column.name} is {kind}, not {column.type}"
    for name in REQUIRED.get(table, [key.name for key in keys]):
        if name not in schema.names:
            return f"it has no column {name}, so it is no part of {table}"
    return None


class PartIndex:
    """Every table's parts, footers read once. Bad files are in `bad`, by path, with the reason."""

    def __init__(self, filesystem: pafs.FileSystem, paths: Paths):
        self.fs = filesystem
        self.paths = paths
        self.bad: dict[str, str] = {}
        self.odd: dict[str, str] = {}
        """What is neither a file nor a folder, by path, and what it is."""
        self.tables: dict[str, Listing] = {}
        self._footers: dict[tuple[str, int], Part | str] = {}

    def refresh(self) -> None:
        """Lists the store again; reads the footers not seen before.

        Raises:
          StoreError: the store cannot be reached. What was listed before stays.
        """
        listed: dict[str, list[pafs.FileInfo]] | None = None
        if files.is_local(self.fs):
            folders = set(files.folders(self.fs, self.paths.probes))
        else:
            # One request for all tables. What is replaced sorts before what replaces it, so a page
            # that comes later can only show more of the replacements, never less.
            listed = defaultdict(list)
            for info in files.listing(self.fs, self.paths.root, recursive=True):
                listed[self.paths.relative(info.path).rpartition("/")[0]].append(info)
            folders = {name.split("/")[1] for name in listed if name.startswith("probes/")}
        # By view, whose names have no case; those of our own come first.
        own = [table for table in TABLES if table.startswith("probes/")]
        names = {table.removeprefix("probes/").lower(): table for table in own}
        self.bad, self.odd = {}, {}
        for folder in self.paths.folders if listed is None else ():
            files.listing(self.fs, folder, odd=self.odd)
        for name in sorted(folders):
            taken = names.get(name.lower(), f"probes/{name}") != f"probes/{name}"
            if not is_segment(name) or is_view(name) or taken:
                self.bad[self.paths.under(f"probes/{name}")] = "no probe can have that name"
            else:
                names[name.lower()] = f"probes/{name}"
        self.tables = {
            name: self._list(name, None if listed is None else listed[name])
            for name in sorted({*TABLES, *names.values()})
        }

    def paths_of(self, table: str) -> list[str]:
        """Paths of the parts that count; none of an unknown table."""
        return [part.path for part in self.tables[table].live] if table in self.tables else []

    def _list(
        self, table: str, listed: list[pafs.FileInfo] | None = None, tries: int = 5
    ) -> Listing:
        """The parts of a table among its files, which are listed here unless given."""
        infos = []
        if listed is None:
            listed = files.listing(self.fs, self.paths.table(table), odd=self.odd)
        for info in listed:
            if info.path.endswith(".parquet"):
                infos.append(info)
            else:
                self.bad[info.path] = "not a part of a table"
        new = [i for i in infos if (i.path, i.size) not in self._footers]
        with ThreadPoolExecutor(1 if files.is_local(self.fs) else 16) as pool:
            read = pool.map(lambda info: self._footer(table, info), new)
            for info, part in zip(new, read, strict=True):
                if part is not None:
                    self._footers[info.path, info.size] = part
        if tries and any((info.path, info.size) not in self._footers for info in new):
            # Deleted between listing and reading: what replaces it may have come after the listing.
            return self._list(table, tries=tries - 1)
        parts: list[Part] = []
        for info in infos:
            part = self._footers.get((info.path, info.size))
            if isinstance(part, Part):
                parts.append(part)
            elif part is not None:
                self.bad[info.path] = part
        return counted(parts if table in TABLES else self._fitting(parts))

    def _fitting(self, parts: list[Part]) -> list[Part]:
        """Parts of a user's probe whose columns fit together; the others are bad."""
        union = pa.schema([column.field() for column in (*KEYS, *OWNER)]).remove_metadata()
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
            try:
                part = _described(info.path, info.size, self._fragment(info).metadata)
            except (OSError, pa.ArrowException, ValueError):
                if files.is_local(self.fs):
                    raise
                # No answer is no damage: what counts is what its bytes say, once they are here.
                whole = io.BytesIO(files.read(self.fs, info.path))
                part = _described(info.path, info.size, pq.ParquetFile(whole).metadata)
            reason = _misfit(table, part.schema)  # damaged names of columns are no text
        except FileNotFoundError:
            return None
        except (OSError, pa.ArrowException, ValueError, RecursionError) as error:
            return f"not a readable Parquet file: {error}"
        return reason or part

    def _fragment(
        self, part: Part | pafs.FileInfo, says: pads.Expression | None = None
    ) -> pads.ParquetFileFragment:
        """A part to read; that its size is known saves an object store a request. `says` holds for
        all its rows."""
        return parquet_format().make_fragment(
            part.path, self.fs, partition_expression=says, file_size=part.size
        )

    def condemn(self, part: Part, reason: str) -> None:
        """Makes a part bad, from the next `refresh` on."""
        self._footers[part.path, part.size] = f"damaged: {reason}"

    def verify(self, table: str) -> None:
        """Reads every live part of a table in full; the unreadable ones become bad."""
        for part in self.tables[table].live:
            try:
                content = io.BytesIO(files.read(self.fs, part.path))
                pq.ParquetFile(content, page_checksum_verification=True).read()
            except FileNotFoundError:
                continue
            except (OSError, pa.ArrowException) as error:
                self.condemn(part, str(error))

    def schema(self, table: str) -> pa.Schema:
        """The pinned schema, or the union of what a user's probe has been written with."""
        pinned = arrow_schema(table)
        if pinned is not None:
            return pinned
        keys = pa.schema([column.field() for column in (*KEYS, *OWNER)])
        found = [part.schema.remove_metadata() for part in self.tables[table].live]
        return pa.unify_schemas([keys.remove_metadata(), *found], promote_options="permissive")

    def dataset(
        self, table: str, parts: list[Part] | None = None, named: bool = False
    ) -> pads.Dataset:
        """The live parts (or those given) as one data set, in the table's schema; if `named` with a
        column `part` more, the path of the part that a row is in."""
        import pyarrow.dataset as pads

        if parts is None:
            parts = self.tables[table].live if table in self.tables else []
        schema = self.schema(table)
        if named:
            schema = schema.append(pa.field(PART, pa.string()))
        return pads.FileSystemDataset(
            [
                self._fragment(part, pads.field(PART) == part.path if named else None)
                for part in parts
            ],
            schema,
            parquet_format(),
            self.fs,
        )

    def live(self) -> Iterator[tuple[str, Part]]:
        for table, listing in self.tables.items():
            for part in listing.live:
                yield table, part
