"""Parts: how one is written, and which of them count."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results import Store, StoreError
from results.schema import arrow_schema
from results.store.parquet_parts import Part, _misfit, conform, counted, encode
from results.store.views import quoted, strings
from tests.support.made_up_rows import attempt_row, epoch_row, table


def part(name: str, *replaces: str) -> Part:
    return Part(f"store/epochs/{name}", 1, 1, pa.schema([]), replaces)


def names(parts: list[Part]) -> list[str]:
    return [each.name for each in parts]


def test_what_is_merged_counts_in_place_of_what_it_replaces() -> None:
    listing = counted([part("a"), part("b"), part("c"), part("merged-1", "a", "b")])
    assert names(listing.live) == ["c", "merged-1"]
    assert names(listing.merged) == ["merged-1"]
    assert {name: each.name for name, each in listing.replaced.items()} == {"a": "a", "b": "b"}
    assert listing.rejected == []


def test_of_two_merges_of_one_part_the_first_published_counts() -> None:
    """In whatever order they are listed; what the other held stays visible by itself."""
    parts = [
        part("merged-2", "b", "c"),
        part("merged-1", "a", "b"),
        part("a"),
        part("b"),
        part("c"),
    ]
    for listed in (parts, parts[::-1]):
        listing = counted(listed)
        assert sorted(names(listing.live)) == ["c", "merged-1"]
        assert names(listing.rejected) == ["merged-2"]
        assert names(listing.merged) == ["merged-1"]


def test_a_merge_of_merges_counts_alone() -> None:
    listing = counted([part("merged-1", "a"), part("merged-2", "merged-1", "b"), part("b")])
    assert names(listing.live) == ["merged-2"]
    assert set(listing.replaced) == {"merged-1", "b"}


def test_only_a_merge_replaces() -> None:
    """A part whose footer claims so, and whose name does not, hides nothing."""
    assert names(counted([part("a"), part("b", "a")]).live) == ["a", "b"]


def test_how_a_part_is_written() -> None:
    """Floats by byte streams and without a dictionary, words with one; a checksum for each page; a
    merged part smaller and slower to write, with what it replaces in its footer."""
    rows = pa.Table.from_pylist([epoch_row("a", 0, 1.0, metrics=[("x", 1.0)])] * 3,
                                arrow_schema("epochs"))  # fmt: skip
    for replaces, compression in ((None, "LZ4"), (["x"], "ZSTD"), ([], "ZSTD")):
        file = pq.ParquetFile(io.BytesIO(encode(rows, replaces)))
        group = file.metadata.row_group(0)
        columns = {
            group.column(i).path_in_schema: group.column(i)
            for i in range(file.metadata.num_columns)
        }
        assert {column.compression for column in columns.values()} == {compression}
        assert columns["trial_id"].has_dictionary_page
        assert columns["epoch"].has_dictionary_page
        assert columns["metrics.key_value.key"].has_dictionary_page
        assert not columns["loss"].has_dictionary_page
        assert "BYTE_STREAM_SPLIT" in columns["loss"].encodings
        told = (file.metadata.metadata or {}).get(b"replaces")
        assert told == (None if replaces is None else str(replaces).replace("'", '"').encode())


def test_row_groups_are_as_long_as_what_is_read_at_a_time() -> None:
    rows = pa.table({"step": pa.array(np.arange(131_073), pa.int32())})
    metadata = pq.ParquetFile(io.BytesIO(encode(rows))).metadata
    assert [metadata.row_group(i).num_rows for i in range(2)] == [131_072, 1]


@pytest.mark.parametrize("table", ["epochs", "probes/mine"])
def test_a_column_of_another_type_makes_a_file_no_part(table: str) -> None:
    fields = {"trial_id": pa.string(), "attempt": pa.int32(), "epoch": pa.int32(),
              "loss": pa.float64()}  # fmt: skip
    assert _misfit(table, pa.schema(fields)) is None
    found = _misfit(table, pa.schema({**fields, "attempt": pa.string()}))
    assert found == "column attempt is string, not int32"
    found = _misfit(table, pa.schema({**fields, "loss": pa.string()}))
    assert found == ("column loss is string, not double" if table == "epochs" else None)


def test_rows_are_put_in_the_pinned_schema() -> None:
    wanted = arrow_schema("epochs")
    assert wanted is not None
    given = pa.table({"epoch": pa.array([1], pa.int64()), "trial_id": ["a"], "attempt": [0]})
    made = conform("epochs", given)
    assert made.schema.equals(wanted, check_metadata=True)
    assert made.select(["trial_id", "attempt", "epoch", "loss"]).to_pylist() == [
        {"trial_id": "a", "attempt": 0, "epoch": 1, "loss": None}
    ]
    assert conform("epochs", made) is made
    with pytest.raises(StoreError, match=r"no column 'los' \(did you mean loss\?\)"):
        conform("epochs", given.append_column("los", pa.array([1.0])))
    with pytest.raises(StoreError, match="must be int32"):
        conform("epochs", given.set_column(0, "epoch", pa.array([2**40])))
    probe = pa.table({"x": [1.5], "epoch": [1], "trial_id": ["a"], "attempt": [0]})
    assert conform("probes/mine", probe).schema.names == [
        "trial_id", "attempt", "epoch", "x", "launch_id"
    ]  # fmt: skip
    with pytest.raises(StoreError, match="lack trial_id, epoch;"):
        conform("probes/mine", pa.table({"attempt": [0]}))


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ({"x": ["text"]}, "its columns do not fit those of earlier files"),
        ({"x": [1.0], "X": [2.0]}, "two of its columns have one name"),
    ],
)
def test_a_part_of_a_probe_that_does_not_fit_is_named(
    store: Store, second: dict[str, list[object]], reason: str
) -> None:
    store.publish("trials", table([attempt_row("a")]))
    keys = {
        "trial_id": ["a"],
        "attempt": pa.array([0], pa.int32()),
        "epoch": pa.array([0], pa.int32()),
    }
    store.publish("probes/mine", pa.table({**keys, "x": [1.0]}))
    pq.write_table(pa.table({**keys, **second}), f"{store.root}/probes/mine/zz.parquet")
    store.refresh()
    assert store.sql("SELECT x FROM mine").fetchall() == [(1.0,)]
    (warning,) = store.warnings
    assert "zz.parquet" in warning
    assert reason in warning
    assert [Path(path).name for path in store.index.paths_of("probes/mine")] != ["zz.parquet"]
    assert store.index.paths_of("probes/unheard_of") == []


def test_names_and_words_are_quoted_for_sql(store: Store) -> None:
    odd = ["it's", 'a "b"', ""]
    assert store.sql(f"SELECT {strings(odd)}").fetchall() == [(odd,)]
    assert store.sql(f"SELECT 1 AS {quoted(odd[1])}").columns == [odd[1]]


def test_the_connection_is_locked(store: Store) -> None:
    here = table([attempt_row("a")])
    assert here.num_rows == 1
    assert store.sql("SELECT current_setting('TimeZone')").fetchall() == [("UTC",)]
    for statement in ("FROM here", "SET threads = 1", "ATTACH 'x.db'", "INSTALL httpfs"):
        with pytest.raises(StoreError):
            store.sql(statement)


def test_spaces_and_their_trials_are_views(store: Store) -> None:
    store.write_space("demo/two", {"trials": ["b", "a"], "study": "demo", "title": "Two"})
    store.write_space("demo/one", {"trials": ["a"], "study": "demo", "paper": None})
    assert store.sql("FROM spaces ORDER BY name").fetchall() == [
        ("demo/one", "demo", "", "", ""),
        ("demo/two", "demo", "Two", "", ""),
    ]
    members = store.sql("FROM space_trials ORDER BY ALL").fetchall()
    assert members == [("demo/one", "a"), ("demo/two", "a"), ("demo/two", "b")]
