"""Pathfinder out of generated files of the published form."""

from __future__ import annotations

import hashlib
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest

from orchestrator.datasets import loader
from orchestrator.datasets.loader import DataError
from tests.support.data_files import assert_one_sentence, list_sums
from tests.support.pathfinder_files import FOLDER, png, write_pathfinder


def listed(folder: Path) -> None:
    """Writes the line that the refusal asks for."""
    with pytest.raises(DataError) as error:
        loader.load("pathfinder32", folder.parents[2])
    assert_one_sentence(error)
    found = re.search(r"have the line `(\w{64}  \S+)`", str(error.value))
    assert found is not None
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode() + content)
    assert found[1].startswith(digest.hexdigest())
    (folder.parent / "SHA256SUMS").write_text(found[1] + "\n")


def test_the_published_folder_and_a_tar_of_it(tmp_path: Path, seed: int) -> None:
    """Tables are read by number: 10 comes after 2."""
    images, labels, folder = write_pathfinder(tmp_path, seed)
    assert loader.available("pathfinder32", tmp_path)
    listed(folder)
    loaded = loader.load("pathfinder32", tmp_path)
    np.testing.assert_array_equal(loaded.arrays["images"], images)
    assert loaded.arrays["labels"].tolist() == labels.tolist()
    assert loaded.checksum.startswith(f"{FOLDER}=sha256:")
    assert loader.verify("pathfinder32", tmp_path).status == "ok"
    packed = tmp_path / "packed" / "pathfinder" / "pathfinder32.tar"
    packed.parent.mkdir(parents=True)
    with tarfile.open(packed, "w") as tar:
        tar.add(folder, "lra_release/pathfinder32/curv_contour_length_14")
    list_sums(packed.parent, packed)
    again = loader.load("pathfinder32", tmp_path / "packed").arrays
    np.testing.assert_array_equal(again["images"], images)
    (folder / "imgs/0/sample_0.png").write_bytes(png(images[1][..., None], [0]))
    loader._load.cache_clear()
    with pytest.raises(DataError, match="is not what it was when it was listed"):
        loader.load("pathfinder32", tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("imgs/0/sample_0.png", b"GIF89a", "image 1: it is no PNG file"),
        ("imgs/2/sample_2.png", None, r"imgs/2/sample_2.png, which metadata/2.npy names, is miss"),
        ("metadata/0.npy", b"imgs/0 sample_0.png 0\n", "line 1 of metadata/0.npy has no folder"),
        ("metadata/0.npy", b"\x93NUMPY\x01\x00", "metadata/0.npy is a NumPy file"),
        ("imgs/0/sample_1.png", png(np.zeros((8, 8, 1), int), [0]), "image 2 has 8 x 8 pixels"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, seed: int, name: str, content: bytes | None, said: str
) -> None:
    _, _, folder = write_pathfinder(tmp_path, seed)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    listed(folder)
    with pytest.raises(DataError, match=said) as error:
        loader.load("pathfinder32", tmp_path)
    assert_one_sentence(error)
    assert "lra_release.gz of the Long Range Arena" in str(error.value)
