"""Weights and resume points: safetensors files of a whole pack, read one lane at a time.

A save is `<name>.safetensors`, each tensor with the lane as leading axis, and `<name>.json`, its
index, which is published last: a save without an index does not exist.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import ml_dtypes
import numpy as np
from pyarrow import fs as pafs
from safetensors.numpy import save

from results.errors import StoreError
from results.store import files
from results.store.object_store import reaching, why
from results.store.paths import Paths

Kind = Literal["artifacts", "checkpoints"]

LAYOUT = 2
"""How an artifact lays tensors out, in its index as `layout`; one without it is of layout 1, in
which the gates of `torch_gru` were stacked z, r, n, and not r, z, n as in torch."""
_FORMER_GATES = {"torch_gru": (1, 0, 2)}
"""Order in which layout 1 is read, by model."""

_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "U32": "<u4",
    "I32": "<i4", "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8", "C64": "<c8",
    "BF16": ml_dtypes.bfloat16,
}  # fmt: skip


class Weights:
    """Saves of one store. Indexes never change once published, so each is read once."""

    def __init__(self, filesystem: pafs.FileSystem, paths: Paths):
        self.fs = filesystem
        self.paths = paths
        self._indexes: dict[str, dict[str, Any]] = {}
        self.bad: dict[Kind, dict[str, str]] = {"artifacts": {}, "checkpoints": {}}
        """Indexes that `list` passed over, by path, with the reason."""
        self.odd: dict[Kind, dict[str, str]] = {"artifacts": {}, "checkpoints": {}}
        """What is neither a file nor a folder there, by path, and what it is."""

    def save(
        self, kind: Kind, name: str, leaves: Mapping[str, np.ndarray], index: Mapping[str, Any]
    ) -> str:
        """Publishes tensors, then their index.

        Args:
          kind: artifacts (weights a stage reads, or kept ones) or checkpoints (resume points).
          name: unique within the kind; may have folders (`pack/epoch-10`).
          leaves: arrays of shape (W, ...), lane first.
          index: JSON data. `lanes` is a list with an entry per lane, each with `trial_id` and, in
            an artifact, `epoch` and `attempt`, and the `launch_id` that ran it. The rest is the
            caller's.

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
        if kind == "artifacts":
            entry["layout"] = LAYOUT
        files.publish(self.fs, self.paths.tensors(kind, name), save(tensors))
        text = json.dumps(entry, allow_nan=False).encode()
        files.publish(self.fs, self.paths.index(kind, name), text)
        return f"{kind}/{name}"

    def lane(self, path: str, lane: int) -> dict[str, np.ndarray]:
        """One lane of a save, without the leading axis; only its bytes are read.

        Raises:
          StoreError: no such save, or a damaged one.
        """
        kind, name = _split(path)
        full = self.paths.tensors(kind, name)
        try:
            files.require_file(self.fs, full)
            with self.fs.open_input_file(full) as stream:
                size = stream.size()
                header, start = _header(stream, size)
                return {
                    leaf: _read_lane(stream, entry, start, size, lane)
                    for leaf, entry in header.items()
                }
        except FileNotFoundError as error:
            raise StoreError(f"no weights at {path}; launch again to make them.") from error
        except OSError as error:
            raise StoreError(f"{full} cannot be read: {why(error)}.") from error
        except _DAMAGE as error:
            raise StoreError(
                f"{full} cannot be read ({_words(error)}); delete it and launch again, which "
                "rebuilds it."
            ) from error

    def list(self, kind: Kind) -> list[dict[str, Any]]:
        """Index of every readable save, oldest first, each with its `path` and its size in `bytes`
        added; `bad` has the others.

        Raises:
          StoreError: an object store gives no answer.
        """
        found: list[dict[str, Any]] = []
        bad = self.bad[kind] = {}
        odd = self.odd[kind] = {}
        infos = files.listing(self.fs, self.paths.under(kind), True, odd)
        tensors = {i.path: i.size for i in infos if i.path.endswith(".safetensors")}
        for info in infos:
            stem, dot, ending = info.path.rpartition(".")
            if info.path in tensors:
                continue  # without an index it is a save under way, or one half deleted
            if (dot, ending) != (".", "json"):
                bad[info.path] = "neither tensors nor their index"
                continue
            path = self.paths.relative(stem)
            try:
                if path not in self._indexes:
                    entry = _index(kind, files.read_json(self.fs, info.path))
                    self._indexes[path] = {**entry, "path": f"{kind}/{_split(path)[1]}"}
                if f"{stem}.safetensors" in tensors:
                    size = tensors[f"{stem}.safetensors"]
                    found.append({**self._indexes[path], "bytes": size})
                else:
                    bad[info.path] = "its tensors are gone"
            except FileNotFoundError:
                continue  # dropped since it was listed
            except (OSError, ValueError) as error:
                bad[info.path] = f"not an index of weights: {error}"
        return sorted(found, key=lambda entry: str(entry.get("saved", "")))

    def intact(self, path: str) -> bool:
        """Whether a listed save's tensors are there, all of them, for as many lanes as its index
        says; if not it is in `bad` from now on. One short read.

        Raises:
          StoreError: an object store gives no answer.
        """
        kind, name = _split(path)
        full = self.paths.tensors(kind, name)
        lanes = len(self._indexes[path]["lanes"])
        try:
            files.require_file(self.fs, full)
            with reaching(full), self.fs.open_input_file(full) as stream:
                size = stream.size()
                header, start = _header(stream, size)
            widths = {_layout(entry, start, size)[2] for entry in header.values()}
            if widths - {lanes}:
                raise ValueError(f"it has another number of lanes than its index, {lanes}")
        except FileNotFoundError:
            return False
        except (*_DAMAGE, files.NotAFileError) as error:
            self.bad[kind][full] = f"damaged weights: {_words(error)}"
            return False
        return True

    def find(
        self,
        trial_id: str,
        epoch: int | None = None,
        shows: Callable[[Mapping[str, Any]], bool] = lambda own: True,
    ) -> tuple[str, int] | None:
        """Path and lane of the trial's artifact at `epoch`, or the last of its newest attempt,
        among the lanes that `shows` admits."""
        held = [
            (
                (own["attempt"], own["epoch"], bool(own.get("launch_id")), str(entry.get("saved"))),
                entry["path"],
                lane,
            )
            for entry in self.list("artifacts")
            for lane, own in enumerate(entry["lanes"])
            if own.get("trial_id") == trial_id and epoch in (None, own.get("epoch"))
            if shows(own)
        ]
        return max(held)[1:] if held else None

    def is_former(self, path: str) -> bool:
        """Whether a listed artifact is of a former layout: `of_former_layout` reads it."""
        return self._indexes[path].get("layout", 1) == 1

    def drop(self, path: str) -> None:
        """Deletes a save, index first, so that no reader finds one half gone."""
        kind, name = _split(path)
        files.delete(self.fs, self.paths.index(kind, name))
        files.delete(self.fs, self.paths.tensors(kind, name))
        self._indexes.pop(path, None)


