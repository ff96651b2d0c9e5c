"""A user's sequences in a `.npy` file as a data set, known by its content.

A file is copied into `arrays` below the data root, under a name made of a digest of its numbers and
of its shape, so that a trial's identity is what was read and the file is there when it runs again.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import RequestError
from trainables.declarations.tasks.sequence_file import INPUT_FILE, INPUT_NAME

if TYPE_CHECKING:
    import numpy as np

FOLDER, SUMS, FILE = "arrays", "SHA256SUMS", "inputs.npy"


def with_file(config: Mapping[str, Any], root: Callable[[], Path]) -> Mapping[str, Any]:
    """`config` with the name of a data set in place of the `.npy` file that holds it; as it is
    where it names none.

    Raises:
      RequestError: as `register`.
    """
    key = INPUT_FILE.name
    given = config.get(key)
    if not isinstance(given, str) or not given.endswith(".npy"):
        return config
    return {**config, key: register(given, root())}


def register(file: str | Path, root: Path) -> str:
    """Keeps a `.npy` file of sequences below the data root, and returns the name of its data set.

    Arrays are (samples, time, features), (time, features) or (time,), of any real type.

    Raises:
      RequestError: no such file, no array of sequences, numbers that are not finite, or a place
        that cannot be written.
    """
    path = Path(file).expanduser()
    try:
        mark = path.stat()
        name, content = _read(str(path.absolute()), mark.st_mtime_ns, mark.st_size)
    except OSError as error:
        raise RequestError(f"input_file {str(file)!r} cannot be read ({error.strerror})") from error
    target = root / FOLDER / name
    if (target / SUMS).is_file() and (target / FILE).is_file():
        return name
    try:
        target.mkdir(parents=True, exist_ok=True)
        _write(target / FILE, content)
        sums = f"{hashlib.sha256(content).hexdigest()}  {FILE}\n"
        _write(target / SUMS, sums.encode())
    except OSError as error:
        raise RequestError(
            f"the sequences of {path} cannot be kept in {target} ({error.strerror}); point "
            "GRADSWEEP_DATA at a folder that can be written"
        ) from error
    return name


def sequences(content: bytes) -> dict[str, np.ndarray]:
    """Arrays of a file that is kept: sequences, float32 (samples, time, features)."""
    import numpy as np

    return {"sequences": np.load(io.BytesIO(content), allow_pickle=False)}


@lru_cache(maxsize=4)
def _read(path: str, changed: int, size: int) -> tuple[str, bytes]:
    """Name of the data set in a file, and what is kept of it."""
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise RequestError(f"{path} is no .npy file of numbers: {error}") from error
    real = isinstance(array, np.ndarray) and array.dtype.kind in "fiub"
    if not real or not 1 <= array.ndim <= 3 or 0 in array.shape:
        what = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "no array"
        raise RequestError(
            f"{path} holds {what}; it must hold real numbers of shape (samples, time, features), "
            "(time, features) or (time,)"
        )
    if array.ndim == 1:
        array = array[:, None]
    kept = np.ascontiguousarray(array[None] if array.ndim == 2 else array, np.float32)
    if not np.isfinite(kept).all():
        raise RequestError(f"{path} holds numbers that are not finite")
    buffer = io.BytesIO()
    np.save(buffer, kept, allow_pickle=False)
    content = buffer.getvalue()
    shape = "-".join(map(str, kept.shape))
    name = f"npy-{hashlib.sha256(content).hexdigest()[:16]}-{shape}"
    assert INPUT_NAME.fullmatch(name)
    return name, content


def _write(path: Path, content: bytes) -> None:
    """Renamed into place, so that another process never sees half of it."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    made = Path(file.name)
    made.chmod(0o644)
    made.replace(path)
