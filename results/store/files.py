"""Reading and publishing whole files on any file system pyarrow opens."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs as pafs

from results.errors import StoreError
from results.store.object_store import reaching, vanished, why
from results.store.paths import TEMPORARY

_READS = 4


def is_local(filesystem: pafs.FileSystem) -> bool:
    return isinstance(filesystem, pafs.LocalFileSystem)


def read(filesystem: pafs.FileSystem, path: str) -> bytes:
    """Content of a file.

    Raises:
      FileNotFoundError: there is none. StoreError: an object store that gives no answer, which says
      nothing about the file. OSError: a local file that cannot be read.
    """
    if is_local(filesystem):
        return _read(filesystem, path)
    with reaching(path):
        for _ in range(_READS):
            try:
                return _read(filesystem, path)
            except FileNotFoundError:
                raise
            except OSError as error:
                # pyarrow asks for the size and then for the content. A file that went or was
                # replaced in between gives an odd error, and is asked for again.
                if not vanished(error):
                    raise
        return _read(filesystem, path)


def _read(filesystem: pafs.FileSystem, path: str) -> bytes:
    with filesystem.open_input_file(path) as stream:
        return stream.read()


def read_json(filesystem: pafs.FileSystem, path: str) -> Any:
    """Content of a JSON file. Raises as `read`, and ValueError if it is no JSON."""
    try:
        return json.loads(read(filesystem, path))
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def publish(
    filesystem: pafs.FileSystem, path: str, content: bytes | pa.Buffer, durable: bool = True
) -> None:
    """Writes a whole file so that readers see all of it or nothing, and it survives a power cut,
    unless `durable` is False: then a local file costs no fsync.

    Locally: a temporary name, fsync, rename, fsync of the folder, and of the one above where the
    folder is new. Elsewhere: one PUT (a multipart upload above 10 MB or so), which object stores
    show only when it is complete.

    Raises:
      StoreError: the disk is full, or the place is not writable.
    """
    try:
        if is_local(filesystem):
            _publish_local(path, content, durable)
        else:
            with filesystem.open_output_stream(path) as stream:
                stream.write(content)
    except OSError as error:
        raise StoreError(why_not_written(path, error)) from error


def why_not_written(path: str, error: OSError) -> str:
    """One sentence and the remedy for a write that failed."""
    text = str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text:
        return f"disk full while writing {path}; free some space and launch again: it resumes."
    if "AWS Error" in text:
        return f"cannot write {path}: {why(error)}."
    return f"cannot write {path} ({text}); check the permissions or choose another --store."


def _publish_local(path: str, content: bytes | pa.Buffer, durable: bool) -> None:
    final = Path(path)
    missing = [folder for folder in final.parents if not folder.exists()]
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f"{TEMPORARY}{uuid.uuid4().hex[:8]}-{final.name}")
    try:
        with temporary.open("wb") as stream:
            stream.write(memoryview(content))
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        temporary.replace(final)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if not durable:
        return
    # A new folder is a name in the one above, which a power cut could take with all that is in it.
    for folder in (final.parent, *(made.parent for made in missing)):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def listing(
    filesystem: pafs.FileSystem, folder: str, recursive: bool = False
) -> list[pafs.FileInfo]:
    """The folder's files by path, temporary ones left out; none if it is no folder.

    Raises:
      StoreError: it cannot be listed.
    """
    selector = pafs.FileSelector(folder, allow_not_found=True, recursive=recursive)
    try:
        with reaching(folder):
            infos = filesystem.get_file_info(selector)
    except StoreError as error:
        if isinstance(error.__cause__, NotADirectoryError):
            return []
        raise
    found = [i for i in with_names(infos) if i.type == pafs.FileType.File]
    return sorted((i for i in found if not i.base_name.startswith(".")), key=lambda i: i.path)


def with_names(infos: Iterable[pafs.FileInfo]) -> Iterator[pafs.FileInfo]:
    """Those whose names are text: one of other bytes is none of ours, and cannot be spelled."""
    for info in infos:
        with contextlib.suppress(UnicodeDecodeError):
            info.path  # noqa: B018
            yield info


def delete(filesystem: pafs.FileSystem, path: str) -> None:
    """Deletes a file; one that is gone already is no error.

    Raises:
      StoreError: it is there and cannot be deleted.
    """
    with contextlib.suppress(FileNotFoundError), reaching(path):
        filesystem.delete_file(path)
