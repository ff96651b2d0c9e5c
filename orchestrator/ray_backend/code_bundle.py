"""The wheel that travels to a cluster: our packages as they are here, edited or installed."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import zipfile
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("gradsweep", "orchestrator", "trainables", "search_spaces", "results")

_WHEN = (1980, 1, 1, 0, 0, 0)
"""Of every file in the wheel: the earliest that a zip archive can say."""


def build_wheel(folder: Path) -> Path:
    """Writes the wheel into `folder`. It names no dependencies: nodes have the lock installed, and
    must not fetch anything because code has travelled."""
    version = importlib.metadata.version("gradsweep")
    info = f"gradsweep-{version}.dist-info"
    contents = dict(_code())
    contents[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: gradsweep\nVersion: {version}\n".encode()
    )
    contents[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: gradsweep\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    record = [f"{name},sha256={_hash(data)},{len(data)}" for name, data in contents.items()]
    contents[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    path = folder / f"gradsweep-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in contents.items():
            wheel.writestr(zipfile.ZipInfo(name, _WHEN), data)
    return path


def _code() -> Iterator[tuple[str, bytes]]:
    root = Path(__file__).resolve().parents[2]
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(root).as_posix(), path.read_bytes()


def _hash(data: bytes) -> str:
    """A digest as RECORD wants it."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
