"""Samples that are read as they are needed: which rows, of what type, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.streamed_tasks import Samples, arrays, mapped, registry, trial
from trainables.declarations import PartError, Sizes
from trainables.tasks.base import make_data
from trainables.tasks.streaming import CHUNK_BYTES, Source, chunk_steps
from trainables.tasks.user_arrays import gathered


def source_of(built: Any, **task: Any) -> Source:
    found = make_data(trial(registry(lambda config: built, stream=True, **task)), {})
    assert isinstance(found, Source)
    return found


def apart() -> dict[str, Any]:
    """Training, validation and test samples given apart: 30, 12 and 8."""
    every = arrays()
    cuts = {"train": slice(0, 30), "val": slice(30, 42), "test": slice(42, 50)}
    return {split: {n: v[cut] for n, v in every.items()} for split, cut in cuts.items()}


def pool_and_test() -> dict[str, Any]:
    every = arrays()
    return {n: v[:40] for n, v in every.items()} | {f"{n}_test": v[40:] for n, v in every.items()}


FORMS = {"shares": arrays, "pool": pool_and_test, "apart": apart}


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_those_of_the_arrays_as_the_device_would_hold_them(form: str) -> None:
    built = FORMS[form]()
    one = trial(registry(lambda config: built))
    whole, source = gathered(one, built), source_of(built)
    index = np.array([49, 0, 41, 42, 0, 29, 30])
    found = source.take(index)
    for name, value in whole.items():
        assert source.shapes[name].shape == value.shape
        assert found[name].dtype == source.shapes[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value[index])


@pytest.mark.parametrize("form", ["shares", "apart"])
def test_a_source_of_single_samples_has_the_same_rows(form: str) -> None:
    built = FORMS[form]()
    singly = Samples(built) if form == "shares" else {n: Samples(v) for n, v in built.items()}
    index = np.arange(50)[::-3]
    one, other = source_of(built).take(index), source_of(singly).take(index)
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(other[name], value)


@pytest.mark.parametrize(
    ("dtype", "held"),
    [("f8", "f4"), ("f4", "f4"), ("u1", "u1"), ("i8", "i4"), ("?", "?"), ("c16", "c8")],
)
def test_types_are_those_of_a_resident_task(dtype: str, held: str) -> None:
    built = {"x": np.zeros((50, 2), dtype), "t": np.zeros(50, ml_dtypes.bfloat16)}
    source = source_of(built, loss=lambda outputs, batch, config: 0.0)
    assert source.take(np.arange(3))["x"].dtype == np.dtype(held)
    assert source.take(np.arange(3))["t"].dtype == ml_dtypes.bfloat16


class Store:
    """An array as HDF5 gives it: ascending rows only, each once. Counts the rows."""

    def __init__(self, value: np.ndarray):
        self.value, self.shape, self.dtype, self.read = value, value.shape, value.dtype, 0

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        assert np.all(np.diff(rows) > 0)
        self.read += len(rows)
        return self.value[rows]


def test_an_array_that_takes_ascending_rows_is_read_so() -> None:
    whole = arrays()
    stored = {name: Store(value) for name, value in whole.items()}
    source = source_of(stored)
    found = source.take(np.array([5, 2, 5, 40]))
    np.testing.assert_array_equal(found["x"], whole["x"][[5, 2, 5, 40]])
    assert stored["x"].read <= 4, "the three rows, and the first for its shape"


def test_planning_reads_no_sample(tmp_path: Path) -> None:
    stored = {name: Store(value) for name, value in arrays().items()}
    sizes = trial(registry(lambda config: stored, stream=True)).sizes
    assert (sizes.n_train, sizes.n_val, sizes.n_test, sizes.classes) == (30, 10, 10, 3)
    assert stored["x"].read == stored["y"].read == 0


def broken(place: tuple[int, ...], value: float) -> dict[str, Any]:
    found = arrays()
    found["x"][place] = value
    return found


@pytest.mark.parametrize(
    ("built", "rows", "said"),
    [
        (broken((17, 2, 1), np.nan), [3, 17], r"x\[17, 2, 1\] of task small is nan"),
        (arrays() | {"y": np.full(50, 3)}, [9], r"y\[0\] of task small is 3; .* 0\.\.2"),
        ({**arrays(), "y": arrays()["y"][:40]}, [0], "y of task small has 40 samples and x has 50"),
        ({"x": arrays()["x"]}, [0], "lacks the array y"),
        ({**arrays(), "y": [0] * 50}, [0], "y of task small is of type list; .* mmap_mode"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(built: Any, rows: list[int], said: str) -> None:
    with pytest.raises(PartError, match=said):
        source_of(built).take(np.array(rows))


def test_a_place_is_that_of_the_array_it_came_from() -> None:
    built = apart()
    built["val"]["x"][4, 0, 1] = np.inf
    with pytest.raises(PartError, match=r"x of val\[4, 0, 1\] of task small is inf"):
        source_of(built).take(np.array([0, 33, 34]))


def test_a_sample_that_cannot_be_read_is_named() -> None:
    class Faulty(Samples):
        def __getitem__(self, row: int) -> dict[str, Any]:
            if row == 12:
                raise KeyError("label")
            return super().__getitem__(row)

    source = source_of(Faulty(arrays()))
    with pytest.raises(PartError, match="sample 12 of task small cannot be read: KeyError"):
        source.take(np.array([11, 12]))


def test_a_classifier_that_streams_says_how_many_classes() -> None:
    with pytest.raises(PartError, match=r"labels are not read .* Task\(classes=\.\.\.\)"):
        _ = trial(registry(lambda config: arrays(), stream=True, classes=None)).sizes


def test_a_wrong_number_of_samples_is_refused() -> None:
    sizes = Sizes(seq_len=4, features=3, classes=3, n_train=60)
    with pytest.raises(PartError, match=r"declares 60 samples, .* it has 50"):
        source_of(arrays(), sizes=sizes)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 10 * CHUNK_BYTES))
def test_chunks_are_equal_within_their_bytes(steps: int, bytes_: int) -> None:
    each = chunk_steps(steps, bytes_, None)
    assert each == 1 or each * bytes_ <= CHUNK_BYTES
    chunks = -(-steps // each)
    assert chunks * each - steps < max(chunks, 1), "less than a step of each call is in vain"


def test_memory_mapped_arrays_are_never_copied_whole(tmp_path: Path) -> None:
    files = mapped(tmp_path, arrays())
    found = source_of(files).take(np.arange(3))
    assert not isinstance(found["x"], np.memmap)
    assert found["x"].base is None or found["x"].base.nbytes == found["x"].nbytes
