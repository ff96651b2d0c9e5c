"""Images out of the bytes of data files: idx, CIFAR records, and scikit-learn's bundled digits.

Each reader takes the contents of a form's files in order and gives the arrays of
`orchestrator.datasets.loader.Loaded`. Checksums are verified before; here only the format can be
wrong. Text is read in `text`, spikes in `spikes`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from functools import partial
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]

UNREADABLE = (
    *(EOFError, OSError, lzma.LZMAError, zlib.error, tarfile.TarError),
    *(zipfile.BadZipFile, UnicodeDecodeError),
)
"""What decompressors and decoders raise on truncated or foreign bytes."""

CIFAR_SHAPE = (3, 32, 32)
"""Channels red, green, blue; rows; columns."""
_PIXELS = 3 * 32 * 32
_RECORD = 1 + _PIXELS
_RECORD_100 = 2 + _PIXELS
"""A coarse label, a fine label, pixels."""

_DIGITS_CHECKSUM = "sha256:bacf08bc160a4706bf0ab1120a1e498c17e884f531eb0654fda392ec701ba72a"
# The records themselves: the archive must give the same test set as the re-packed files.
_4K_TRAIN = "0993cf8b8e43bc207603aef9787006995746513f5e3fa5a52e06d1b069926330"
_4K_TEST = "f706fce454c0af98a20bdba81ca7410e135ff91f736ebc2b3521fb18223591ee"
_2K_TRAIN = "6f7e2669231b8f84a293eeef54a46a344ca8db0298fee57a2129eb25189f645e"
_2K_TEST = "8e592c9b9fc0f96041937b9653a0a482c5229ba800535faa77f97175866da158"


class FormatError(Exception):
    """The bytes are not what their format says."""


def checksum(arrays: Arrays) -> str:
    """SHA-256 over the training part's numbers, in the order of the arrays: float32 and int32,
    little-endian."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        if name.startswith("train_"):
            digest.update(array.astype("<f4" if array.dtype.kind == "f" else "<i4").tobytes())
    return "sha256:" + digest.hexdigest()


def bundled_digits() -> Arrays:
    """scikit-learn's 1,797 digits, float32 (1797, 8, 8) in 0..16; the test arrays are empty."""
    # Importing scikit-learn, which brings SciPy, takes longer than a short trial.
    found = find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise FormatError("scikit-learn is not installed")
    table = Path(found.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    rows = np.loadtxt(table, delimiter=",", dtype=np.float32)
    images, labels = rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int32)
    arrays = {
        "train_images": images,
        "train_labels": labels,
        "test_images": np.empty((0, 8, 8), np.float32),
        "test_labels": np.empty((0,), np.int32),
    }
    if checksum(arrays) != _DIGITS_CHECKSUM:
        raise FormatError("this version bundles other digits than the ones known")
    return arrays


def _idx(content: bytes, dims: int) -> np.ndarray:
    """uint8 array of an idx file: two zero bytes, type 8, the number of sizes, sizes, values."""
    raw = gzip.decompress(content)
    start = 4 + 4 * dims
    if len(raw) < start or raw[:4] != bytes((0, 0, 8, dims)):
        raise FormatError(f"not an idx file of bytes with {dims} dimensions")
    shape = struct.unpack(f">{dims}I", raw[4:start])
    if len(raw) - start != int(np.prod(shape)):
        raise FormatError(f"its header says {shape}, but {len(raw) - start:,} values follow")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def mnist_idx(
    train_images: bytes, train_labels: bytes, test_images: bytes, test_labels: bytes
) -> Arrays:
    """The four idx files, images uint8 (n, 28, 28)."""
    arrays = {
        "train_images": _idx(train_images, 3),
        "train_labels": _idx(train_labels, 1).astype(np.int32),
        "test_images": _idx(test_images, 3),
        "test_labels": _idx(test_labels, 1).astype(np.int32),
    }
    return _consistent(arrays, (28, 28))


def _consistent(arrays: Arrays, shape: tuple[int, ...], classes: int = 10) -> Arrays:
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if images.shape[1:] != shape or len(images) != len(labels):
            raise FormatError(f"{images.shape} {part} images for {len(labels):,} labels")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise FormatError(f"a {part} label is outside 0..{classes - 1}")
    return arrays


