"""Merging small parts into few, and dropping rows no view shows, while others read and write.

A merged part names in its footer the parts it replaces, so publishing it is one atomic step for
every reader: those who see it pass the replaced ones over. They are deleted later, when `grace_s`
has passed, by which time readers with an older listing have finished; one that has not lists the
store again when a file is gone.

Two compactions at once are safe: of two merged parts that replace a part in common the one
published first holds (`parquet_parts.counted`). For that, clocks must agree within the grace, and
a merge whose publishing ended later than the grace after it began is taken back.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from pyarrow import fs as pafs

from results.schema import KEYS, RECORDS
from results.store import files
from results.store.decisions import as_taken
from results.store.merging.counting import Part
from results.store.parquet_parts import PART, PartIndex, encode
from results.store.paths import TEMPORARY, Paths, merged_age

_TARGET = 128 * 2**20
"""Bytes of Parquet in a merged part, about; parts of half that size are left alone."""

_ORDER = ("trial_id", "epoch", "layer", "tensor_index", "step", "t")
"""Sort keys of merged rows, so that a query for one trial reads few row groups."""

_WHOLE = "*"
"""The tensor of rows for whole layers: a fifth of all, and what most questions are about. They come
first, so that by their row groups' statistics the others need not be read."""

_ATTEMPTS = ["trial_id", "attempt", "launch_id", "spare_epoch", "shown"]

_ABANDONED_S = 3600.0
"""Age at which a temporary file has no writer any more."""


class Compactable(Protocol):
    """What is asked of a store here; `store.Store` has it."""

    @property
    def fs(self) -> pafs.FileSystem: ...

    @property
    def root(self) -> str: ...

    @property
    def paths(self) -> Paths: ...

    @property
    def index(self) -> PartIndex: ...

    def attempts(self) -> pa.Table: ...

    def refresh(self) -> None: ...

    def recheck(self, table: str) -> None: ...


def compact(store: Compactable, grace_s: float = 60.0) -> dict[str, int]:
    """Merges the small parts of every table, and deletes what earlier merges replaced.

    Args:
      grace_s: how long replaced parts stay for readers that listed them, in seconds. 0 deletes them
        in the same call: only where nobody else reads.

    Returns:
      merged: parts merged; into: parts written; dropped_rows: superseded rows left out; deleted:
      files deleted.

    Raises:
      StoreError: the disk is full or the store cannot be written.
    """
    summary = {"merged": 0, "into": 0, "dropped_rows": 0, "deleted": 0}
    # Visibility only shrinks as attempts are added, so what is hidden now stays hidden.
    attempts = store.attempts().select(_ATTEMPTS)
    shared = not all(attempts["shown"].to_pylist())
    summary["deleted"] += _sweep(store, grace_s)
    for table in list(store.index.tables):
        listing = store.index.tables[table]
        told_apart = shared and table not in RECORDS
        for parts in _groups([part for part in listing.live if part.owned or not told_apart]):
            # Another compaction may have been quicker.
            store.refresh()
            begun = time.monotonic()
            if not set(parts) <= set(store.index.tables[table].live):
                continue
            merged = _merge(store, table, parts, attempts)
            if merged is None or not _publish(store, table, parts, merged, grace_s, begun):
                continue
            summary["merged"] += len(parts)
            summary["into"] += 1
            summary["dropped_rows"] += sum(part.rows for part in parts) - merged.num_rows
    store.refresh()
    if grace_s <= 0:
        summary["deleted"] += _sweep(store, grace_s)
        store.refresh()
    return summary


def _publish(
    store: Compactable,
    table: str,
    parts: list[Part],
    merged: pa.Table,
    grace_s: float,
    begun: float,
) -> bool:
    """Publishes what replaces `parts`, and takes it back if the grace since `begun` has passed by
    then: others may have merged the same parts, and deleted them, in the meantime."""
    # With all that these replaced, so that a copy of it that comes back counts no more.
    names = dict.fromkeys(name for part in parts for name in (part.name, *part.replaces))
    content = encode(merged, list(names))
    if time.monotonic() - begun > grace_s > 0:
        return False
    path = store.paths.new_part(table, content, merged=True)
    files.publish(store.fs, path, content)
    if time.monotonic() - begun > grace_s > 0:
        files.delete(store.fs, path)
        return False
    return True


