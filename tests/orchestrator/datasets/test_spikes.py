"""Spike events from HDF5 files made by hand."""

from __future__ import annotations

import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from orchestrator.datasets import loader
from orchestrator.datasets.loader import DataError
from tests.support.data_files import assert_one_sentence, list_sums
from trainables.declarations import builtin_registry
from trainables.tasks.base import make_data

Sample = tuple[list[float], list[int], int]
MADE: list[Sample] = [([0.1, 0.5, 0.9], [3, 699, 0], 19), ([], [], 0), ([0.25], [350], 7)]


def write_h5(path: Path, samples: list[Sample]) -> None:
    """A file as the data set publishes them: variable-length float16 times and integer units."""
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, dtype, at in (("times", np.float16, 0), ("units", np.int64, 1)):
            column = file.create_dataset(
                f"spikes/{name}", (len(samples),), dtype=h5py.vlen_dtype(dtype)
            )
            for i, sample in enumerate(samples):
                column[i] = np.asarray(sample[at], dtype)
        file["labels"] = np.asarray([sample[2] for sample in samples])


def write_shd(root: Path, samples: list[Sample]) -> list[Path]:
    folder = root / "heidelberg"
    paths = [folder / "shd_train.h5", folder / "shd_test.h5"]
    for path in paths:
        write_h5(path, samples)
    list_sums(root, *paths)
    return paths


def check(arrays: dict[str, np.ndarray]) -> None:
    for part in ("train", "test"):
        assert arrays[f"{part}_offsets"].tolist() == [0, 3, 3, 4]
        assert arrays[f"{part}_units"].tolist() == [3, 699, 0, 350]
        assert arrays[f"{part}_units"].dtype == np.uint16
        expected = np.asarray([0.1, 0.5, 0.9, 0.25], np.float16)
        np.testing.assert_array_equal(arrays[f"{part}_times"], expected)
        assert arrays[f"{part}_labels"].tolist() == [19, 0, 7]


def test_events_are_read_in_order(tmp_path: Path) -> None:
    paths = write_shd(tmp_path, MADE)
    check(loader.load("heidelberg", tmp_path).arrays)
    zipped = tmp_path / "zipped" / "heidelberg"
    zipped.mkdir(parents=True)
    for path in paths:
        with zipfile.ZipFile(zipped / f"{path.name}.zip", "w") as made:
            made.write(path, path.name)
    list_sums(zipped, *zipped.iterdir())
    check(loader.load("heidelberg", tmp_path / "zipped").arrays)


def test_five_events_of_a_file_in_bins(tmp_path: Path) -> None:
    """From HDF5 to what the task keeps: (k - 1) 4 ms < t <= k 4 ms is step k, unit u is 700 - u."""
    events = [0.0, 0.003, 0.5, 0.1, 1.2], [1, 699, 350, 0, 20]
    write_shd(tmp_path, [(*events, 4), ([], [], 5)])
    arrays = loader.load("heidelberg", tmp_path).arrays
    config = {"model": "gru", "task": "heidelberg", "n_train": 1, "n_val": 1, "n_test": 2}
    data = make_data(builtin_registry().resolve(config), arrays)
    dense = np.unpackbits(data["x"], axis=-1)
    assert np.argwhere(dense).tolist() == [
        [sample, *place] for sample in (0, 2) for place in ([0, 699], [1, 1], [125, 350])
    ]
    assert data["y"].tolist() == [4, 5, 4, 5]


def test_unlisted_or_damaged_files_are_refused_by_name(tmp_path: Path) -> None:
    paths = write_shd(tmp_path, MADE)
    content = paths[1].read_bytes()
    paths[1].write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"shd_test\.h5 is corrupt.*fetch heidelberg") as error:
        loader.load("heidelberg", tmp_path)
    assert_one_sentence(error)
    list_sums(tmp_path, *paths)
    with pytest.raises(DataError, match="cannot be read from") as error:  # truncated HDF5
        loader.load("heidelberg", tmp_path)
    assert_one_sentence(error)
    (tmp_path / "SHA256SUMS").unlink()
    with pytest.raises(DataError, match=r"shd_train\.h5 has no known checksum.*SHA256SUMS"):
        loader.load("heidelberg", tmp_path)


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        ([([0.1], [700], 0)], r"unit is outside 0\.\.699"),
        ([([0.1], [0], 20)], r"label is outside 0\.\.19"),
        ([([0.1, 0.2], [1], 0)], "differ in number"),
        ([], "differ in number"),
    ],
)
def test_impossible_events_are_named(tmp_path: Path, samples: list[Sample], why: str) -> None:
    write_shd(tmp_path, samples)
    with pytest.raises(DataError, match=why) as error:
        loader.load("heidelberg", tmp_path)
    assert_one_sentence(error)


def test_a_file_without_spikes_is_named(tmp_path: Path) -> None:
    paths = write_shd(tmp_path, MADE)
    with h5py.File(paths[0], "a") as file:
        del file["spikes/units"]
    list_sums(tmp_path, *paths)
    with pytest.raises(DataError, match="train file lacks 'spikes/units'") as error:
        loader.load("heidelberg", tmp_path)
    assert_one_sentence(error)
