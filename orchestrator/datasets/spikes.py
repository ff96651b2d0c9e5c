"""Spike events out of HDF5 files, as the Heidelberg data sets are published (Cramer et al. 2020).

Each reader takes the contents of a form's files in order and gives, of `train` and `test`, as
train_times and so on: times, seconds in the file's own precision (events,); units uint16 (events,);
offsets int64 (n + 1,), where sample i has the events offsets[i] to offsets[i + 1]; labels int32
(n,).
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

import h5py
import numpy as np

from orchestrator.datasets.images import Arrays, FormatError

_UNITS, _CLASSES = 700, 20


def shd(train: bytes, test: bytes) -> Arrays:
    """shd_train.h5 and shd_test.h5: labels, spikes/times and spikes/units, one array a sample."""
    arrays: Arrays = {}
    for part, content in (("train", train), ("test", test)):
        with h5py.File(io.BytesIO(content), "r") as file:
            for name, array in _events(file, part).items():
                arrays[f"{part}_{name}"] = array
    return arrays


def shd_zipped(train: bytes, test: bytes) -> Arrays:
    """The same files, each in a zip archive of its own."""
    return shd(_member(train, "shd_train.h5"), _member(test, "shd_test.h5"))


def _member(archive: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        found = [path for path in opened.namelist() if path.rpartition("/")[2] == name]
        if not found:
            raise FormatError(f"the archive holds no {name}")
        return opened.read(found[0])


def _events(file: h5py.File, part: str) -> Arrays:
    try:
        times, units, labels = (
            np.asarray(_values(file, name)) for name in ("spikes/times", "spikes/units", "labels")
        )
    except KeyError as error:
        raise FormatError(f"its {part} file lacks {error}") from error
    lengths = [len(sample) for sample in times]
    if lengths != [len(sample) for sample in units] or len(lengths) != len(labels) or not lengths:
        raise FormatError(f"times, units and labels of its {part} file differ in number")
    flat = np.concatenate(list(units))
    if len(flat) and not 0 <= int(flat.min()) <= int(flat.max()) < _UNITS:
        raise FormatError(f"a {part} unit is outside 0..{_UNITS - 1}")
    if not 0 <= int(labels.min()) <= int(labels.max()) < _CLASSES:
        raise FormatError(f"a {part} label is outside 0..{_CLASSES - 1}")
    return {
        "times": np.concatenate(list(times)),
        "units": flat.astype(np.uint16),
        "offsets": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "labels": labels.astype(np.int32),
    }


def _values(file: h5py.File, name: str) -> Any:
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise KeyError(name)
    return found[()]
