"""What a query may take, and that it can be ended."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from results import Store, StoreError
from results.bounds import OutOfTimeError, bounded, bytes_of, left_running
from results.store import reader
from tests.support.made_up_rows import publish_trial

ENDLESS = {
    "a recursion": "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) "
    "SELECT count(*) FROM t",
    "a recursion without doubles": "WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT n + 1 FROM t) "
    "SELECT max(n) FROM t",
    "a product": "SELECT count(*) FROM range(100000000) a, range(100000) b",
    "rows": "FROM range(100000000000)",
    "a sort": "SELECT * FROM range(100000000000) t(i) ORDER BY i DESC",
    "a pivot": "PIVOT (FROM range(100000000000) t(i)) ON (i % 3) USING sum(i)",
    "the diagnosis": "SELECT * FROM diagnosis, range(100000000000)",
}
"""Queries that are never done."""


@pytest.mark.parametrize("query", ENDLESS.values(), ids=list(ENDLESS))
def test_a_query_that_never_ends_is_stopped(store: Store, query: str) -> None:
    publish_trial(store, "a", [1.0])
    with pytest.raises(
        StoreError, match=r"stopped after 0\.3 s; ask for less, or give it more time"
    ):
        store.query_user(query, timeout=0.3)
    assert store.sql("SELECT trial_id FROM trials").fetchall() == [("a",)]
    assert not left_running()


def test_ctrl_c_while_a_store_is_opened_is_none_of_its_errors(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB would make one of an exception that comes while it asks Python."""
    publish_trial(store, "a", [1.0])
    main, plain = threading.main_thread(), reader.connect

    def interrupted(*given: Any) -> Any:
        assert threading.current_thread() is not main
        assert main.ident is not None
        signal.pthread_kill(main.ident, signal.SIGINT)
        return plain(*given)

    monkeypatch.setattr(reader, "connect", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.sql("SELECT trial_id FROM trials")
    monkeypatch.undo()
    assert store.sql("SELECT trial_id FROM trials").fetchall() == [("a",)]


def test_a_query_may_take_as_much_memory_as_it_is_given(store: Store) -> None:
    wide = "SELECT list(i) FROM range(100000000) t(i)"
    with pytest.raises(StoreError, match=r"more than the 100 MB of memory .* \(--memory\)"):
        store.sql(wide, memory="100MB")
    assert store.sql("SELECT 1", memory="100MB").fetchall() == [(1,)]
    assert store.sql("SELECT current_setting('memory_limit')").fetchall() != [("95.3 MiB",)]
    given = store.sql("SELECT current_setting('memory_limit')", memory=100_000_000).fetchall()
    assert given == [("95.3 MiB",)]


def test_so_may_its_result(store: Store) -> None:
    rows = "SELECT i, hash(i) FROM range(20000000) t(i)"
    with pytest.raises(StoreError, match="result takes more than 70 MB of memory; LIMIT it"):
        store.sql(rows, memory="70MB")
    assert len(store.sql(f"{rows} LIMIT 100", memory="70MB")) == 100


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2e9), ("2 gb", 2e9), ("1.5GiB", 1.5 * 2**30), ("512MiB", 2**29), ("100000000", 1e8),
     (10**8, 1e8), ("0.1T", 1e11), ("80000k", 8e7)],
)  # fmt: skip
def test_sizes(text: str | int, size: float) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "GB", "much", "-2GB", "2 GB free", "nan", "1e9", "50%"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(StoreError, match="memory is a size such as 2GB"):
        bytes_of(text)


def test_too_little_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="needs at least 64 MB of memory; got '1MB'"):
        store.sql("SELECT 1", memory="1MB")
    for seconds in (0, -1, float("nan")):
        with pytest.raises(StoreError, match="timeout is a number of seconds above 0"):
            store.sql("SELECT 1", timeout=seconds)
    assert len(store.sql("SELECT 1", timeout=float("inf"))) == 1


def test_work_that_does_not_listen_is_left_behind() -> None:
    """As a function of DuckDB that works on one value."""
    go, ended, asked = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        go.wait()
        ended.set()

    with pytest.raises(OutOfTimeError):
        bounded(work, asked.set, 0.1)
    assert asked.is_set()
    assert left_running()
    (left,) = [thread for thread in threading.enumerate() if thread.name == "gradsweep query"]
    go.set()
    left.join()
    assert ended.is_set()
    assert not left_running()


def test_what_the_work_raises_is_raised() -> None:
    def fails(error: BaseException) -> Callable[[], None]:
        def work() -> None:
            raise error

        return work

    for error in (ValueError("x"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught:
            bounded(fails(error), lambda: None, None)
        assert caught.value is error
