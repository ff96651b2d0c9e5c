"""Pathfinder out of its published folder, `curv_contour_length_14` of one size of image, or out of
a tar of it. The folder holds `metadata/<n>.npy`, which are texts with a line for each image, and
the images as PNG files."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Mapping
from functools import partial

import numpy as np

from orchestrator.datasets.images import Arrays, FormatError
from orchestrator.datasets.png import grey_images

_TABLE = re.compile(r"(?:.*/)?metadata/(\d+)\.npy$")


def of_folder(files: Mapping[str, bytes], side: int) -> Arrays:
    """images uint8 (n, side, side) and labels int32 (n,), in the order of the tables and of their
    lines.

    Args:
      files: contents by path.
      side: pixels of a side.

    Raises:
      FormatError: a table or an image is missing or not what it should be.
    """
    tables = sorted((int(m[1]), path) for path in files if (m := _TABLE.match(path)))
    if not tables:
        raise FormatError("it holds no table metadata/<number>.npy")
    images: list[bytes] = []
    labels: list[int] = []
    for _, table in tables:
        folder = table.rpartition("metadata/")[0]
        if files[table].startswith(b"\x93NUMPY"):
            raise FormatError(f"{table} is a NumPy file; the published tables are texts")
        for number, line in enumerate(files[table].decode("utf-8").splitlines(), 1):
            words = line.split()
            if not words:
                continue
            if len(words) < 4 or words[3] not in ("0", "1"):
                raise FormatError(f"line {number} of {table} has no folder, file, number and label")
            path = f"{folder}{words[0]}/{words[1]}"
            if path not in files:
                raise FormatError(f"{path}, which {table} names, is missing")
            images.append(files[path])
            labels.append(int(words[3]))
    return {"images": grey_images(images, side), "labels": np.asarray(labels, np.int32)}


def of_archive(archive: bytes, side: int) -> Arrays:
    """The same out of a tar of the folder, in any compression."""
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:*") as tar:
        for member in tar:
            opened = tar.extractfile(member) if member.isfile() else None
            if opened and "curv_contour_length_14/" in f"{member.name}":
                files[member.name] = opened.read()
    return of_folder(files, side)


folder32, folder64, folder128, folder256 = (partial(of_folder, side=s) for s in (32, 64, 128, 256))
archive32, archive64, archive128, archive256 = (
    partial(of_archive, side=s) for s in (32, 64, 128, 256)
)
