"""The code that travels to a cluster: our packages as they are here, edited or installed, and a
user's study file with the modules of theirs that it imports."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

from orchestrator.plan.studies import code_beside

PACKAGES = ("gradsweep", "orchestrator", "trainables", "search_spaces", "results")


STUDY = "study"
"""The folder that a study file travels in, with what lies beside it."""


def carried_study(path: str) -> str:
    """Where a study file that has travelled lies, from where jobs and workers start."""
    return f"{STUDY}/{Path(path).name}"


def copy_study(path: str, folder: Path) -> None:
    """Copies a study file, and the modules of the user's that it imports, into `folder`.

    Raises:
      RequestError, StudyFileError: the file cannot be read.
    """
    for place, file in {**code_beside(path), Path(path).name: Path(path)}.items():
        copy = folder / STUDY / place
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


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
