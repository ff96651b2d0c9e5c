"""Parts that DuckDB reads by itself: the same answers as through Arrow, and no damage unseen."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results import Store, StoreError, open_store
from results.schema import RECORDS, TABLES, arrow_schema
from results.store import files, native_parquet
from results.store.parquet_parts import encode
from results.store.views import view_name
from tests.support.made_up_rows import publish_trial

ODD = [math.nan, math.inf, -math.inf, -0.0, 0.0, 1e-45, 3.4e38, None]
PINNED = [table for table in TABLES if table not in RECORDS]


def both_ways(store: Store, queries: Sequence[str]) -> list[tuple[list[tuple], list[tuple]]]:
    """Rows of each query in any order, read by DuckDB and through Arrow."""
    found: list[list[list[tuple]]] = []
    told = native_parquet._told
    for telling in (told, lambda index, table: []):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(native_parquet, "_told", telling)
            reader = open_store(store.uri)
            found.append([sorted(reader.sql(query).fetchall(), key=repr) for query in queries])
            assert bool(reader._native._taken) == (telling is told)
    return list(zip(*found, strict=True))


def filled(store: Store, rng: np.random.Generator, rows: int = 40) -> None:
    """Rows of every pinned table for one trial, numbers odd ones among them."""
    publish_trial(store, "t0", [2.0] * 3)
    for table in PINNED:
        columns = {}
        for column in arrow_schema(table) or ():
            values = rng.choice([*rng.normal(size=8), *ODD], rows).tolist()
            kinds = {
                "trial_id": ["t0"] * rows,
                "attempt": [0] * rows,
                "epoch": rng.integers(0, 3, rows).tolist(),
            }
            if column.name in kinds:
                columns[column.name] = pa.array(kinds[column.name], column.type)
            elif pa.types.is_floating(column.type):
                columns[column.name] = pa.array(values, pa.float64()).cast(column.type, safe=False)
            elif pa.types.is_integer(column.type):
                columns[column.name] = pa.array(rng.integers(0, 99, rows)).cast(column.type)
            elif pa.types.is_string(column.type):
                columns[column.name] = pa.array(rng.choice(["a", "*", ""], rows).tolist())
            else:
                columns[column.name] = pa.nulls(rows, column.type)
        store.publish(table, pa.table(columns))


def test_every_pinned_table_is_the_same_both_ways(store: Store, seed: int) -> None:
    filled(store, np.random.default_rng(seed))
    names = [view_name(table) for table in PINNED]
    rows = [f"SELECT * FROM {name}" for name in names]
    for mine, through_arrow in both_ways(store, [*rows, *(f"DESCRIBE {row}" for row in rows)]):
        assert repr(mine) == repr(through_arrow)
        assert mine


def test_a_filter_keeps_the_same_rows(store: Store, seed: int) -> None:
    """NaN above all among them, which the statistics in a footer leave out."""
    publish_trial(store, "t0", [2.0] * 3)
    rng = np.random.default_rng(seed)
    for layer in range(24):
        numbers = rng.choice([*rng.normal(size=3), *ODD], 5).tolist()
        rows = {"trial_id": ["t0"] * 5, "attempt": [0] * 5, "epoch": [0] * 5, "layer": [layer] * 5}
        store.publish("layers", pa.table({**rows, "tensor": ["*"] * 5, "grad_norm": numbers}))
    operators = ("<", "<=", ">", ">=", "=", "<>")
    values = ("'nan'::float", "'inf'::float", "'-inf'::float", "0", "0.5", "NULL")
    filters = [f"grad_norm {op} {value}" for op, value in itertools.product(operators, values)]
    columns = "layer, epoch, grad_norm"
    asked = [f"SELECT {columns} FROM layers WHERE {where}" for where in filters]
    told = [f"SELECT {columns}, {where} FROM layers" for where in filters]
    found = both_ways(store, [*asked, *told])
    kept = 0
    for (mine, through_arrow), (every, _) in zip(
        found[: len(asked)], found[len(asked) :], strict=True
    ):
        assert len(every) == 24 * 5
        assert repr(mine) == repr(sorted([row[:3] for row in every if row[3]], key=repr))
        assert repr(mine) == repr(through_arrow)
        kept += len(mine)
    assert kept > 0


@pytest.mark.parametrize("when", ["before", "between"])
def test_a_flipped_bit_is_seen_wherever_it_is(store: Store, when: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    filled(store, rng)
    publish_trial(store, "t1", [2.0] * 3, layers=[[0.1, 1.0, 2.0]] * 3)
    sound = open_store(store.uri).sql("FROM layers ORDER BY ALL").fetchall()
    parts = sorted(Path(store.root, "layers").glob("*.parquet"))
    for _ in range(3):
        victim = parts[rng.integers(len(parts))]
        kept = victim.read_bytes()
        reader = open_store(store.uri)
        if when == "between":
            assert repr(reader.sql("FROM layers ORDER BY ALL").fetchall()) == repr(sound)
        content = bytearray(kept)
        content[rng.integers(4, len(content))] ^= 1 << rng.integers(8)
        victim.write_bytes(bytes(content))
        shown = reader.sql("FROM layers ORDER BY ALL").fetchall()
        assert len(shown) < len(sound)
        (named,) = reader.warnings
        assert str(victim) in named
        victim.write_bytes(kept)


def test_a_part_that_goes_is_found_where_it_went(store: Store) -> None:
    for number in range(4):
        publish_trial(store, f"t{number}", [2.0], layers=[[0.1, 1.0]])
    reader = open_store(store.uri)
    before = reader.sql("FROM layers ORDER BY ALL").fetchall()
    open_store(store.uri).compact(grace_s=0)
    assert reader.sql("FROM layers ORDER BY ALL").fetchall() == before


def test_questions_about_one_trial_compare_nothing_first(store: Store) -> None:
    publish_trial(store, "t0", [2.0], layers=[[0.1, 1.0]])
    reader = open_store(store.uri)
    one = "SELECT layer FROM layers WHERE trial_id = 't0' ORDER BY ALL"
    before = reader.sql(one).fetchall()
    for where in ("trial_id = $t", "trial_id IN ('t0')", "starts_with(l.trial_id, $t)"):
        reader.sql(
            f"SELECT layer FROM layers l WHERE {where}", {"t": "t0"} if "$" in where else None
        )
    assert "layers" not in reader._native._taken
    reader.sql("SELECT count(*) FROM layers l JOIN trials t ON l.trial_id = t.trial_id")
    assert reader._native._taken["layers"]
    assert reader.sql(one).fetchall() == before


def test_any_folder_will_do(store: Store, tmp_path: Path) -> None:
    publish_trial(store, "t0", [2.0], layers=[[0.1, 1.0]])
    before = store.sql("FROM layers ORDER BY ALL").fetchall()
    for name in ("it's", "lr=1", "a b", "run[1]", "what?*"):
        shutil.copytree(store.root, tmp_path / name / "store")
        reader = open_store(tmp_path / name / "store")
        assert reader.sql("FROM layers ORDER BY ALL").fetchall() == before
        assert bool(reader._native._taken) == (not set(name) & set("[?*"))


def test_names_without_a_checksum_go_through_arrow(store: Store) -> None:
    publish_trial(store, "t0", [2.0], layers=[[0.1, 1.0]])
    before = store.sql("FROM layers ORDER BY ALL").fetchall()
    for part in Path(store.root, "layers").glob("*.parquet"):
        part.rename(part.with_name(part.name.rsplit("-", 1)[0] + ".parquet"))
    reader = open_store(store.uri)
    assert reader.sql("FROM layers ORDER BY ALL").fetchall() == before
    assert "layers" not in reader._native._taken


def test_nothing_else_can_be_read(store: Store, tmp_path: Path) -> None:
    publish_trial(store, "t0", [2.0], layers=[[0.1, 1.0]])
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    store.sql("SELECT count(*) FROM layers")
    manifest = store.paths.manifest
    for place in (secret, Path(store.root, "layers", "..", "..", "secret.csv"), manifest):
        with pytest.raises(StoreError, match="disabled"):
            store.sql(f"SELECT * FROM read_text('{place}')")


def aged(store: Store, table: str, lacking: set[str]) -> None:
    """Replaces the table's parts by what a version without these columns wrote."""
    for part in list(store.index.tables[table].live):
        path = Path(part.path)
        data = pq.ParquetFile(path).read()
        content = encode(data.drop_columns([n for n in data.column_names if n in lacking]))
        files.publish(store.fs, store.paths.new_part(table, content), content)
        path.unlink()
    store.refresh()


