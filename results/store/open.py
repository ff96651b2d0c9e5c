"""Opening and creating a store."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pyarrow import fs as pafs

from results.errors import StoreError
from results.schema import FORMAT
from results.store import files
from results.store.object_store import reaching, why
from results.store.paths import MANIFEST, resolve
from results.store.store import Store


def open_store(uri: str | os.PathLike[str], *, rules: Mapping[str, float] | None = None) -> Store:
    """An existing store, by local path or URI.

    Args:
      rules: changes to the diagnosis thresholds (`diagnosis.RULES`).

    Raises:
      StoreError: nothing there, not a store, unreadable, or written by a newer gradsweep.
    """
    filesystem, root = resolve(uri)
    store = Store(os.fspath(uri), *resolve(uri, patient=True), rules)
    try:
        version = _version(files.read_json(filesystem, store.paths.manifest))
    except FileNotFoundError as error:
        with reaching(store.uri):
            kind = filesystem.get_file_info(root).type
        gone = kind == pafs.FileType.NotFound
        what = "does not exist" if gone else f"is not a store (no {MANIFEST})"
        raise StoreError(f"{store.uri} {what}; give the --store of a launch.") from error
    except (files.NotAFileError, ValueError) as error:
        raise StoreError(
            f"{store.uri} cannot be opened: its {MANIFEST} is damaged ({error}); write "
            f'{{"format": {FORMAT}}} into it if the rest is a store.'
        ) from error
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else why(error)
        raise StoreError(
            f"{store.uri} cannot be opened ({reason}); check its permissions."
        ) from error
    if version > FORMAT:
        raise StoreError(
            f"{store.uri} has format {version} and this gradsweep reads up to {FORMAT}; upgrade it."
        )
    return store


def _version(manifest: Any) -> int:
    """Format of a store by its manifest. Raises ValueError if that has none."""
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if type(version) is not int or version < 1:
        raise ValueError("it has no number of a format")
    return version


def create_store(uri: str | os.PathLike[str], *, rules: Mapping[str, float] | None = None) -> Store:
    """The store at `uri`, made if it does not exist.

    Raises:
      StoreError: a folder with other files in it, a file, or a place that is not writable.
    """
    filesystem, root = resolve(uri)
    store = Store(os.fspath(uri), *resolve(uri, patient=True), rules)
    with reaching(store.uri):
        if filesystem.get_file_info(store.paths.manifest).type == pafs.FileType.File:
            return open_store(uri, rules=rules)
        kind = filesystem.get_file_info(root).type
        taken = kind == pafs.FileType.File
        if kind == pafs.FileType.Directory:
            inside = pafs.FileSelector(root, allow_not_found=True)
            taken = bool(filesystem.get_file_info(inside))
    if taken:
        raise StoreError(
            f"{store.uri} holds other files and no {MANIFEST}; choose another --store."
        )
    manifest = {"format": FORMAT, "created": datetime.now(UTC).isoformat(timespec="seconds")}
    files.publish(filesystem, store.paths.manifest, json.dumps(manifest).encode())
    return store
