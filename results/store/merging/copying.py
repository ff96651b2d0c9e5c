"""Copying what one store holds into another, of any two kinds of places.

Nothing is overwritten or deleted, so it may end at any time and be done again. What belongs to a
store alone stays where it is: its lease, claims and fences, and `store.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from pyarrow import fs as pafs

from results.errors import StoreError
from results.store import files
from results.store.merging.counting import Part
from results.store.parquet_parts import PartIndex
from results.store.paths import Paths, checksum, told_checksum
from results.store.weights import Kind

_RETRIES = 10


class Copyable(Protocol):
    """What is asked of a store here; `store.Store` has it."""

    @property
    def uri(self) -> str: ...

    @property
    def fs(self) -> pafs.FileSystem: ...

    @property
    def paths(self) -> Paths: ...

    @property
    def index(self) -> PartIndex: ...

    def refresh(self) -> None: ...

    def saves(self, kind: Kind) -> list[dict[str, Any]]: ...

    def launches_of(self) -> Mapping[tuple[str, int], set[str | None]]: ...


def merge(source: Copyable, target: Copyable) -> dict[str, int]:
    """Copies what `source` holds and `target` does not.

    Those of `trials` come last, so that no trial counts as ended before its rows are there.
    Of a space that both have, the record of the newer launch is kept.

    Returns:
      parts, weights, spaces: files or pairs of files copied; known: those there already.

    Raises:
      StoreError: both are one store, one cannot be read or written, or a part of `source` is
      damaged (all others have been copied).
    """
    if (source.fs, source.paths.root) == (target.fs, target.paths.root):
        raise StoreError(f"{source.uri} and {target.uri} are one store; name two.")
    summary = {"parts": 0, "weights": 0, "spaces": 0, "known": 0}
    damaged = _copy_parts(source, target, summary)
    for kind in ("artifacts", "checkpoints"):
        _copy_saves(source, target, kind, summary)
    _copy_spaces(source, target, summary)
    target.refresh()
    if damaged:
        raise StoreError(
            f"{', '.join(damaged)} cannot be copied, as {'they are' if damaged[1:] else 'it is'} "
            f"damaged; all else is in {target.uri} now, and a launch there fills what is missing."
        )
    return summary


def _copy_parts(source: Copyable, target: Copyable, summary: dict[str, int]) -> list[str]:
    """Copies parts; returns paths of damaged ones."""
    for _ in range(_RETRIES):
        # Ends of trials are listed first: the rows that they count are out by then.
        source.refresh()
        ends = list(source.index.tables["trials"].live)
        source.refresh()
        parts = [(table, part) for table, part in source.index.live() if table != "trials"]
        parts += [("trials", part) for part in ends]
        known = _known(target)
        found = [_copy_part(source, target, table, part, known) for table, part in parts]
        summary["parts"] += found.count("copied")
        if "gone" not in found:
            summary["known"] += found.count("known")
            return [
                part.path for (_, part), how in zip(parts, found, strict=True) if how == "damaged"
            ]
        # Compacted in the meantime: what replaces it is listed now.
    raise StoreError(f"files of {source.uri} keep vanishing while they are read; try again.")


def _known(target: Copyable) -> set[str]:
    """Names of parts that the target has, or has merged with others."""
    target.refresh()
    found: set[str] = set()
    for listing in target.index.tables.values():
        for part in (*listing.live, *listing.merged, *listing.rejected, *listing.replaced.values()):
            found |= {part.name, *part.replaces}
    return found


def _copy_part(source: Copyable, target: Copyable, table: str, part: Part, known: set[str]) -> str:
    if part.name in known:
        return "known"
    try:
        content = files.read(source.fs, part.path)
    except FileNotFoundError:
        return "gone"
    if told_checksum(part.name) not in (None, checksum(content)):
        return "damaged"
    files.publish(target.fs, f"{target.paths.table(table)}/{part.name}", content)
    return "copied"


def _copy_saves(source: Copyable, target: Copyable, kind: Kind, summary: dict[str, int]) -> None:
    launches = source.launches_of()
    for save in source.saves(kind):
        name = save["path"].partition("/")[2]
        try:
            tensors = files.read(source.fs, source.paths.tensors(kind, name))
            text = _index(source, kind, name, launches)
        except FileNotFoundError:
            continue  # dropped since it was listed
        # Older versions give saves of the same attempts one name in every store.
        names = (name, f"{name}-{checksum(text)}")
        held = [_content(target, kind, one) for one in names]
        if text in held:
            summary["known"] += 1
            continue
        name = names[held[0] is not None]
        files.publish(target.fs, target.paths.tensors(kind, name), tensors)
        files.publish(target.fs, target.paths.index(kind, name), text)
        summary["weights"] += 1


def _index(
    source: Copyable,
    kind: Kind,
    name: str,
    launches: Mapping[tuple[str, int], set[str | None]],
) -> bytes:
    """A save's index, with the launch that ran each lane's attempt where an older version left it
    out."""
    text = files.read(source.fs, source.paths.index(kind, name))
    index = json.loads(text)
    lacking = [lane for lane in index["lanes"] if lane.get("launch_id") is None]
    for lane in lacking:
        known = launches.get((lane["trial_id"], lane.get("attempt", 0)), set())
        lane["launch_id"] = next(iter(known)) if len(known) == 1 else None
    return json.dumps(index).encode() if lacking else text


def _content(target: Copyable, kind: Kind, name: str) -> bytes | None:
    """A save's index; None if there is none."""
    try:
        return files.read(target.fs, target.paths.index(kind, name))
    except FileNotFoundError:
        return None


def _copy_spaces(source: Copyable, target: Copyable, summary: dict[str, int]) -> None:
    for info in files.listing(source.fs, source.paths.spaces, recursive=True):
        if not info.path.endswith(".json"):
            continue
        content = files.read(source.fs, info.path)
        path = target.paths.under(source.paths.relative(info.path))
        there = target.fs.get_file_info(path)
        if there.type != pafs.FileType.NotFound:
            held = files.read(target.fs, path)
            if held == content or _launched(info, content) <= _launched(there, held):
                summary["known"] += 1
                continue
        files.publish(target.fs, path, content)
        summary["spaces"] += 1


def _launched(info: pafs.FileInfo, content: bytes) -> datetime:
    """When the launch wrote this record of a space; older versions do not say, so the file does."""
    try:
        return datetime.fromisoformat(json.loads(content)["launched"]).astimezone(UTC)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return info.mtime or datetime(1970, 1, 1, tzinfo=UTC)