@pytest.mark.parametrize("lacking", [{"frozen"}, {"launch_id"}, {"frozen", "launch_id"}])
def test_parts_of_older_versions_are_read_beside_newer_ones(
    store: Store, lacking: set[str]
) -> None:
    publish_trial(store, "old", [2.0, 1.0], layers=[[0.0, 2.0]] * 2)
    aged(store, "layers", lacking)
    publish_trial(store, "new", [2.0, 1.0], layers=[[1.0, 2.0]] * 2)
    frozen = {"trial_id": ["new"], "attempt": [0], "epoch": [1], "layer": [9], "tensor": ["*"],
              "layer_name": ["fixed"], "grad_norm": [0.0], "frozen": [True]}  # fmt: skip
    store.publish("layers", pa.table(frozen))
    queries = [
        "SELECT trial_id, layer, tensor, frozen, launch_id, grad_norm FROM layers",
        "SELECT trial_id, verdict, frozen_layers FROM diagnosis",
    ]
    rows, verdicts = both_ways(store, queries)
    assert rows[0] == rows[1]
    assert {row[3] for row in rows[0] if row[0] == "old"} == {None}
    assert verdicts[0] == verdicts[1]
    assert {row[0]: row[2] for row in verdicts[0]} == {"old": "rnn.0", "new": "fixed"}
    before = store.sql(queries[0]).fetchall()
    store.compact(grace_s=0)
    assert sorted(store.sql(queries[0]).fetchall(), key=repr) == sorted(before, key=repr)
