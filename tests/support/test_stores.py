"""The comparison that the tests of faults rest on: what it sees, and what it must not."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results import Store, create_store, open_store
from tests.support.made_up_rows import publish_trial
from tests.support.stores import differing, parts, published, resume_points, seen

TABLES = ("epochs", "layers", "steps", "probes/timeline")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two trials with rows in every table, numbers that are none among them, and kept weights."""
    store = create_store(tmp_path_factory.mktemp("calm") / "store")
    for trial, last in (("a", 1.0), ("b", math.nan)):
        metrics = {epoch: {"metrics": [("lr", 0.1), ("gap", last)]} for epoch in (0, 1)}
        layers = [[0.1, 0.2], [0.1, last]]
        publish_trial(
            store, trial, [2.0, last], layers=layers, steps=True, timeline=True, extra=metrics
        )
    lanes = [{"trial_id": trial, "epoch": 1, "attempt": 0} for trial in "ab"]
    weights = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}
    store.save_weights("artifacts", "pack", weights, {"lanes": lanes})
    return store


@pytest.fixture
def other(calm: Store, tmp_path: Path) -> Path:
    return Path(shutil.copytree(calm.root, tmp_path / "store"))


def again(store: Path, table: str, **changes: Any) -> None:
    """Publishes the first row of a table's newest part once more, some columns changed."""
    part = max(parts(store, table))
    row = pq.ParquetFile(part).read().slice(0, 1)
    for name, value in changes.items():
        at = row.column_names.index(name)
        row = row.set_column(at, row.schema.field(name), pa.array([value], row.schema.types[at]))
    open_store(str(store)).publish(table, row)


def test_a_store_equals_its_copy(calm: Store, other: Path) -> None:
    assert {table for table in calm.index.tables if parts(other, table)} == {"trials", *TABLES}
    assert differing(calm, other) == {}


@pytest.mark.parametrize("table", TABLES)
def test_a_doubled_row_is_a_difference_on_either_side(calm: Store, other: Path, table: str) -> None:
    """EXCEPT alone, of sets, finds none here."""
    again(other, table)
    opened = open_store(str(other))
    found = {table.removeprefix("probes/"): 1}
    assert differing(calm, opened) == differing(opened, calm) == found


@pytest.mark.parametrize(
    ("table", "changes"),
    [
        ("epochs", {"epoch": 7}),
        ("layers", {"grad_norm": 0.5}),
        ("probes/mine", {}),
    ],
)
def test_a_row_too_many_is_one_that_differs(
    calm: Store, other: Path, table: str, changes: dict[str, Any]
) -> None:
    if table == "probes/mine":
        trial, attempt, epoch = seen(other, "epochs", "trial_id", "attempt", "epoch")[0]
        keys = {"trial_id": [trial], "attempt": [attempt], "epoch": [epoch]}
        types = pa.schema([("trial_id", "string"), ("attempt", "int32"), ("epoch", "int32")])
        open_store(str(other)).publish(table, pa.table(keys, types))
    else:
        again(other, table, **changes)
    assert differing(calm, other) == {table.removeprefix("probes/"): 1}


def test_lost_rows_are_a_difference_of_their_table_alone(calm: Store, other: Path) -> None:
    lost = {table: max(parts(other, table)) for table in TABLES}
    counts = {name: pq.read_metadata(part).num_rows for name, part in lost.items()}
    for part in lost.values():
        part.unlink()
    assert differing(calm, other) == {n.removeprefix("probes/"): c for n, c in counts.items()}


def test_another_outcome_of_a_trial_is_a_difference_and_another_time_is_none(
    calm: Store, other: Path
) -> None:
    again(other, "trials", event=2, seconds=123.0, host="elsewhere")
    assert differing(calm, other) == {}
    again(other, "trials", event=3, status="stopped")
    assert differing(calm, other) == {"trials": 2}


def test_other_weights_are_a_difference(calm: Store, other: Path) -> None:
    (tensors,) = other.glob("artifacts/**/*.safetensors")
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1  # of trial b
    tensors.write_bytes(content)
    assert differing(calm, other) == {"weights": 2}
    tensors.unlink()
    tensors.with_suffix(".json").unlink()
    assert differing(calm, other) == {"weights": 2}


def test_a_table_may_be_left_out(calm: Store, other: Path) -> None:
    again(other, "steps")
    again(other, "layers")
    assert differing(calm, other, without=["steps"]) == {"layers": 1}


def test_empty_stores_are_not_the_same(tmp_path: Path) -> None:
    one, two = (create_store(tmp_path / name) for name in ("one", "two"))
    with pytest.raises(AssertionError):
        differing(one, two)


def test_published_rows_are_those_of_all_parts(calm: Store, other: Path, tmp_path: Path) -> None:
    assert published(tmp_path / "nowhere") == 0
    assert published(other) == 4
    rows = sorted(seen(other, "epochs", "trial_id", "epoch"))
    assert rows == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    again(other, "epochs")
    assert published(other) == 5


def test_resume_points_are_the_newest_of_trials_that_have_not_ended(tmp_path: Path) -> None:
    store = create_store(tmp_path / "store")
    publish_trial(store, "a", [1.0])
    for epoch in (3, 5):
        lanes = [{"trial_id": trial, "epoch": epoch} for trial in "ab"]
        save = {"w": np.zeros((2, 1), np.float32)}
        store.save_weights("checkpoints", f"pack-{epoch}", save, {"lanes": lanes})
    assert resume_points(tmp_path / "store") == {"b": 5}
