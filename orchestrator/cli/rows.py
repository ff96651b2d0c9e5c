"""Rows of a query on their way out: a table, CSV, JSON or Parquet, written as they come."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from uuid import uuid4

from orchestrator.cli.app import json_text, out, print_table
from orchestrator.errors import RequestError
from orchestrator.terminal import data_stream

if TYPE_CHECKING:
    import pyarrow as pa

    from results.result import Rows

FORMATS = ("table", "csv", "json", "parquet")
TABLE_ROWS = 200
"""Rows of a table for which nobody gives a limit."""
_GROUP_ROWS = 120_000
"""Rows of a row group in Parquet."""


class RowWriter:
    """Takes the rows of a query and writes them.

    Args:
      limit: rows of a table; one more may come, and is mentioned.
      keys: columns that hold values of configs.
      fold: a table names those of them below it that have one value in all its rows.
    """

    def __init__(
        self, format: str, output: Path | None, limit: int | None, keys: set[str], fold: bool
    ):
        self.format = format
        self.output = output
        self.limit = limit
        self.keys = keys
        self.fold = fold
        self._begun = False

    def __call__(self, rows: Rows) -> None:
        if self._begun and self.output is None:
            raise RequestError(
                "files of the store changed while their rows were printed; ask again, or use "
                "--output FILE"
            )
        self._begun = True
        if self.format == "table":
            self._print_table(rows)
        elif self.output is None:
            stream = data_stream()
            _WRITERS[self.format](rows, stream)
            stream.flush()
        else:
            try:
                with replaced(self.output) as path:
                    count = _write_file(self.format, rows, path)
            except OSError as error:
                raise RequestError(f"cannot write {self.output}: {error.strerror}") from error
            out(f"wrote {count} rows to {self.output}")

    def _print_table(self, rows: Rows) -> None:
        from results.config_values import pairs_text

        cells = [list(row.values()) for batch in rows for row in _python(batch)]
        more = self.limit is not None and len(cells) > self.limit
        cells = cells[: self.limit]
        names = rows.schema.names
        same = self._same(names, cells) if self.fold and len(cells) > 1 else {}
        kept = [i for i, name in enumerate(names) if name not in same]
        shown = [[row[i] for i in kept] for row in cells]
        print_table([names[i] for i in kept], shown, keys=self.keys)
        if same:
            where = "in each of these rows" if more else "in every row"
            out(f"the same {where}: {pairs_text(same)}")
        if more:
            out(f"these are the first {len(cells)} rows; --limit N shows N, --output FILE has all")

    def _same(self, names: list[str], cells: list[list[Any]]) -> dict[str, Any]:
        """Keys that do not vary, with their value."""
        return {
            name: cells[0][i]
            for i, name in enumerate(names)
            if name in self.keys and len({repr(row[i]) for row in cells}) == 1
        }


@contextlib.contextmanager
def replaced(output: Path) -> Iterator[Path]:
    """A file to write that takes the place of `output` once it is whole; it is deleted if it never
    is. What is no file, such as /dev/stdout, is written as it is."""
    if output.exists() and not output.is_file():
        yield output
        return
    target = output.resolve()
    path = target.with_name(f".{uuid4().hex}.tmp")
    _unfinished.add(path)
    try:
        yield path
        path.replace(target)
    finally:
        path.unlink(missing_ok=True)
        _unfinished.discard(path)


_unfinished: set[Path] = set()


def drop_unfinished() -> None:
    """Deletes what a query that cannot be waited for has begun to write; the process ends then."""
    for path in list(_unfinished):
        path.unlink(missing_ok=True)


def _write_file(format: str, rows: Rows, path: Path) -> int:
    if format == "parquet":
        return _write_parquet(rows, path)
    with path.open("w", encoding="utf-8", newline="") as stream:
        return _WRITERS[format](rows, stream)


def _write_csv(rows: Rows, stream: TextIO) -> int:
    """Numbers in full, nothing for null, lists and the like as JSON."""
    from results.result import given

    written = csv.writer(_Lines(stream), lineterminator="\r\n")
    written.writerow(rows.schema.names)
    count = 0
    for batch in rows:
        with given():
            columns = [_csv_cells(column) for column in batch.columns]
        written.writerows(zip(*columns, strict=True))
        count += len(batch)
    return count


class _Lines:
    """Lines that end as those of Unix. The writer itself is given both characters, since it quotes
    no others that end a line."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, row: str) -> int:
        return self._stream.write(row.removesuffix("\r\n") + "\n")


def _csv_cells(column: pa.Array) -> list[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(column.type):  # by the fewest digits that are read back as the number
        text = pc.cast(column, pa.string())
        whole = r"^(-?\d+)$"
        return pc.replace_substring_regex(text, whole, r"\1.0").to_pylist()  # type: ignore[attr-defined]
    values = column.to_pylist()
    if pa.types.is_nested(column.type):
        return [None if value is None else json_text(value, indent=None) for value in values]
    return values


def _write_json(rows: Rows, stream: TextIO) -> int:
    """A list of one object a row, a line each."""
    count = 0
    for batch in rows:
        for row in _python(batch):
            stream.write(("[\n" if count == 0 else ",\n") + json_text(row, indent=None))
            count += 1
    stream.write("\n]\n" if count else "[]\n")
    return count


def _write_parquet(rows: Rows, path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 0
    try:
        with pq.ParquetWriter(path, rows.schema) as written:
            waiting: list[pa.RecordBatch] = []
            for batch in rows:
                waiting.append(batch)
                count += len(batch)
                if sum(map(len, waiting)) >= _GROUP_ROWS:
                    written.write_table(pa.Table.from_batches(waiting))
                    waiting = []
            written.write_table(pa.Table.from_batches(waiting, rows.schema))
    except (ValueError, NotImplementedError) as error:  # Arrow's
        raise RequestError(
            f"a column has no form in Parquet ({error}); CAST it to VARCHAR"
        ) from error
    return count


_WRITERS = {"csv": _write_csv, "json": _write_json}


def _python(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    from results.result import given

    with given():
        return batch.to_pylist()
