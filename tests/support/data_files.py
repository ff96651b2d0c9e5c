"""What the tests of data sets share: lists of checksums, archives, and what an error must be."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from orchestrator.datasets.loader import DataError


def list_sums(folder: Path, *paths: Path, prefix: str = "") -> None:
    """Writes the `SHA256SUMS` of a folder for these files below it."""
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {prefix}{p.relative_to(folder)}"
        for p in paths
    ]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")


def archive(members: dict[str, bytes], folder: str = "cifar-10-batches-bin") -> bytes:
    """A gzipped tar of files by name, all in one folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def assert_one_sentence(error: pytest.ExceptionInfo[DataError]) -> None:
    text = str(error.value)
    assert len(error.value.problems) == 1
    assert "\n" not in text
    assert "Traceback" not in text
    assert not text.endswith(".")
