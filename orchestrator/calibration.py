"""Choosing the lane strategy: vmap, or a sequential map inside one program."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from orchestrator.environment import cache_dir
from trainables.lanes import Strategy
from trainables.packs import Pack
from trainables.spec import Trial

_NAMED: dict[str, Strategy] = {"sequential": "sequential", "vmap": "vmap"}
_WORTH_S = 120.0
"""A pack that takes less than this in sequence is not worth compiling a second way."""


def settle(
    strategy: str, trials: Sequence[Trial], arrays: Mapping[str, np.ndarray], width: int
) -> Strategy:
    """`vmap` or `sequential` for a pack.

    `default` is vmap on an accelerator and sequential on a CPU. `calibrate` times one epoch in
    sequence on a CPU (the program is compiled anyway), tries vmap only if the pack will take long,
    and remembers the faster one in the user's cache, per program and JAX version.
    """
    if strategy in _NAMED:
        return _NAMED[strategy]
    device = jax.devices()[0]
    if device.platform != "cpu":
        return "vmap"
    if strategy == "default" or width < 2:
        return "sequential"
    remembered = cache_dir() / "calibration" / f"{trials[0].program}-{jax.__version__}.json"
    if remembered.is_file():
        return _NAMED[json.loads(remembered.read_text())["strategy"]]
    epochs = max(trial.epochs for trial in trials)
    seconds = {"sequential": _epoch_seconds("sequential", trials, arrays, width)}
    if seconds["sequential"] * epochs < _WORTH_S:
        return "sequential"
    seconds["vmap"] = _epoch_seconds("vmap", trials, arrays, width)
    chosen = _NAMED[min(seconds, key=seconds.__getitem__)]
    remembered.parent.mkdir(parents=True, exist_ok=True)
    remembered.write_text(json.dumps({"strategy": chosen, "seconds": seconds}))
    return chosen


def _epoch_seconds(
    strategy: Strategy, trials: Sequence[Trial], arrays: Mapping[str, np.ndarray], width: int
) -> float:
    """Seconds of one epoch after the one that compiles."""
    pack = Pack(trials, arrays, width=width, lanes=strategy)
    pack.init()
    pack.epoch(0)
    begun = time.monotonic()
    pack.epoch(1)
    return time.monotonic() - begun
