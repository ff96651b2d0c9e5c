"""Reading and publishing whole files on any file system pyarrow opens.

A local store may be somebody else's, so nothing in it is trusted to be a file: links are not
followed, which may lead out of the store or round in it, and pipes, sockets and devices, of which
reading may never end, are not opened. Each is named.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
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

_LONGEST = 2**28
"""Bytes of the longest JSON file that is read; a space of two million trials has a sixth of it."""

_KINDS = {
    stat.S_IFLNK: "a link, and links in a store are not followed",
    stat.S_IFIFO: "a named pipe and no file",
    stat.S_IFSOCK: "a socket and no file",
    stat.S_IFBLK: "a device and no file",
    stat.S_IFCHR: "a device and no file",
    stat.S_IFDIR: "a folder and no file",
}


class NotAFileError(OSError):
    """What should be a file of a store is something else. The message says what."""


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
    require_file(filesystem, path)
    with filesystem.open_input_file(path) as stream:
        return stream.read()


def require_file(filesystem: pafs.FileSystem, path: str) -> os.stat_result | None:
    """Called before a file is opened; a local one's size and times.

    Raises:
      NotAFileError: there is something else, or it lies behind a link. FileNotFoundError: nothing.
    """
    if not is_local(filesystem):
        return None
    _refuse_link(Path(path).parent)
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        raise NotAFileError(f"it is {_KINDS.get(stat.S_IFMT(found.st_mode), 'no file')}")
    return found


def _refuse_link(folder: Path) -> None:
    if _leads_on(folder):
        raise NotAFileError(f"{folder} is {_KINDS[stat.S_IFLNK]}")


def _leads_on(folder: str | Path) -> bool:
    """Whether a folder is a link or lies behind one; a store's root is given without any."""
    return Path(folder).is_symlink() or os.path.realpath(folder) != os.fspath(folder)


def read_json(filesystem: pafs.FileSystem, path: str) -> Any:
    """Content of a JSON file. Raises as `read`, and ValueError, which says why, if it is none."""
    found = require_file(filesystem, path)
    if found is not None and found.st_size > _LONGEST:
        raise ValueError(f"it is longer than {_LONGEST // 2**20} MB")
    return from_json(read(filesystem, path))


def from_json(content: bytes | str) -> Any:
    """Its value. Raises ValueError if it is no JSON, in words for a reader who knows no Python."""
    try:
        return json.loads(content)
    except UnicodeDecodeError as error:
        raise ValueError("it is no text") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"it is no JSON from {where} on" if content else "it is empty") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except ValueError as error:  # Python turns no number of thousands of digits into an integer
        raise ValueError("it holds a number of too many digits") from error


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
    _refuse_link(final.parent)
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
    filesystem: pafs.FileSystem,
    folder: str,
    recursive: bool = False,
    odd: dict[str, str] | None = None,
    temporary: bool = False,
) -> list[pafs.FileInfo]:
    """The folder's files by path; none if it is no folder.

    Args:
      odd: takes what is neither a file nor a folder, by path, and what it is.
      temporary: with those that are still being written.

    Raises:
      StoreError: it cannot be listed.
    """
    if is_local(filesystem):
        found = _listing_local(filesystem, folder, recursive, {} if odd is None else odd)
    else:
        found = _listing_remote(filesystem, folder, recursive)
    found = [info for info in found if temporary or not info.base_name.startswith(".")]
    return sorted(found, key=lambda info: info.path)


def folders(filesystem: pafs.FileSystem, folder: str) -> list[str]:
    """Names of the folders in a local one, links left out; none if it is no folder.

    Raises:
      StoreError: it cannot be listed.
    """
    with reaching(folder):
        elsewhere = _leads_on(folder)
    if elsewhere:
        return []
    return [entry.name for entry in _scan(folder) if entry.is_dir(follow_symlinks=False)]


def _scan(folder: str) -> list[os.DirEntry[str]]:
    with reaching(folder):
        try:
            with os.scandir(folder) as entries:
                return [entry for entry in entries if _is_text(entry.name)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            if error.errno == errno.ELOOP:  # behind a link to itself
                return []
            raise


def _is_text(name: str) -> bool:
    """A name of other bytes is none of ours, and cannot be spelled."""
    return not any("\udc80" <= c <= "\udcff" for c in name)


def _listing_local(
    filesystem: pafs.FileSystem, folder: str, recursive: bool, odd: dict[str, str]
) -> list[pafs.FileInfo]:
    # Not Arrow's own, which follows links: two that lead back double the work at every depth.
    with reaching(folder):
        elsewhere = _leads_on(folder)
    if elsewhere:
        if Path(folder).is_symlink():
            odd[folder] = _KINDS[stat.S_IFLNK]
        return []
    paths, waiting = [], [folder]
    while waiting:
        for entry in _scan(waiting.pop()):
            if entry.is_file(follow_symlinks=False):
                paths.append(entry.path)
            elif not entry.is_dir(follow_symlinks=False):
                mode = entry.stat(follow_symlinks=False).st_mode
                odd[entry.path] = _KINDS.get(stat.S_IFMT(mode), "no file")
            elif recursive:
                waiting.append(entry.path)
    with reaching(folder):
        infos = filesystem.get_file_info(paths)
    return [info for info in infos if info.type == pafs.FileType.File]


def _listing_remote(
    filesystem: pafs.FileSystem, folder: str, recursive: bool
) -> list[pafs.FileInfo]:
    selector = pafs.FileSelector(folder, allow_not_found=True, recursive=recursive)
    try:
        with reaching(folder):
            infos = filesystem.get_file_info(selector)
    except StoreError as error:
        if isinstance(error.__cause__, NotADirectoryError):
            return []
        raise
    return [info for info in with_names(infos) if info.type == pafs.FileType.File]


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
        if is_local(filesystem):
            _refuse_link(Path(path).parent)
        filesystem.delete_file(path)
