"""The code that travels to a cluster: our packages as they are here, edited or installed, and a
user's study file with the modules of theirs that it imports."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

from orchestrator.plan.code.study_sources import code_beside, is_module

PACKAGES = ("gradsweep", "orchestrator", "trainables", "search_spaces", "results")


STUDY = "study"
"""The folder that a study file travels in, with what lies beside it."""


def carried_study(study: str) -> str:
    """What a study that has travelled is called where jobs and workers start: a file by where it
    lies, a module by its name."""
    return study if is_module(study) else f"{STUDY}/{Path(study).name}"


def copy_study(path: str, folder: Path) -> None:
    """Copies a study, and the modules of the user's that it imports, into `folder`: a file with
    them into a folder there, a module to where it is found by its name.

    Raises:
      RequestError, StudyFileError: the file cannot be read.
    """
    own, files = folder / STUDY, code_beside(path)
    if is_module(path):
        own = folder
    else:
        files[Path(path).name] = Path(path)
    for place, file in files.items():
        copy = own / place
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
