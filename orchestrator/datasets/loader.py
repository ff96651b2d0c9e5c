"""The one loader of real data: where its files are, whether they are whole, and their arrays.

Files lie in one folder per data set under the data root: `GRADSWEEP_DATA`, or this user's cache. A
file is taken when its checksum is the canonical one or the one that a `SHA256SUMS` beside it (or
above it, up to the root) lists for it. Nothing is downloaded but by `fetch`.

Importing this module imports neither NumPy nor scikit-learn nor pooch: planning only asks whether
files exist.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.datasets import array_files, text_folders
from orchestrator.datasets.catalogue import DATASETS, Dataset, File, Form
from orchestrator.errors import RequestError
from trainables.declarations import nearest
from trainables.declarations.tasks.sequence_file import INPUT_NAME

if TYPE_CHECKING:
    import numpy as np

SUMS = "SHA256SUMS"

Status = Literal["ok", "corrupt", "missing"]


class DataError(RequestError):
    """A data set is unknown, missing, corrupt or not to be had; one sentence with the remedy."""


@dataclass(frozen=True)
class Loaded:
    """Arrays of a data set, read-only and shared by all callers in this process.

    Attributes:
      arrays: of images: train_images, train_labels, test_images, test_labels. Images as in the
        files: digits float32 (n, 8, 8) in 0..16, mnist uint8 (n, 28, 28), cifar uint8
        (n, 3, 32, 32). Labels int32 (n,). Of text: see
        `orchestrator.datasets.text` and `token_samples`. Of spikes: see
        `orchestrator.datasets.spikes`. Of Pathfinder: images uint8 (n, side, side), labels.
      checksum: of every file read, as "path=sha256:..." joined by "; ".
    """

    arrays: dict[str, np.ndarray]
    checksum: str


@dataclass(frozen=True)
class FileCheck:
    """What `verify` found of one file; `detail` is the checksum, or what is wrong."""

    path: Path
    status: Status
    detail: str


@dataclass(frozen=True)
class Verification:
    """What `verify` found of one data set: its worst file decides."""

    name: str
    status: Status
    files: tuple[FileCheck, ...]


def data_root() -> Path:
    """Folder of all data sets: `GRADSWEEP_DATA`, or the user's cache."""
    given = os.environ.get("GRADSWEEP_DATA")
    if given:
        return Path(given).expanduser()
    import pooch

    return Path(pooch.os_cache("gradsweep")) / "data"


def _dataset(name: str, root: Path | None = None) -> Dataset:
    if INPUT_NAME.fullmatch(name):
        file = File(f"{array_files.FOLDER}/{name}/{array_files.FILE}", None)
        form = Form((file,), "array_files.sequences")
        return Dataset(name, "Sequences of a file of yours.", "yours", (form,))
    if text_folders.NAME.fullmatch(name):
        return _text_folder(name, root or data_root())
    if name not in DATASETS:
        known = list(DATASETS)
        raise DataError(
            f"unknown data set {name!r}{nearest(name, known)}; known: {', '.join(known)}"
        )
    return DATASETS[name]


def _text_folder(name: str, root: Path) -> Dataset:
    """A folder of text that was registered; its files are those that its name vouches for."""
    known = text_folders.checksums(name, root) or {}
    folder = f"{text_folders.FOLDER}/{name}"
    files = [
        File(f"{folder}/{part}.txt", f"sha256:{known.get(f'{part}.txt', '')}")
        for part in text_folders.PARTS
    ]
    return Dataset(name, "A folder of text of yours.", "yours", (Form(tuple(files), "text.words"),))


def _form(dataset: Dataset, root: Path) -> tuple[Form, bool]:
    """The first form whose files are all there and True, else the most complete one and False."""
    present = [sum(_is_there(root, file) for file in form.files) for form in dataset.forms]
    for form, count in zip(dataset.forms, present, strict=True):
        if count == len(form.files) and (form.files or importlib.util.find_spec("sklearn")):
            return form, True
    most = max(range(len(present)), key=lambda i: (present[i], bool(dataset.forms[i].mirrors)))
    return dataset.forms[most], False


def _is_there(root: Path, file: File) -> bool:
    path = root / file.path
    return path.is_dir() if file.folder else path.is_file()


def available(name: str, root: Path | None = None) -> bool:
    """Whether the files of `name` are there; their content is not read. Microseconds."""
    return _form(_dataset(name, root), root or data_root())[1]


