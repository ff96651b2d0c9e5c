"""What a query gives back, and what a user's query may be."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
import pyarrow as pa

from results.bounds import sized
from results.errors import StoreError, printable

if TYPE_CHECKING:
    import pandas as pd


_BATCH_ROWS = 10_000

Taken = TypeVar("Taken")


def distinct(names: Sequence[str]) -> list[str]:
    """Column names, equal ones made distinct: `loss`, `loss` become `loss`, `loss_1`, or the next
    number that no other column has."""
    taken, seen, out = set(names), set(), []
    for name in names:
        own, number = name, 0
        while own in seen or (number and own in taken):
            number += 1
            own = f"{name}_{number}"
        seen.add(own)
        out.append(own)
    return out


class Rows:
    """Rows of a query as they come, to be gone through once.

    Attributes:
      schema: of every batch; no two columns have one name.
    """

    def __init__(self, relation: duckdb.DuckDBPyRelation | None, limit: int | None):
        with given():
            if relation is None:
                self._reader = pa.table({}).to_reader()
                names = []
            else:
                names = distinct(relation.columns)
                few = relation if limit is None else relation.limit(limit)
                self._reader = few.to_arrow_reader(_BATCH_ROWS)
            fields = zip(names, self._reader.schema, strict=True)
            self.schema = pa.schema([field.with_name(name) for name, field in fields])

    def close(self) -> None:
        """Gives up the rows that are left."""
        self._reader.close()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while True:
            try:
                with given():
                    batch = self._reader.read_next_batch()
            except StopIteration:
                return
            except OSError as error:  # DuckDB's errors, once rows flow
                raise duckdb.Error(str(error)) from error
            yield pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)


@dataclass(frozen=True)
class Result:
    """Rows of a query, in memory: later changes to the store do not touch them.

    No two columns have one name: of equal ones the later get a number, `loss_1`.
    """

    table: pa.Table

    def __post_init__(self) -> None:
        names = distinct(self.table.column_names)
        if names != self.table.column_names:
            object.__setattr__(self, "table", self.table.rename_columns(names))

    @classmethod
    def of(cls, rows: Rows, memory: float) -> Result:
        """All of the rows.

        Raises:
          StoreError: they take more bytes than `memory`.
        """
        batches, held = [], 0
        for batch in rows:
            held += batch.nbytes
            if held > memory:
                raise StoreError(
                    f"the result takes more than {sized(memory)} of memory; LIMIT it, or write it "
                    "to a file: gradsweep query SQL --output FILE.parquet."
                )
            batches.append(batch)
        return cls(pa.Table.from_batches(batches, rows.schema))

    @property
    def columns(self) -> list[str]:
        return self.table.column_names

    def arrow(self) -> pa.Table:
        return self.table

    def relation(self) -> duckdb.DuckDBPyRelation:
        """A DuckDB relation over these rows, on a connection of its own, to go on in SQL."""
        con = duckdb.connect()
        con.register("result", self.table)
        return con.sql("SELECT * FROM result")

    def df(self) -> pd.DataFrame:
        """A pandas DataFrame."""
        with given():
            return self.table.to_pandas()

    def fetchall(self) -> list[tuple[Any, ...]]:
        with given():
            columns = [column.to_pylist() for column in self.table.columns]
        return list(zip(*columns, strict=True))

    def rows(self) -> list[dict[str, Any]]:
        """One dict per row."""
        with given():
            return self.table.to_pylist()

    def __len__(self) -> int:
        return self.table.num_rows

    def __repr__(self) -> str:
        return printable(repr(self.df()))

    def _repr_html_(self) -> str:
        return printable(str(self.df().to_html(max_rows=20, show_dimensions=True)))


@contextlib.contextmanager
def given() -> Iterator[None]:
    """SQL has values that Arrow, Python or pandas have not: the year 294247, unions.

    Raises:
      StoreError: names the way out.
    """
    try:
        yield
    except (ArithmeticError, ValueError, NotImplementedError) as error:  # Arrow's are of these too
        raise StoreError(
            f"a value of the result cannot be given ({sentence(error)}); CAST it to VARCHAR."
        ) from error


@dataclass(frozen=True)
class Query:
    """SQL with its parameters.

    Attributes:
      read_only: one SELECT, in a read-only transaction.
      limit: rows at most.
    """

    text: str
    params: Any = None
    read_only: bool = False
    limit: int | None = None

    def check(self, con: duckdb.DuckDBPyConnection) -> None:
        """Raises StoreError for what may only read and is not one SELECT."""
        if self.read_only:
            refuse_all_but_select(con, self.text)

    def run(self, con: duckdb.DuckDBPyConnection, take: Callable[[Rows], Taken]) -> Taken:
        """What `take` makes of the rows."""
        if not self.read_only:
            return self._run(con, take)
        con.execute("BEGIN TRANSACTION READ ONLY")
        try:
            return self._run(con, take)
        finally:
            con.execute("ROLLBACK")

    def _run(self, con: duckdb.DuckDBPyConnection, take: Callable[[Rows], Taken]) -> Taken:
        relation = con.sql(self.text, params=self.params)
        with contextlib.closing(Rows(relation, self.limit)) as rows:
            return take(rows)


def refuse_all_but_select(con: duckdb.DuckDBPyConnection, query: str) -> None:
    """Raises StoreError unless `query` is one SELECT.

    DuckDB counts DESCRIBE, SHOW, SUMMARIZE and VALUES as SELECT. It also counts a WITH that
    inserts, which is why the query runs in a read-only transaction too.
    """
    try:
        kinds = _kinds(con, query)
    except duckdb.Error as error:
        raise StoreError(sentence(error)) from error
    if kinds == ["MULTI"]:
        kinds = ["SELECT"] if _can_be_selected_from(con, query) else [query.split()[0].upper()]
    if kinds != ["SELECT"]:
        named = ", ".join(kinds) or "nothing"
        raise StoreError(f"a query must be one SELECT (got {named}); results are read-only.")


def _can_be_selected_from(con: duckdb.DuckDBPyConnection, query: str) -> bool:
    """Whether a statement with a PIVOT asks for rows. DuckDB first looks up the columns of a PIVOT,
    so it counts any statement that has one as several, a COPY of one too."""
    try:
        return _kinds(con, f"FROM (\n{query.rstrip().rstrip(';')}\n)") == ["MULTI"]
    except duckdb.Error:
        return False


def _kinds(con: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    return [_kind(statement) for statement in con.extract_statements(query)]


def may_read(con: duckdb.DuckDBPyConnection, query: str, view: str, column: str) -> bool:
    """Whether a query of a view may read that column of it; false only where that is certain."""
    if column in query.lower():
        return True
    try:
        (text,) = con.execute("SELECT json_serialize_sql($1)", [query]).fetchall()[0]
        tree = json.loads(text)
    except (duckdb.Error, ValueError, RecursionError):
        return True
    nodes = list(_nodes(tree))
    tables = [node for node in nodes if str(node.get("table_name", "")).lower() == view]
    rows = {str(node.get("alias") or view).lower() for node in tables}  # names of whole rows
    return bool(tree.get("error")) or any(
        node.get("class") == "STAR"
        or node.get("ref_type") == "NATURAL"
        or (node.get("column_names") and str(node["column_names"][-1]).lower() in rows)
        for node in nodes
    )


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value."""
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _kind(statement: duckdb.Statement) -> str:
    try:
        return statement.type.name
    except ValueError:  # UPDATE EXTENSIONS is of a type that duckdb's Python has no name for
        return "UNNAMED"


def reason(error: Exception, memory: float) -> str:
    """Why a query failed that may take this many bytes of memory."""
    text = sentence(error)
    if not isinstance(error, MemoryError) and not text.startswith("Out of Memory Error"):
        return text
    if "max_temp_directory_size" in text:
        return "the query needs more room for temporary files than is free; ask for less."
    return (
        f"the query needs more than the {sized(memory)} of memory that it may take; ask for less, "
        "or let it take more (--memory)."
    )


def sentence(error: Exception) -> str:
    """DuckDB's message without the picture of the query below it."""
    text = str(error).split("\n\nLINE ")[0]
    return " ".join(text.split())
