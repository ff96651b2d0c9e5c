"""Any folder of training, validation and test text as a corpus, known by its content.

A folder is copied into `texts` below the data root, under a name made of a digest of its files and
of their counts, so that a trial's identity is what was read and the files are there when it runs
again. Importing this module imports no NumPy.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from orchestrator.errors import RequestError
from trainables.declarations import Registry, Task
from trainables.declarations.tasks.language import CORPORA, READS_FOLDERS
from trainables.declarations.tasks.language import TEXT_NAME as NAME

FOLDER, SUMS = "texts", "SHA256SUMS"
PARTS = {
    "train": ("train",),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test",),
}  # fmt: skip
"""Name of each part's file as it is kept, and words for it in the user's names."""


def with_folder(
    config: Mapping[str, Any], registry: Registry, root: Callable[[], Path]
) -> Mapping[str, Any]:
    """`config` with the name of a corpus in place of the folder that holds it; as it is where its
    task reads none.

    Raises:
      RequestError: as `register`.
    """
    given = config.get("corpus")
    if not isinstance(given, str) or given in CORPORA or NAME.fullmatch(given):
        return config
    task = registry.find("task", str(config.get("task")))
    if not isinstance(task, Task) or task.runtime not in [one.runtime for one in READS_FOLDERS]:
        return config
    folder = os.sep in given or given.startswith((".", "~")) or Path(given).is_dir()
    return {**config, "corpus": register(given, root())} if folder else config


def register(folder: str | Path, root: Path) -> str:
    """Keeps a folder's three files below the data root, and returns the name of their corpus.

    Files may be called train.txt, wiki.valid.tokens, ptb.test.txt and the like: the part is a word
    of the name.

    Raises:
      RequestError: no folder, no or several files for a part, text that cannot be read, or a place
        that cannot be written.
    """
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise RequestError(
            f"corpus {str(folder)!r} is no folder; give one with the files train.txt, valid.txt "
            "and test.txt"
        )
    files = {part: _file_of(place, part) for part in PARTS}
    marks = tuple((str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in files.values())
    name, sums, contents = _read(marks)
    target = root / FOLDER / name
    if (target / SUMS).is_file() and all((target / f"{part}.txt").is_file() for part in PARTS):
        return name
    try:
        target.mkdir(parents=True, exist_ok=True)
        for file, content in zip((*(f"{part}.txt" for part in PARTS), SUMS), (*contents, sums),
                                 strict=True):  # fmt: skip
            _write(target / file, content)
    except OSError as error:
        raise RequestError(
            f"the text of {place} cannot be kept in {target} ({error.strerror}); point "
            "GRADSWEEP_DATA at a folder that can be written"
        ) from error
    return name


def checksums(name: str, root: Path) -> dict[str, str] | None:
    """SHA-256 by file of a corpus that is kept, as its name vouches for them; None where its list
    is missing or another one."""
    try:
        sums = (root / FOLDER / name / SUMS).read_bytes()
    except OSError:
        return None
    if _digest(sums) != name.split("-")[1]:
        return None
    lines = (line.split("  ") for line in sums.decode().splitlines())
    return {file: digest for digest, file in lines}


def _file_of(folder: Path, part: str) -> Path:
    words = PARTS[part]
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and any(word in re.split(r"[^a-z0-9]+", path.name.lower()) for word in words)
    ]
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found[:3])
    several = f"{len(found)} files ({names})" if found else "no file"
    raise RequestError(
        f"{folder} has {several} for the part {part}; it needs one with the word "
        f"{' or '.join(words)} in its name, such as {part}.txt"
    )


@lru_cache(maxsize=8)
def _read(marks: tuple[tuple[str, int, int], ...]) -> tuple[str, bytes, tuple[bytes, ...]]:
    """Name of a corpus, its list of checksums, and its files' contents."""
    from orchestrator.datasets import text
    from orchestrator.datasets.images import FormatError

    try:
        contents = tuple(Path(path).read_bytes() for path, _, _ in marks)
        arrays = text.words(*contents)
    except OSError as error:
        raise RequestError(f"{error.filename} cannot be read ({error.strerror})") from error
    except (FormatError, UnicodeDecodeError) as error:
        folder = Path(marks[0][0]).parent
        raise RequestError(f"the text of {folder} cannot be read: {error}") from error
    sums = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {part}.txt\n"
        for part, content in zip(PARTS, contents, strict=True)
    ).encode()
    tokens = [len(arrays[f"{part}_tokens"]) for part in ("train", "val", "test")]
    lines = [content.decode().split("\n") for content in contents]
    passages = [sum(len(line.split()) > 1 for line in part) for part in lines]
    counts = (*tokens, len(arrays["vocabulary"]), *passages)
    return f"text-{_digest(sums)}-{'-'.join(map(str, counts))}", sums, contents


def _digest(sums: bytes) -> str:
    return hashlib.sha256(sums).hexdigest()[:16]


def _write(path: Path, content: bytes) -> None:
    """Renamed into place, so that another process never sees half of it."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)