def missing_message(name: str, root: Path | None = None) -> str:
    """One sentence for a data set that is not `available`, naming the command that gets it."""
    dataset, root = _dataset(name, root), root or data_root()
    form, _ = _form(dataset, root)
    if not form.files:
        return f"data set {name} needs scikit-learn, which is not installed; run `make install`"
    absent = [file.path for file in form.files if not _is_there(root, file)]
    return (
        f"data set {name} is not complete in {root} ({', '.join(absent)} missing); "
        f"{_remedy(dataset)}, or point GRADSWEEP_DATA at a folder that has it"
    )


def _remedy(dataset: Dataset) -> str:
    if dataset.home:
        return f"it is not included and not fetched: take it from {dataset.home}"
    if text_folders.NAME.fullmatch(dataset.name):
        return "run `gradsweep data add FOLDER` for the folder it came from"
    if INPUT_NAME.fullmatch(dataset.name):
        return "give the path of the .npy file that it was made of, --set input_file=FILE.npy"
    return f"run `gradsweep data fetch {dataset.name}`"


def load(name: str, root: Path | None = None) -> Loaded:
    """Arrays of a data set, checked against its checksums; quick when loaded before.

    Raises:
      DataError: unknown, missing, corrupt, truncated or not of the expected shape.
    """
    return _load(name, (root or data_root()).absolute())


@lru_cache(maxsize=4)
def _load(name: str, root: Path) -> Loaded:
    from orchestrator.datasets import images

    dataset = _dataset(name, root)
    form, complete = _form(dataset, root)
    if not complete:
        raise DataError(missing_message(name, root))
    contents, checksums = [], []
    for file in form.files:
        content, checksum = _checked(dataset, file, root)
        contents.append(content)
        checksums.append(f"{file.path}={checksum}")
    try:
        module, _, function = form.reader.partition(".")
        read = getattr(importlib.import_module(f"orchestrator.datasets.{module}"), function)
        arrays = read(*contents)
    except (images.FormatError, *images.UNREADABLE) as error:
        where = " and ".join(str(root / file.path) for file in form.files) or "scikit-learn"
        raise DataError(
            f"data set {name} cannot be read from {where}: {str(error) or type(error).__name__}; "
            f"{_remedy(dataset)}"
        ) from error
    for array in arrays.values():
        array.flags.writeable = False
    if not form.files:
        checksums = [f"{name}={images.checksum(arrays)}"]
    return Loaded(arrays, "; ".join(checksums))


def _listed(path: Path, root: Path) -> str | None:
    """The SHA-256 that the nearest `SHA256SUMS`, beside `path` or above it, lists for it."""
    for folder in path.parents:
        try:
            lines = (folder / SUMS).read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            lines = []
        for line in lines:
            digest, _, name = line.strip().partition(" ")
            # sha256sum marks binary mode with a star, find writes a leading "./".
            if name and (folder / name.strip().lstrip("*")).absolute() == path.absolute():
                return digest.lower()
        if folder == root:
            break
    return None


def _checked_folder(dataset: Dataset, file: File, root: Path) -> tuple[dict[str, bytes], str]:
    """Contents of all files below a folder, by path there, and the checksum of paths and contents.

    Raises:
      DataError: no `SHA256SUMS` lists that checksum for the folder; the text has it.
      OSError: a file cannot be read.
    """
    folder, digest = root / file.path, hashlib.sha256()
    contents: dict[str, bytes] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS):
        name = path.relative_to(folder).as_posix()
        contents[name] = path.read_bytes()
        digest.update(f"{name}\0{len(contents[name])}\0".encode() + contents[name])
    listed, found = _listed(folder, root), digest.hexdigest()
    if listed == found:
        return contents, f"sha256:{found}"
    wrong = "is not what it was when it was listed" if listed else "has no known checksum"
    raise DataError(
        f"{folder} {wrong}; if you trust it, have the line `{found}  {folder.name}` in "
        f"{folder.parent / SUMS}, else {_remedy(dataset)}"
    )


def _checked(dataset: Dataset, file: File, root: Path) -> tuple[Any, str]:
    """Content of a file (of a folder: of its files, by path), and the checksum by which it was
    accepted.

    Raises:
      DataError: unreadable, or of another checksum than the canonical and the listed one.
    """
    path = root / file.path
    try:
        if file.folder:
            return _checked_folder(dataset, file, root)
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); check its permissions"
        ) from error
    listed = _listed(path, root)
    accepted = [c for c in (file.checksum, f"sha256:{listed}" if listed else None) if c]
    for checksum in accepted:
        algorithm = checksum.partition(":")[0]
        if f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}" == checksum:
            return content, checksum
    if not accepted:
        raise DataError(
            f"{path} has no known checksum; delete it and {_remedy(dataset)}, or list it in "
            f"{path.parent / SUMS} (`sha256sum {path.name} >> {SUMS}`) if you trust it"
        )
    algorithm, _, expected = accepted[0].partition(":")
    found = hashlib.new(algorithm, content).hexdigest()
    raise DataError(
        f"{path} is corrupt: {len(content):,} bytes with {algorithm} {found[:12]}..., expected "
        f"{expected[:12]}...; delete it and {_remedy(dataset)}"
    )


