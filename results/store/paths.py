"""Where everything lies in a store. No other module builds a path."""

from __future__ import annotations

import math
import os
import re
import uuid
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from pyarrow import fs as pafs

from results.errors import StoreError
from results.store.object_store import open_remote, reaching

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=@-]*")
_SUM = re.compile(r"-([0-9a-f]{8})\.parquet$")

MANIFEST = "store.json"

MERGED = "merged-"
"""How the name of a part made by `compact` starts; its time of publication follows."""

TEMPORARY = ".tmp-"
"""How a local file starts that is being written; readers pass it over."""


def resolve(uri: str | os.PathLike[str], patient: bool = False) -> tuple[pafs.FileSystem, str]:
    """File system and root path of a store's URI; without a scheme it is a local path.

    `patient`: see `object_store.open_remote`.

    Raises:
      StoreError: credentials in the URI, a scheme pyarrow does not know, or a malformed URI.
    """
    text = os.fspath(uri)
    try:
        text.encode()
    except UnicodeEncodeError as error:  # Arrow's paths are text
        raise StoreError(f"cannot open {text!r}: its name is no UTF-8; rename it.") from error
    if "\0" in text:
        raise StoreError(f"cannot open {text!r}: no name can hold a zero byte; correct it.")
    if "://" not in text:
        return pafs.LocalFileSystem(), _followed(str(Path(text).expanduser().absolute()))
    filesystem, root = open_remote(text, patient)
    return filesystem, _followed(root) if isinstance(filesystem, pafs.LocalFileSystem) else root


def _followed(root: str) -> str:
    """Where a local root lies, which may be behind a link; inside a store none is followed."""
    return os.path.realpath(root)


def exists(uri: str | os.PathLike[str]) -> bool:
    """Whether there is anything at a store's URI.

    Raises:
      StoreError: a wrong URI, or a place that cannot be reached.
    """
    filesystem, root = resolve(uri)
    with reaching(root):
        return filesystem.get_file_info(root).type != pafs.FileType.NotFound


def _checked(name: str, what: str) -> str:
    if not all(_SEGMENT.fullmatch(part) for part in name.split("/")):
        raise StoreError(
            f"{what} {name!r} cannot be a file name; use letters, digits and . _ + = @ - only."
        )
    return name


def is_segment(name: str) -> bool:
    """Whether a folder or file may be called so."""
    return _SEGMENT.fullmatch(name) is not None


class Paths:
    """Paths below the root of one store, as its file system spells them."""

    def __init__(self, root: str):
        self.root = root.rstrip("/") or "/"

    def under(self, path: str) -> str:
        """A path relative to the root, made absolute."""
        return f"{self.root.rstrip('/')}/{path}"

    def relative(self, path: str) -> str:
        """The inverse of `under`."""
        return path.removeprefix(self.root.rstrip("/")).lstrip("/")

    @property
    def manifest(self) -> str:
        return self.under(MANIFEST)

    @property
    def folders(self) -> tuple[str, ...]:
        """The root and those folders in it whose files are read by name, without being listed."""
        return self.root, self.probes, self.under("fences"), self.under("claims")

    @property
    def spaces(self) -> str:
        return self.under("spaces")

    @property
    def probes(self) -> str:
        return self.under("probes")

    def space(self, name: str) -> str:
        """JSON of the space `study/space`."""
        return self.under(f"spaces/{_checked(name, 'space')}.json")

    def table(self, table: str) -> str:
        """Folder of a table's parts; `probes/<name>` for a probe."""
        return self.under(_checked(table, "table"))

    def new_part(self, table: str, content: bytes | pa.Buffer, merged: bool = False) -> str:
        """A path no other writer chooses. Names sort by time of publication and end with a checksum
        of the content; that of a part which replaces others starts with `MERGED`."""
        name = f"{MERGED if merged else ''}{_stamp()}-{uuid.uuid4().hex[:12]}"
        return f"{self.table(table)}/{name}-{checksum(content)}.parquet"

    def tensors(self, kind: str, name: str) -> str:
        """Safetensors file of a save; `kind` is artifacts or checkpoints."""
        return self.under(f"{kind}/{_checked(name, kind)}.safetensors")

    def index(self, kind: str, name: str) -> str:
        """JSON index of a save, published after its tensors."""
        return self.under(f"{kind}/{_checked(name, kind)}.json")


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")


def checksum(content: bytes | pa.Buffer, before: str = "0") -> str:
    """CRC-32 in hexadecimal digits, of what came `before` and then `content`."""
    return f"{zlib.crc32(memoryview(content), int(before, 16)):08x}"


def told_checksum(path: str) -> str | None:
    """The checksum in a part's name; parts of older versions have none."""
    found = _SUM.search(path)
    return found[1] if found else None


def merged_age(name: str, now: datetime) -> float:
    """Seconds since a merged part was published, from its name; of a foreign name no age at all."""
    stamp = name.removeprefix(MERGED).split("-")[0]
    try:
        then = datetime.strptime(stamp + "+0000", "%Y%m%dT%H%M%S%f%z")
    except ValueError:
        return -math.inf
    return (now - then).total_seconds()
