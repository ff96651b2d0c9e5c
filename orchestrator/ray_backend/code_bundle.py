"""The code that travels to a cluster: our packages as they are here, edited or installed."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

PACKAGES = ("gradsweep", "orchestrator", "trainables", "search_spaces", "results")


def copy_code(folder: Path) -> None:
    """Copies the packages into `folder`, and beside them what says their version. No dependencies
    are named: nodes have the lock installed, and fetch nothing because code has travelled."""
    root = Path(__file__).resolve().parents[2]
    for package in PACKAGES:
        shutil.copytree(
            root / package,
            folder / package,
            ignore=shutil.ignore_patterns("__pycache__"),
            # Without the times of the files: Ray packs them, and a zip knows none before 1980.
            copy_function=shutil.copyfile,
        )
    version = importlib.metadata.version("gradsweep")
    info = folder / f"gradsweep-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: gradsweep\nVersion: {version}\n")