def verify(name: str, root: Path | None = None) -> Verification:
    """Reads and checks every file of a data set. Raises DataError only for an unknown name."""
    dataset, root = _dataset(name, root), root or data_root()
    form, complete = _form(dataset, root)
    if not form.files:
        try:
            check = FileCheck(Path("scikit-learn"), "ok", load(name, root).checksum)
        except DataError as error:
            check = FileCheck(
                Path("scikit-learn"), "corrupt" if complete else "missing", str(error)
            )
        return Verification(name, check.status, (check,))
    checks = []
    for file in form.files:
        path = root / file.path
        if not _is_there(root, file):
            checks.append(FileCheck(path, "missing", "no such file"))
            continue
        try:
            checks.append(FileCheck(path, "ok", _checked(dataset, file, root)[1]))
        except DataError as error:
            checks.append(FileCheck(path, "corrupt", str(error)))
    worst = max((c.status for c in checks), key=["ok", "missing", "corrupt"].index)
    return Verification(name, worst, tuple(checks))


def add_text(folder: str | Path, root: Path | None = None) -> str:
    """Keeps a folder of training, validation and test text, and returns the name of its corpus.

    Raises:
      RequestError: as `text_folders.register`.
    """
    return text_folders.register(folder, root or data_root())


def texts(root: Path | None = None) -> list[str]:
    """Names of the folders of text that were added."""
    place = (root or data_root()) / text_folders.FOLDER
    return sorted(p.name for p in place.glob("text-*") if text_folders.NAME.fullmatch(p.name))


def damage(name: str, root: Path | None = None) -> list[str]:
    """One sentence per file of a data set that is missing or corrupt; reads all of them."""
    dataset, root = _dataset(name, root), root or data_root()
    form, complete = _form(dataset, root)
    if not complete:
        return [missing_message(name, root)]
    if not form.files:
        return []
    return [check.detail for check in verify(name, root).files if check.status != "ok"]


def fetch(name: str, root: Path | None = None, mirror: str | None = None) -> list[Path]:
    """Downloads what is missing or corrupt of a data set; the only function that uses the network.

    Args:
      mirror: address of a folder to take the files from instead of the canonical ones.

    Returns:
      Paths of the data set's files, all of them checked.

    Raises:
      DataError: no mirror answered, a download was not the canonical file, or it cannot be written.
    """
    dataset, root = _dataset(name, root), root or data_root()
    state = verify(name, root)
    if state.status == "ok":
        return [check.path for check in state.files]
    form = next((form for form in dataset.forms if form.mirrors), None)
    if form is None:
        raise DataError(missing_message(name, root))
    return [
        _download(root / file.path, file.checksum, (mirror,) if mirror else form.mirrors)
        for file in form.files
    ]


def fetch_once(name: str, root: Path | None = None) -> None:
    """Downloads a data set that is not there, once for all processes of this machine; files that
    are there are left as they are, damaged ones too.

    Raises:
      DataError: as `fetch`.
    """
    from filelock import FileLock

    root = root or data_root()
    if available(name, root):
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / f".{name}.lock")
        with lock:
            if not available(name, root):
                fetch(name, root)
    except OSError as error:
        raise DataError(
            f"{missing_message(name, root)}; it could not be fetched there: {error}"
        ) from error


def _download(path: Path, checksum: str | None, mirrors: tuple[str, ...]) -> Path:
    """`path` with that checksum, from the first mirror that gives it; an old one is replaced."""
    import pooch

    failures = []
    for mirror in mirrors:
        try:
            source = pooch.create(
                path.parent, mirror.rstrip("/") + "/", registry={path.name: checksum}
            )
            return Path(source.fetch(path.name))
        except ValueError:
            failures.append(f"{mirror} sent something else than the canonical file")
        except OSError as error:  # the network's errors are OSErrors too
            failures.append(f"{mirror}: {type(error).__name__}: {error}")
    raise DataError(
        f"{path.name} could not be fetched ({'; '.join(failures)}); check the network and that "
        f"{path.parent} can be written, or put the file there by hand"
    )
