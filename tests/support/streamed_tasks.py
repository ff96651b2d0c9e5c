"""A small task twice: resident, and streamed in one of the ways that a task may."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from jax import numpy as jnp

from trainables.declarations import Model, Registry, Task, Trial, builtin_registry
from trainables.declarations.tasks.base import NOISE, SPLIT

SAMPLES, CLASSES = 50, 3


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """x (50, 4, 3) float32 and labels y (50,)."""
    rng = np.random.default_rng(seed)
    return {
        "x": rng.normal(size=(SAMPLES, 4, 3)).astype(np.float32),
        "y": rng.integers(0, CLASSES, SAMPLES),
    }


def mapped(folder: Path, given: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The same arrays, mapped from files."""
    found = {}
    for name, value in given.items():
        np.save(folder / f"{name}.npy", value)
        found[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
    return found


class Samples:
    """As a data source of Grain: a length, and samples one at a time. Counts what is read."""

    def __init__(self, given: Mapping[str, np.ndarray]):
        self.given, self.read = given, 0

    def __len__(self) -> int:
        return len(self.given["y"])

    def __getitem__(self, row: int) -> dict[str, Any]:
        self.read += 1
        return {name: value[row] for name, value in self.given.items()}


class Net(nnx.Module):
    """Dropout and batch norm, so that a lane has state and draws beside its parameters."""

    def __init__(self, config: Mapping[str, Any], sizes: Any, rngs: nnx.Rngs):
        self.first = nnx.Linear(12, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.drop = nnx.Dropout(0.2, rngs=rngs)
        self.readout = nnx.Linear(16, CLASSES, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        h = jnp.tanh(self.first(x.reshape(len(x), -1)))
        return self.readout(self.drop(self.norm(h)))


def registry(build: Callable[[Any], Any], **task: Any) -> Registry:
    """Model `net` and task `small`: 30 / 10 / 10 samples, batches of 8."""
    found = builtin_registry()
    found.add(
        Model(name="net", build=Net, version=1),
        Task(
            name="small",
            build=build,
            version=1,
            keys=(SPLIT, NOISE),
            **{"batch_size": 8, "split": {"val": 0.2, "test": 0.2}, "classes": CLASSES, **task},
        ),
    )
    return found


def trial(found: Registry, **config: Any) -> Trial:
    """A trial of three epochs."""
    known = {"model": "net", "task": "small", "optimizer": "adam", "epochs": 3, "lr": 0.01}
    return found.resolve({**known, **config})