def _cifar(
    train: bytes, test: bytes, counts: tuple[int, int], record: int = _RECORD, classes: int = 10
) -> Arrays:
    """Records of label bytes, the last one used, and 3,072 channel-major pixels; `counts` each."""
    arrays: Arrays = {}
    for part, content, count in zip(("train", "test"), (train, test), counts, strict=True):
        if len(content) != count * record:
            raise FormatError(
                f"{len(content):,} bytes of {part} records, not {count:,} x {record:,}"
            )
        records = np.frombuffer(content, np.uint8).reshape(count, record)
        arrays[f"{part}_images"] = records[:, -_PIXELS:].reshape(count, *CIFAR_SHAPE)
        arrays[f"{part}_labels"] = records[:, -_PIXELS - 1].astype(np.int32)
    return _consistent(arrays, CIFAR_SHAPE, classes)


def cifar10_batches(*batches: bytes) -> Arrays:
    """data_batch_1.bin to data_batch_5.bin, then test_batch.bin."""
    return _cifar(b"".join(batches[:-1]), batches[-1], (50_000, 10_000))


def _members(archive: bytes, names: tuple[str, ...]) -> list[bytes]:
    """Files of a CIFAR archive, by name, without writing them anywhere."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        found = {member.name.rpartition("/")[2]: member for member in tar if member.isfile()}
        contents = []
        for name in names:
            opened = tar.extractfile(found[name]) if name in found else None
            if opened is None:
                raise FormatError(f"the archive holds no {name}")
            contents.append(opened.read())
        return contents


def cifar10_archive(archive: bytes) -> Arrays:
    """cifar-10-binary.tar.gz."""
    names = (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin")
    return cifar10_batches(*_members(archive, names))


def cifar10_4k_repacked(train: bytes, test: bytes) -> Arrays:
    """The two xz files: 4,000 and 1,000 records."""
    return _cifar(lzma.decompress(train), lzma.decompress(test), (4_000, 1_000))


def cifar10_4k_of_archive(archive: bytes) -> Arrays:
    """The same 4,000 and 1,000 records, picked from cifar-10-binary.tar.gz.

    The test images were drawn once, in no order that a rule gives; a list of their CRCs finds them,
    and the SHA-256 of all of them says that they are the ones.
    """
    first, test_batch = _members(archive, ("data_batch_1.bin", "test_batch.bin"))
    train = first[: 4_000 * _RECORD]
    by_crc = {zlib.crc32(record): record for record in _records(test_batch, _RECORD)}
    wanted = [int(c, 16) for c in _listed("cifar10_4k_test.crc32")]
    test = b"".join(by_crc.get(crc, b"") for crc in wanted)
    _must_be("cifar10_4k", (train, _4K_TRAIN), (test, _4K_TEST))
    return _cifar(train, test, (4_000, 1_000))


def _records(content: bytes, size: int) -> list[bytes]:
    return [content[i : i + size] for i in range(0, len(content), size)]


def _listed(name: str) -> list[str]:
    """Words of a list that lies in this package."""
    lines = resources.files("orchestrator.datasets").joinpath(name).read_text().splitlines()
    return [word for line in lines if line[0] != "#" for word in line.split()]


def _must_be(name: str, train: tuple[bytes, str], test: tuple[bytes, str]) -> None:
    """Raises FormatError where picked (records, SHA-256) do not agree."""
    for part, (content, digest) in (("training", train), ("test", test)):
        if hashlib.sha256(content).hexdigest() != digest:
            raise FormatError(f"the archive does not hold the {part} images of {name}")


_cifar100 = partial(_cifar, record=_RECORD_100, classes=100)


def cifar100_archive(archive: bytes) -> Arrays:
    """cifar-100-binary.tar.gz, fine labels."""
    train, test = _members(archive, ("train.bin", "test.bin"))
    return _cifar100(train, test, (50_000, 10_000))


def cifar100_2k_repacked(train: bytes, test: bytes) -> Arrays:
    """The two xz files: 20 and 10 records a fine class."""
    return _cifar100(lzma.decompress(train), lzma.decompress(test), (2_000, 1_000))


def cifar100_2k_of_archive(archive: bytes) -> Arrays:
    """The same 2,000 and 1,000 records, picked from cifar-100-binary.tar.gz by a list of hashes."""
    whole = b"".join(_members(archive, ("train.bin", "test.bin")))
    found = {hashlib.sha256(r).hexdigest()[:12]: r for r in _records(whole, _RECORD_100)}
    picked = [found.get(word, b"") for word in _listed("cifar100_2k.sha256")]
    train, test = b"".join(picked[:2_000]), b"".join(picked[2_000:])
    _must_be("cifar100_2k", (train, _2K_TRAIN), (test, _2K_TEST))
    return _cifar100(train, test, (2_000, 1_000))
