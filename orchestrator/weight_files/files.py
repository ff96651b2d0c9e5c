"""Tensors in files: safetensors and npz without torch, .pt with it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import RequestError

_TORCH = (".pt", ".pth", ".bin", ".ckpt")
ENDINGS = (".safetensors", ".npz", *_TORCH)


def read(path: Path) -> dict[str, np.ndarray]:
    """Tensors by name, as they are in the file.

    Raises:
      RequestError: no such file, none of these kinds, damaged, or torch is needed and missing.
    """
    kind = _kind(path)
    if not path.is_file():
        raise RequestError(f"there is no file {path}; give one that ends in {', '.join(ENDINGS)}")
    try:
        if kind == ".safetensors":
            from safetensors.numpy import load_file

            return dict(load_file(path))
        if kind == ".npz":
            with np.load(path, allow_pickle=False) as opened:
                return {name: opened[name] for name in opened.files}
        torch = _torch(path, f"safetensors.torch.save_file(model.state_dict(), '{path.stem}"
                       ".safetensors')")  # fmt: skip
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
        return {name: value.detach().cpu().float().numpy() for name, value in _state(found).items()}
    except RequestError:
        raise
    except Exception as error:  # each reader raises other errors for a damaged file
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise RequestError(f"{path} cannot be read as {kind}: {said}") from error


def write(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """The tensors as a file of the kind that its ending says.

    Raises:
      RequestError: none of these kinds, torch is needed and missing, or it cannot be written.
    """
    kind = _kind(path)
    kept = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    try:
        if kind == ".safetensors":
            from safetensors.numpy import save_file

            save_file(kept, path)
        elif kind == ".npz":
            np.savez(path, **kept)  # type: ignore[reportArgumentType]
        else:
            torch = _torch(path, f"give {path.stem}.safetensors, which torch reads by "
                           "safetensors.torch.load_file")  # fmt: skip
            torch.save({name: torch.from_numpy(value) for name, value in kept.items()}, path)
    except OSError as error:
        raise RequestError(f"cannot write {path} ({error.strerror})") from error


def _kind(path: Path) -> str:
    kind = path.suffix.lower()
    if kind not in ENDINGS:
        raise RequestError(
            f"{path} is no file of weights; give one that ends in {', '.join(ENDINGS)}"
        )
    return kind


def _torch(path: Path, instead: str) -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise RequestError(
            f"{path} is a file of torch, which is not installed here; install torch, or {instead}"
        ) from None


def _state(found: Any) -> Mapping[str, Any]:
    """The state_dict in what `torch.load` gave: itself, or an entry of a checkpoint."""
    for _ in range(3):
        if not isinstance(found, Mapping):
            break
        if found and all(hasattr(value, "detach") for value in found.values()):
            return found
        inner = [found[n] for n in ("state_dict", "model", "model_state_dict") if n in found]
        found = inner[0] if inner else None
    raise RequestError("it holds no state_dict; save model.state_dict()")
