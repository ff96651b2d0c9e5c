"""What a query gives back, and what a user's query may be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from results.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Result:
    """Rows of a query, in memory: later changes to the store do not touch them."""

    table: pa.Table

    @classmethod
    def of(cls, relation: duckdb.DuckDBPyRelation | None) -> Result:
        """A relation read in full; an empty table for a statement without rows."""
        with _given():
            return cls(pa.table({}) if relation is None else relation.to_arrow_table())

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
        with _given():
            return self.table.to_pandas()

    def fetchall(self) -> list[tuple[Any, ...]]:
        with _given():
            columns = [column.to_pylist() for column in self.table.columns]
        return list(zip(*columns, strict=True))

    def rows(self) -> list[dict[str, Any]]:
        """One dict per row."""
        with _given():
            return self.table.to_pylist()

    def __len__(self) -> int:
        return self.table.num_rows

    def __repr__(self) -> str:
        return repr(self.df())

    def _repr_html_(self) -> str:
        return str(self.df().to_html(max_rows=20, show_dimensions=True))


@contextlib.contextmanager
def _given() -> Iterator[None]:
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


def refuse_all_but_select(con: duckdb.DuckDBPyConnection, query: str) -> None:
    """Raises StoreError unless `query` is one SELECT.

    DuckDB counts DESCRIBE, SHOW, SUMMARIZE and VALUES as SELECT. It also counts a WITH that
    inserts, which is why the query runs in a read-only transaction too.
    """
    try:
        kinds = [_kind(statement) for statement in con.extract_statements(query)]
    except duckdb.Error as error:
        raise StoreError(sentence(error)) from error
    if kinds != ["SELECT"]:
        named = ", ".join(kinds) or "nothing"
        raise StoreError(f"a query must be one SELECT (got {named}); results are read-only.")


def _kind(statement: duckdb.Statement) -> str:
    try:
        return statement.type.name
    except ValueError:  # UPDATE EXTENSIONS is of a type that duckdb's Python has no name for
        return "UNNAMED"


def sentence(error: Exception) -> str:
    """DuckDB's message without the picture of the query below it."""
    text = str(error).split("\n\nLINE ")[0]
    return " ".join(text.split())
