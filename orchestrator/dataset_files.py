"""Arrays out of the bytes of data files: idx, CIFAR records, and scikit-learn's bundled digits.

Each reader takes the contents of a form's files in order and gives the four arrays of
`orchestrator.datasets.Loaded`. Checksums are verified before; here only the format can be wrong.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import struct
import tarfile
import zlib
from importlib import resources

import numpy as np

Arrays = dict[str, np.ndarray]

UNREADABLE = (EOFError, OSError, lzma.LZMAError, zlib.error, tarfile.TarError)
"""What a decompressor raises on truncated or foreign bytes."""

CIFAR_SHAPE = (3, 32, 32)
"""Channels red, green, blue; rows; columns."""
_RECORD = 1 + 3 * 32 * 32

_DIGITS_CHECKSUM = "sha256:bacf08bc160a4706bf0ab1120a1e498c17e884f531eb0654fda392ec701ba72a"
# The records themselves: the archive must give the same test set as the re-packed files.
_4K_TRAIN = "0993cf8b8e43bc207603aef9787006995746513f5e3fa5a52e06d1b069926330"
_4K_TEST = "f706fce454c0af98a20bdba81ca7410e135ff91f736ebc2b3521fb18223591ee"


class FormatError(Exception):
    """The bytes are not what their format says."""


def checksum(arrays: Arrays) -> str:
    """SHA-256 over the training images (float32) and labels (int32), little-endian."""
    digest = hashlib.sha256(arrays["train_images"].astype("<f4").tobytes())
    digest.update(arrays["train_labels"].astype("<i4").tobytes())
    return "sha256:" + digest.hexdigest()


def bundled_digits() -> Arrays:
    """scikit-learn's 1,797 digits, float32 (1797, 8, 8) in 0..16; the test arrays are empty."""
    from sklearn.datasets import load_digits
    from sklearn.utils import Bunch

    digits = load_digits()
    assert isinstance(digits, Bunch)  # a tuple only when asked for
    images = digits["images"].astype(np.float32)
    labels = digits["target"].astype(np.int32)
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


def _consistent(arrays: Arrays, shape: tuple[int, ...]) -> Arrays:
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        if images.shape[1:] != shape or len(images) != len(labels):
            raise FormatError(f"{images.shape} {part} images for {len(labels):,} labels")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) <= 9:
            raise FormatError(f"a {part} label is outside 0..9")
    return arrays


def _cifar(train: bytes, test: bytes, counts: tuple[int, int]) -> Arrays:
    """Records of one label byte and 3,072 channel-major pixels, as many as `counts` says."""
    arrays: Arrays = {}
    for part, content, count in zip(("train", "test"), (train, test), counts, strict=True):
        if len(content) != count * _RECORD:
            raise FormatError(
                f"{len(content):,} bytes of {part} records, not {count:,} x {_RECORD:,}"
            )
        records = np.frombuffer(content, np.uint8).reshape(count, _RECORD)
        arrays[f"{part}_images"] = records[:, 1:].reshape(count, *CIFAR_SHAPE)
        arrays[f"{part}_labels"] = records[:, 0].astype(np.int32)
    return _consistent(arrays, CIFAR_SHAPE)


def cifar10_batches(*batches: bytes) -> Arrays:
    """data_batch_1.bin to data_batch_5.bin, then test_batch.bin."""
    return _cifar(b"".join(batches[:-1]), batches[-1], (50_000, 10_000))


def _members(archive: bytes, names: tuple[str, ...]) -> list[bytes]:
    """Files of cifar-10-binary.tar.gz, by name, without writing them anywhere."""
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
    records = [test_batch[i : i + _RECORD] for i in range(0, len(test_batch), _RECORD)]
    by_crc = {zlib.crc32(record): record for record in records}
    listed = resources.files("orchestrator").joinpath("cifar10_4k_test.crc32").read_text()
    wanted = [int(c, 16) for line in listed.splitlines() if line[0] != "#" for c in line.split()]
    test = b"".join(by_crc.get(crc, b"") for crc in wanted)
    for part, content, digest in (("training", train, _4K_TRAIN), ("test", test, _4K_TEST)):
        if hashlib.sha256(content).hexdigest() != digest:
            raise FormatError(f"the archive does not hold the {part} images of cifar10_4k")
    return _cifar(train, test, (4_000, 1_000))
