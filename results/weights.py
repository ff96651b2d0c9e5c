"""Weights and resume points: safetensors files of a whole pack, read one lane at a time.

A save is `<name>.safetensors`, each tensor with the lane as leading axis, and `<name>.json`, its
index, which is published last: a save without an index does not exist.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from pyarrow import fs as pafs
from safetensors.numpy import save

from results import files
from results.errors import StoreError
from results.paths import Paths, is_name

Kind = Literal["artifacts", "checkpoints"]

_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "U32": "<u4",
    "I32": "<i4", "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8",
}  # fmt: skip


class Weights:
    """Saves of one store. Indexes never change once published, so each is read once."""

    def __init__(self, filesystem: pafs.FileSystem, paths: Paths):
        self.fs = filesystem
        self.paths = paths
        self._indexes: dict[str, dict[str, Any]] = {}

    def save(
        self, kind: Kind, name: str, leaves: Mapping[str, np.ndarray], index: Mapping[str, Any]
    ) -> str:
        """Publishes tensors, then their index.

        Args:
          kind: artifacts (weights a stage reads, or kept ones) or checkpoints (resume points).
          name: unique within the kind; may have folders (`pack/epoch-10`).
          leaves: arrays of shape (W, ...), lane first.
          index: JSON data. `lanes` is a list with an entry per lane, each with `trial_id` and, in
            an artifact, `epoch` and `attempt`. The rest is the caller's.

        Returns:
          The save's path within the store, for `load_lane` and `drop`.

        Raises:
          StoreError: the disk is full, or `lanes` does not fit the tensors.
        """
        width = len(index.get("lanes", ()))
        if not width or any(leaf.shape[:1] != (width,) for leaf in leaves.values()):
            raise StoreError(
                f"{kind}/{name} lists {width} lanes, and its tensors have another number of them."
            )
        tensors = {path: np.ascontiguousarray(leaf) for path, leaf in leaves.items()}
        entry = {**index, "saved": datetime.now(UTC).isoformat()}
        files.publish(self.fs, self.paths.tensors(kind, name), save(tensors))
        text = json.dumps(entry, allow_nan=False).encode()
        files.publish(self.fs, self.paths.index(kind, name), text)
        return f"{kind}/{name}"

    def lane(self, path: str, lane: int) -> dict[str, np.ndarray]:
        """One lane of a save, without the leading axis; only its bytes are read.

        Raises:
          StoreError: no such save, or a damaged one.
        """
        kind, name = path.split("/", 1)
        full = self.paths.tensors(kind, name)
        try:
            with self.fs.open_input_file(full) as stream:
                (length,) = struct.unpack("<Q", stream.read_at(8, 0))
                header: dict[str, Any] = json.loads(stream.read_at(length, 8))
                header.pop("__metadata__", None)
                return {
                    leaf: _read_lane(stream, entry, 8 + length, lane)
                    for leaf, entry in header.items()
                }
        except FileNotFoundError as error:
            raise StoreError(f"no weights at {path}; launch again to make them.") from error
        except (OSError, ValueError, KeyError, IndexError, struct.error) as error:
            raise StoreError(
                f"{full} cannot be read ({error}); delete it and launch again, which rebuilds it."
            ) from error

    def list(self, kind: Kind) -> list[dict[str, Any]]:
        """Index of every readable save, oldest first, each with its `path` added."""
        found: list[dict[str, Any]] = []
        infos = files.listing(self.fs, self.paths.under(kind), recursive=True)
        for info in (i for i in infos if i.path.endswith(".json")):
            path = self.paths.relative(info.path).removesuffix(".json")
            if path not in self._indexes:
                try:
                    entry = files.read_json(self.fs, info.path)
                except (OSError, ValueError):
                    continue
                if not is_name(path) or not _is_index(entry):
                    continue
                self._indexes[path] = {**entry, "path": path}
            found.append(dict(self._indexes[path]))
        return sorted(found, key=lambda entry: str(entry.get("saved", "")))

    def find(self, trial_id: str, epoch: int | None = None) -> tuple[str, int] | None:
        """Path and lane of the trial's artifact at `epoch`, or the last of its newest attempt."""
        held = [
            (
                (own.get("attempt", -1), own.get("epoch", -1), str(entry.get("saved"))),
                entry["path"],
                lane,
            )
            for entry in self.list("artifacts")
            for lane, own in enumerate(entry["lanes"])
            if own["trial_id"] == trial_id and epoch in (None, own.get("epoch"))
        ]
        return max(held)[1:] if held else None

    def drop(self, path: str) -> None:
        """Deletes a save, index first, so that no reader finds one half gone."""
        kind, name = path.split("/", 1)
        files.delete(self.fs, self.paths.index(kind, name))
        files.delete(self.fs, self.paths.tensors(kind, name))
        self._indexes.pop(path, None)


def _is_index(entry: Any) -> bool:
    """Whether JSON is the index of a save: each lane's trial; epoch and attempt where given."""
    lanes = entry.get("lanes") if isinstance(entry, dict) else None
    return isinstance(lanes, list) and all(
        isinstance(lane, dict)
        and isinstance(lane.get("trial_id"), str)
        and type(lane.get("epoch", 0)) is int
        and type(lane.get("attempt", 0)) is int
        for lane in lanes
    )


def _read_lane(stream: Any, entry: Mapping[str, Any], start: int, lane: int) -> np.ndarray:
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    width, *shape = entry["shape"]
    if not 0 <= lane < width:
        raise IndexError(f"lane {lane} of {width}")
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    content = stream.read_at(size, start + entry["data_offsets"][0] + lane * size)
    return np.frombuffer(content, dtype).reshape(shape).copy()