def of_former_layout(tensors: Mapping[str, np.ndarray], model: Any) -> dict[str, np.ndarray]:
    """Tensors by name of a model's artifact of layout 1, as they are laid out today."""
    gates = _FORMER_GATES.get(model)
    if gates is None:
        return dict(tensors)

    def read(name: str, value: np.ndarray) -> np.ndarray:
        if not name.startswith("rnn."):
            return value
        parts = np.split(value, len(gates))
        return np.concatenate([parts[gate] for gate in gates])

    return {name: read(name, value) for name, value in tensors.items()}


_DAMAGE = (ValueError, KeyError, IndexError, TypeError)
"""What reading a file raises that was written by somebody else, or not whole."""


def _words(error: Exception) -> str:
    """What is wrong; our own errors say it, Python's speak of its objects."""
    ours = isinstance(error, (files.NotAFileError, IndexError)) or type(error) is ValueError
    return str(error) if ours else "its header is none of a safetensors file"


def _split(path: str) -> tuple[Kind, str]:
    """Kind and name of a save's path, which must lie within the store.

    Raises:
      StoreError: it does not; `Paths` refuses the names that would climb out.
    """
    kind, _, name = path.partition("/")
    if kind == "artifacts" or kind == "checkpoints":
        return kind, name
    raise StoreError(f"{path!r} is no path of weights in a store; launch again to make them.")


def _index(kind: Kind, entry: Any) -> dict[str, Any]:
    """A save's index as it was read, if it has the shape of one. Raises ValueError if not."""
    lanes = entry.get("lanes") if isinstance(entry, dict) else None
    if not isinstance(lanes, list) or not lanes:
        raise ValueError("it lists no lanes")
    wanted = {"trial_id": str, **({"attempt": int, "epoch": int} if kind == "artifacts" else {})}
    for own in lanes:
        for name, type_ in wanted.items():
            if not isinstance(own, dict) or type(own.get(name)) is not type_:
                raise ValueError(f"a lane has no {name}")
    return entry


def _header(stream: Any, size: int) -> tuple[dict[str, Any], int]:
    """Entries of a safetensors file by tensor, and where their bytes start.

    Raises:
      ValueError: it is no such file; a pickle or an archive does not get further than this.
    """
    length = int.from_bytes(stream.read_at(8, 0), "little") if size > 8 else 0
    if not 2 <= length <= size - 8:
        raise ValueError("it is not a safetensors file")
    header = files.from_json(stream.read_at(length, 8))
    if not isinstance(header, dict):
        raise ValueError("it is not a safetensors file")
    header.pop("__metadata__", None)
    return header, 8 + length


def _layout(entry: Mapping[str, Any], start: int, end: int) -> tuple[np.dtype, int, int, list[int]]:
    """(dtype, first byte, lanes, shape of one) of a tensor. Raises ValueError where the header does
    not fit the file."""
    if not isinstance(entry, dict):
        raise ValueError("it is not a safetensors file")
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    if not all(type(number) is int for number in (*entry["shape"], *entry["data_offsets"])):
        raise ValueError("its header does not fit its content")
    width, *shape = entry["shape"]
    first, last = entry["data_offsets"]
    size = width * math.prod(shape) * dtype.itemsize
    if min(first, width, *shape) < 0 or last - first != size or start + last > end:
        raise ValueError("its header does not fit its content")
    return dtype, start + first, width, shape


def _read_lane(
    stream: Any, entry: Mapping[str, Any], start: int, end: int, lane: int
) -> np.ndarray:
    dtype, first, width, shape = _layout(entry, start, end)
    if not 0 <= lane < width:
        raise IndexError(f"lane {lane} of {width}")
    size = math.prod(shape) * dtype.itemsize
    content = stream.read_at(size, first + lane * size)
    return np.frombuffer(content, dtype).reshape(shape).copy()
