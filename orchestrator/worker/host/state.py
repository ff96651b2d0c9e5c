"""What a host trainable keeps, as bytes and back: trees of arrays and numbers, bytes, a folder.

No pickle: a store may be somebody else's, and reading one must not run what it holds.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_SCALARS = (bool, int, float, str, type(None))


class StateError(ValueError):
    """Something that cannot be kept: one sentence, with the remedy."""


def to_bytes(state: Any) -> bytes:
    """A state as bytes: a JSON text of its structure, then the bytes of its arrays in turn.

    Args:
      state: arrays (NumPy, JAX, torch), numbers, strings, bytes and None, in any dicts, lists and
        tuples; or a `pathlib.Path` of a folder, whose files are taken.

    Raises:
      StateError: there is another object in it.
    """
    blobs: list[bytes] = []
    tree = _folder(state, blobs) if isinstance(state, Path) else _node(state, blobs, "state")
    text = json.dumps({"tree": tree, "sizes": [len(blob) for blob in blobs]}).encode()
    return b"".join([len(text).to_bytes(8, "little"), text, *blobs])


def from_bytes(content: bytes) -> Any:
    """What `to_bytes` was given. Arrays of JAX come as NumPy's, tensors of torch as tensors on the
    CPU, a folder as the Path of a new one.

    Raises:
      StateError: the bytes are no state.
    """
    try:
        first = 8 + int.from_bytes(content[:8], "little")
        head = json.loads(content[8:first])
        blobs = []
        for size in head["sizes"]:
            blobs.append(content[first : first + size])
            first += size
        return _value(head["tree"], blobs)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise StateError(
            f"the kept state cannot be read ({error}); `--rerun` starts the trial anew"
        ) from error


def _node(value: Any, blobs: list[bytes], where: str) -> Any:
    if type(value) in _SCALARS:
        return {"is": value}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": _put(bytes(value), blobs)}
    if isinstance(value, Mapping):
        if any(type(key) not in (str, int) for key in value):
            raise StateError(f"{where} has a key that is neither a string nor an integer")
        return {"dict": [[k, _node(v, blobs, f"{where}[{k!r}]")] for k, v in value.items()]}
    if type(value) in (list, tuple):
        items = [_node(v, blobs, f"{where}[{i}]") for i, v in enumerate(value)]
        return {type(value).__name__: items}
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        flat = value.detach().cpu().contiguous().reshape(-1)
        raw = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
        kind = str(value.dtype).removeprefix("torch.")
        return {"torch": _put(raw, blobs), "type": kind, "shape": list(value.shape)}
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise StateError(f"{where} is an array of Python objects; keep its numbers alone")
        kind = array.dtype.name if array.dtype.kind == "V" else array.dtype.str
        scalar = isinstance(value, np.generic)
        place = _put(array.tobytes(), blobs)
        return {"array": place, "type": kind, "shape": list(array.shape), "scalar": scalar}
    raise StateError(
        f"{where} is of type {type(value).__name__}; a state is made of arrays, numbers, strings, "
        "bytes, dicts, lists and tuples, or is the pathlib.Path of a folder: turn other objects "
        "into bytes yourself, as with pickle.dumps"
    )


def _put(content: bytes, blobs: list[bytes]) -> int:
    blobs.append(content)
    return len(blobs) - 1


def _folder(path: Path, blobs: list[bytes]) -> Any:
    if not path.is_dir():
        raise StateError(f"{path} is no folder; give a folder that exists, or its content as bytes")
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {
        "folder": [[str(f.relative_to(path)), _put(f.read_bytes(), blobs)] for f in files],
    }


def _value(node: Mapping[str, Any], blobs: list[bytes]) -> Any:
    (kind, held), *_ = node.items()
    if kind == "is":
        return held
    if kind == "bytes":
        return blobs[held]
    if kind == "dict":
        return {key: _value(item, blobs) for key, item in held}
    if kind in ("list", "tuple"):
        items = [_value(item, blobs) for item in held]
        return items if kind == "list" else tuple(items)
    if kind == "torch":
        torch = importlib.import_module("torch")
        type_, raw = getattr(torch, node["type"]), bytearray(blobs[held])
        flat = torch.frombuffer(raw, dtype=type_) if raw else torch.empty(0, dtype=type_)
        return flat.reshape(node["shape"])
    if kind == "array":
        array = np.frombuffer(blobs[held], _dtype(node["type"])).reshape(node["shape"]).copy()
        return array[()] if node["scalar"] else array
    if kind == "folder":
        return _unfolded(held, blobs)
    raise ValueError(f"unknown kind {kind}")


def _dtype(name: str) -> np.dtype:
    try:
        return np.dtype(name)
    except TypeError:  # bfloat16 and its like, which JAX brings
        return np.dtype(getattr(importlib.import_module("ml_dtypes"), name))


def _unfolded(files: list[list[Any]], blobs: list[bytes]) -> Path:
    top = Path(tempfile.mkdtemp(prefix="gradsweep-state-"))
    for name, place in files:
        file = (top / name).resolve()
        if not file.is_relative_to(top.resolve()):
            raise ValueError(f"a file of it would lie outside its folder: {name}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(blobs[place])
    return top