def _groups(parts: list[Part]) -> list[list[Part]]:
    """Small parts in groups of about the target size, oldest first."""
    groups: list[list[Part]] = [[]]
    size = 0
    for part in sorted((p for p in parts if p.size < _TARGET // 2), key=lambda p: p.path):
        if size + part.size > _TARGET:
            groups.append([])
            size = 0
        groups[-1].append(part)
        size += part.size
    return [group for group in groups if len(group) > 1]


def _merge(
    store: Compactable, table: str, parts: list[Part], attempts: pa.Table
) -> pa.Table | None:
    """The rows of `parts` that `attempts` do not hide, sorted by trial; None if one cannot be read
    just now.

    Rows of an attempt the store does not know stay: its row in `trials` may be in a bad file.
    """
    index = store.index
    overlapping = index.tables[table].overlapping
    try:
        data = index.dataset(table, parts, named=overlapping).to_table()
    except (OSError, pa.ArrowException):
        store.recheck(table)
        return None
    if table in RECORDS:
        rows = data.select(index.schema(table).names)
        return _last_events(rows) if table == "trials" else as_taken(rows)
    data = _owned(data, attempts)
    if overlapping:
        data = _once(data).drop_columns([PART])
    hidden = attempts.filter(pads.field("spare_epoch").is_valid()).drop_columns(["shown"])
    if hidden.num_rows:
        keys = _keys(data)
        keys = keys.join(_launches(hidden), ["trial_id", "attempt", "launch_id"], join_type="inner")
        gone = keys.filter(pads.field("epoch") >= pads.field("spare_epoch"))
        keep = np.ones(data.num_rows, bool)
        keep[gone["row"].to_numpy()] = False
        data = data.filter(pa.array(keep))
    return in_order(data)


def _keys(data: pa.Table) -> pa.Table:
    """Keys, launch ('' for none) and number of each row."""
    keys = data.select([*(column.name for column in KEYS), "launch_id"])
    return _launches(keys).append_column("row", pa.array(np.arange(data.num_rows)))


def _launches(data: pa.Table) -> pa.Table:
    at = data.schema.get_field_index("launch_id")
    return data.set_column(at, "launch_id", pc.fill_null(data["launch_id"], ""))


def _owned(data: pa.Table, attempts: pa.Table) -> pa.Table:
    """`data` with the launch of every row whose attempt one launch alone has run."""
    if data["launch_id"].null_count == 0:
        return data
    runs = attempts.group_by(["trial_id", "attempt"]).aggregate(
        [("launch_id", "count_distinct"), ("launch_id", "min")]
    )
    runs = runs.filter(pads.field("launch_id_count_distinct") == 1)
    keys = _keys(data).join(runs, ["trial_id", "attempt"]).sort_by("row")
    at = data.schema.get_field_index("launch_id")
    found = pc.call_function("coalesce", [data["launch_id"], keys["launch_id_min"]])
    return data.set_column(at, data.schema.field(at), found)


def _once(data: pa.Table) -> pa.Table:
    """`data` less the rows of an epoch that another part holds too: its first part's stay."""
    keys = _keys(data).append_column(PART, data[PART])
    names = ["trial_id", "attempt", "launch_id", "epoch"]
    first = keys.group_by(names).aggregate([(PART, "min")])
    keys = keys.join(first, names).sort_by("row")
    first = keys[PART].to_numpy() == keys[f"{PART}_min"].to_numpy()
    return data.filter(pa.array(first))


def in_order(data: pa.Table) -> pa.Table:
    """Rows as a merged part has them: those of whole layers first, each of the two by trial."""
    if "tensor" in data.column_names and pa.types.is_string(data.schema.field("tensor").type):
        tensor = pads.field("tensor")
        halves = data.filter(tensor == _WHOLE), data.filter((tensor != _WHOLE) | tensor.is_null())
        return pa.concat_tables([_sorted(half) for half in halves])
    return _sorted(data)


def _sorted(data: pa.Table) -> pa.Table:
    keys = {name: data[name] for name in _ORDER if name in data.column_names}
    keys["trial_id"] = _ranks(data["trial_id"])  # numbers sort four times as fast
    order = [(name, "ascending") for name in keys]
    rows = pa.table({**keys, "row": np.arange(data.num_rows)}).combine_chunks().sort_by(order)
    return data.take(rows["row"])


def _ranks(text: pa.ChunkedArray) -> pa.Array:
    """Each value's place among the distinct ones."""
    coded = text.combine_chunks().dictionary_encode()
    ranks = np.empty(len(coded.dictionary), np.int32)
    ranks[np.argsort(coded.dictionary.to_numpy(zero_copy_only=False))] = np.arange(len(ranks))
    return pa.array(ranks).take(coded.indices)


def _last_events(trials: pa.Table) -> pa.Table:
    """Of each attempt the row with the greatest event."""
    keys = _launches(trials.select(["trial_id", "attempt", "launch_id", "event"]))
    keys = keys.append_column("row", pa.array(np.arange(trials.num_rows)))
    names = ["trial_id", "attempt", "launch_id"]
    order = [(name, "ascending") for name in (*names, "event")]
    grouped = keys.sort_by(order).group_by(names, use_threads=False)
    return trials.take(grouped.aggregate([("row", "last")])["row_last"])


def _sweep(store: Compactable, grace_s: float) -> int:
    """Deletes parts replaced long enough ago, oldest merge first, and forgotten temporary files.

    Merged parts that came second hold nothing that counts and go at once: once the first is itself
    replaced, they would count again. One that holds what is nowhere else stays: the first was late,
    and is taken back by who published it.
    """
    now = datetime.now(UTC)
    doomed: list[str] = []
    for listing in store.index.tables.values():
        elsewhere = {name for merged in listing.merged for name in merged.replaces}
        elsewhere |= {part.name for part in (*listing.live, *listing.replaced.values())}
        doomed += [part.path for part in listing.rejected if elsewhere.issuperset(part.replaces)]
        for merged in listing.merged:
            if merged_age(merged.name, now) >= grace_s:
                held = (listing.replaced.get(name) for name in merged.replaces)
                doomed += [part.path for part in held if part is not None]
    doomed += _abandoned(store, now)
    for path in dict.fromkeys(doomed):
        files.delete(store.fs, path)
    return len(set(doomed))


def _abandoned(store: Compactable, now: datetime) -> list[str]:
    """Temporary files of writers that were killed."""
    return [
        info.path
        for info in files.listing(store.fs, store.root, recursive=True, temporary=True)
        if info.base_name.startswith(TEMPORARY)
        and info.mtime is not None
        and (now - info.mtime).total_seconds() > _ABANDONED_S
    ]
