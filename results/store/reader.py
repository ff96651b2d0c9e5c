"""The reading half of a store: which parts count, SQL over them, what is missing."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs as pafs

from results.bounds import OutOfTimeError, bounded, bytes_of
from results.errors import StoreError
from results.result import Query, Result, Rows, may_read, reason, sentence
from results.schema import table_name
from results.store.completeness import Completeness, completeness, row_counts
from results.store.decisions import as_taken
from results.store.diagnosis import merged_rules
from results.store.merging.conflicts import conflicts
from results.store.metric_columns import MetricColumn
from results.store.native_parquet import NativeParts
from results.store.parquet_parts import PartIndex
from results.store.paths import Paths
from results.store.space_records import read_spaces
from results.store.views import connect, keep_diagnosis, view_name

_DIAGNOSIS = re.compile(r"\b(diagnosis|run_verdicts)\b", re.IGNORECASE)
_RUNS = re.compile(r"\bruns\b", re.IGNORECASE)
_LOST = re.compile(r"reading the stream registered as '(?:arrow|files)_([^']+)' failed")
_RETRIES = 10

Taken = TypeVar("Taken")


class Reader:
    """What can be asked of a store. One object may be shared by threads.

    What others publish shows after `refresh`; methods that say "as of now" refresh first.

    Attributes:
      uri: as given.
      fs: the pyarrow file system the store is in.
      paths: where everything lies in it.
      rules: the diagnosis thresholds in force.
    """

    def __init__(
        self,
        uri: str,
        filesystem: pafs.FileSystem,
        root: str,
        rules: Mapping[str, float] | None = None,
    ):
        self.uri = uri
        self.fs = filesystem
        self.paths = Paths(root)
        self.rules = merged_rules(rules)
        self._index = PartIndex(filesystem, self.paths)
        self._lock = threading.RLock()
        self._con: duckdb.DuckDBPyConnection | None = None
        self._asked: int | None = None
        self._allowed = 0
        self._native = NativeParts(self._index)
        self._columns: dict[str, str] = {}
        self._metrics: dict[str, MetricColumn] = {}
        self._judged = False
        self._shared: dict[str, dict[int, dict[str, Any]]] = {}
        self._until: dict[tuple[str, int], int] | None = None
        self._conflicts: list[str] | None = None
        self._listed = False
        self._spaces: dict[str, dict[str, Any]] = {}
        self._space_warnings: list[str] = []
        self._shown: Any = None

    @property
    def root(self) -> str:
        return self.paths.root

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def refresh(self) -> None:
        """Looks for what has been published since."""
        with self._lock:
            self._listed = False

    @property
    def index(self) -> PartIndex:
        """The parts that count, listed if need be."""
        with self._lock:
            if not self._listed:
                self._index.refresh()
                self._spaces, self._space_warnings = read_spaces(
                    self.fs, self.paths, self._index.odd
                )
                self._listed = True
                shown = ([part.path for _, part in self._index.live()], self._spaces)
                if shown != self._shown and self._con is not None:
                    self._con.close()
                    self._con = None
                self._shown = shown
            return self._index

    @property
    def warnings(self) -> list[str]:
        """One sentence per file that could not be read; all others are shown."""
        bad = [
            f"{path} is left out ({reason}); launch again to fill what it held."
            for path, reason in self.index.bad.items()
        ]
        odd = [not_a_file(path, what) for path, what in sorted(self.index.odd.items())]
        return bad + odd + self._space_warnings + self._differing()

    def _differing(self) -> list[str]:
        """One sentence per trial that several stores have run with other results, once something
        has been asked: finding them reads rows."""
        with self._lock:
            if self._con is None or not self._shared:
                return []
            if self._conflicts is None:
                self._conflicts = conflicts(self.sql("SELECT * FROM conflicts").rows())
            return self._conflicts

    def has(self, table: str) -> bool:
        """Whether the table is known: a built-in one, or a probe with a folder."""
        return table_name(table) in self.index.tables

    def sql(
        self,
        query: str,
        params: Mapping[str, Any] | list[Any] | None = None,
        *,
        timeout: float | None = None,
        memory: str | int | None = None,
    ) -> Result:
        """Runs SQL over the views; the result is held in memory.

        Args:
          query: DuckDB SQL; `$name` or `?` for parameters.
          timeout: seconds after which the query is stopped; None for no end.
          memory: what the query may take, and its result again, such as "2GB"; half of what is free
            when the store is first asked if None. What does not fit is sorted and grouped on disk.

        Raises:
          StoreError: wrong SQL, or more than it may take.
        """
        return self._run(Query(query, params), self._result, timeout, memory)

    def query_user(
        self, query: str, *, timeout: float | None = None, memory: str | int | None = None
    ) -> Result:
        """As `sql`, for text from a user: one SELECT, in a read-only transaction.

        Raises:
          StoreError: anything but one SELECT, wrong SQL, or more than it may take.
        """
        return self._run(Query(query, read_only=True), self._result, timeout, memory)

    def stream(
        self,
        query: str,
        take: Callable[[Rows], Taken],
        *,
        limit: int | None = None,
        timeout: float | None = None,
        memory: str | int | None = None,
    ) -> Taken:
        """As `query_user`, with the rows given to `take` as they come; what it returns.

        `take` runs in another thread, and once more where a file goes while it is read. It must not
        ask the store.

        Args:
          limit: rows at most.
        """
        return self._run(Query(query, read_only=True, limit=limit), take, timeout, memory)

    def _result(self, rows: Rows) -> Result:
        return Result.of(rows, self._allowed)

    def _run(
        self,
        query: Query,
        take: Callable[[Rows], Taken],
        timeout: float | None,
        memory: str | int | None,
    ) -> Taken:
        with self._lock:
            self._give(memory)
            for _ in range(_RETRIES):
                con = self._connection()
                query.check(con)

                def work(con: duckdb.DuckDBPyConnection = con) -> tuple[str | None, Any]:
                    lost = self._prepare(con, query.text)
                    return lost, query.run(con, take) if lost is None else None

                try:
                    lost, taken = bounded(work, con.interrupt, timeout)
                    if lost is None:
                        return taken
                except duckdb.TransactionException as error:
                    raise StoreError("a query must be one SELECT that changes nothing.") from error
                except (duckdb.Error, MemoryError) as error:
                    lost = _lost(error) or self._native.changed()
                    if lost is None:
                        raise StoreError(reason(error, self._allowed)) from error
                except BaseException as error:
                    if isinstance(error, OutOfTimeError) or not isinstance(error, Exception):
                        self._con = None  # its thread may still use it
                    raise
                self.recheck(lost)
        raise StoreError(f"files of {self.uri} keep vanishing while they are read; try again.")

    def _prepare(self, con: duckdb.DuckDBPyConnection, query: str) -> str | None:
        """Gets ready what the query names. A table of which files have changed, or None."""
        judge = not self._judged and _judges(con, query)
        reads = f"{query} diagnosis" if judge else query
        lost = self._native.take(con, reads) or self._native.changed()
        if lost is None and judge:
            keep_diagnosis(con)
            self._judged = True
        return lost

    def _give(self, memory: str | int | None) -> None:
        """Has the connection take no more than `memory`, or what it takes by itself if None."""
        asked = None if memory is None else bytes_of(memory)
        if asked != self._asked and self._con is not None:
            self._con.close()
            self._con = None
        self._asked = asked

    def _connection(self) -> duckdb.DuckDBPyConnection:
        for _ in range(_RETRIES):
            index = self.index
            if self._con is not None:
                return self._con
            try:
                self._native = NativeParts(index)
                allowed = self._native.paths
                # Not in this thread: DuckDB would make an error of a Ctrl-C in the middle of it.
                made = partial(connect, index, self._spaces, self.rules, allowed, self._asked)
                self._con, self._columns, self._metrics, self._allowed = bounded(
                    made, lambda: None, None
                )
                self._judged = False
                self._shared = _owners(self._con)
                self._until = None
                self._conflicts = None
            except duckdb.Error as error:
                lost = _lost(error)
                if lost is None:
                    raise StoreError(f"{self.uri} cannot be read: {sentence(error)}") from error
                self.recheck(lost)
        raise StoreError(f"files of {self.uri} keep vanishing while they are read; try again.")

    def recheck(self, table: str) -> None:
        """After a failed read: lists the store again, as `compact` may have deleted a part; if that
        changes nothing a part is damaged, so all are read to find it."""
        with self._lock:
            names = [name for name in self.index.tables if table in (name, view_name(name))]
            before = [self._index.paths_of(name) for name in names]
            self._shown = None
            self.refresh()
            if before == [self.index.paths_of(name) for name in names]:
                for name in names:
                    self._index.verify(name)
                self.refresh()

    @property
    def config_columns(self) -> dict[str, str]:
        """Column of `trials` and `runs` that holds each config key."""
        with self._lock:
            self._connection()
            return dict(self._columns)

    @property
    def metrics(self) -> dict[str, MetricColumn]:
        """The metrics that trials record, by name: column of `epochs` and `runs`, unit and better
        end. Stores of older versions have theirs in the map `metrics` only."""
        with self._lock:
            self._connection()
            return dict(self._metrics)

    def attempts(self) -> pa.Table:
        """The last row of every (trial_id, attempt), in that order, as of now."""
        self.refresh()
        return self.sql("SELECT * FROM attempts ORDER BY trial_id, attempt").arrow()

    def decisions(self, space: str | None = None) -> pa.Table:
        """Verdicts of pruning rules in the order in which they were taken (rows of one moment as
        they were published), as of now.

        Args:
          space: `study/space`; every space's if None.

        Raises:
          StoreError: files of the store keep vanishing.
        """
        self.refresh()
        for _ in range(_RETRIES):
            try:
                found = as_taken(self.index.dataset("decisions").to_table())
            except (OSError, pa.ArrowException):
                self.recheck("decisions")
                continue
            return found if space is None else found.filter(pc.field("space") == space)
        raise StoreError(f"files of {self.uri} keep vanishing while they are read; try again.")

    def completeness(self, trial_ids: Iterable[str]) -> dict[str, Completeness]:
        """Per trial: done, status, tables with missing rows. As of now."""
        return completeness(self, trial_ids)

    def shows(self, entry: Mapping[str, Any]) -> bool:
        """Whether a lane of a save of weights is of an attempt that shows, rather than of another
        store's that was copied into this one."""
        with self._lock:
            self._connection()
            if entry.get("trial_id") not in self._shared:
                return True
            owner = self._shared[entry["trial_id"]].get(entry.get("attempt", 0))
            launch = entry.get("launch_id")
            # What an older version saved does not say who did.
            return owner is not None and (owner["old"] if launch is None else launch == owner["id"])

    def stands(self, entry: Mapping[str, Any]) -> bool:
        """Whether a lane of a saved state goes on from the epochs that show: no later attempt began
        before it and stands in the place of the one that saved it."""
        if not self.shows(entry):
            return False
        with self._lock:
            if self._until is None:
                rows = self.sql(
                    "SELECT trial_id, attempt, until_epoch FROM attempts "
                    "WHERE shown AND until_epoch IS NOT NULL"
                ).fetchall()
                self._until = {(trial_id, attempt): until for trial_id, attempt, until in rows}
            until = self._until.get((str(entry.get("trial_id")), entry.get("attempt", 0)))
        return until is None or type(entry.get("epoch")) is not int or entry["epoch"] <= until

    def rows_intact(self, trial_id: str, before_epoch: int, rows: Mapping[str, int]) -> bool:
        """Whether each table shows exactly `rows[table]` rows of the trial below that epoch."""
        return all(
            row_counts(self, table, [trial_id], before_epoch).get(trial_id, 0) == count
            for table, count in rows.items()
        )

    def resolve(self, prefix: str) -> str:
        """The trial id that starts with `prefix`.

        Raises:
          StoreError: none does, or several do.
        """
        found = self.sql(
            "SELECT DISTINCT trial_id FROM attempts WHERE starts_with(trial_id, $p) "
            "ORDER BY trial_id LIMIT 6",
            {"p": prefix},
        ).fetchall()
        if not found:
            raise StoreError(f"no trial starts with {prefix!r}; see `gradsweep status`.")
        if len(found) > 1 and found[0][0] != prefix:
            some = ", ".join(row[0] for row in found)
            raise StoreError(f"{prefix!r} starts several trials ({some}); give more digits.")
        return found[0][0]

    def spaces(self) -> dict[str, dict[str, Any]]:
        """Every space launched into this store, by `study/space`, as its launch wrote it."""
        with self._lock:
            self.refresh()
            self._connection()
            return dict(self._spaces)


def not_a_file(path: str, what: str) -> str:
    """A sentence on what stands in a file's place."""
    return f"{path} is left out: it is {what}; remove it, or put a file in its place."


def _owners(con: duckdb.DuckDBPyConnection) -> dict[str, dict[int, dict[str, Any]]]:
    """Of each trial that several stores have run, the launch of every attempt that shows."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    rows = con.execute(
        "SELECT trial_id, attempt, launch_id, follows IS NULL FROM attempts WHERE shown "
        "AND trial_id IN (SELECT trial_id FROM attempts WHERE NOT shown)"
    ).fetchall()
    for trial_id, attempt, launch_id, old in rows:
        found.setdefault(trial_id, {})[attempt] = {"id": launch_id, "old": old}
    return found


def _judges(con: duckdb.DuckDBPyConnection, query: str) -> bool:
    """Whether a query may read a verdict."""
    if _DIAGNOSIS.search(query):
        return True
    return bool(_RUNS.search(query)) and may_read(con, query, "runs", "verdict")


def _lost(error: Exception) -> str | None:
    """The table of which Arrow could not read a part."""
    found = _LOST.search(str(error))
    return found[1] if found else None
