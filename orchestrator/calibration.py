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
_LANES = 4
"""Lanes timed: enough to show what batching gains, few enough to be short."""


def settle(
    strategy: str, trials: Sequence[Trial], arrays: Mapping[str, np.ndarray], width: int
) -> Strategy:
    """`vmap` or `sequential` for a pack.

    `default` is vmap on an accelerator and sequential on a CPU. `calibrate` times both on a CPU
    once per program and kind of machine, and remembers the faster one in the user's cache.
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
    seconds = {n: _epoch_seconds(s, trials, arrays, width) for n, s in _NAMED.items()}
    chosen = _NAMED[min(seconds, key=seconds.__getitem__)]
    remembered.parent.mkdir(parents=True, exist_ok=True)
    remembered.write_text(json.dumps({"strategy": chosen, "seconds": seconds}))
    return chosen


def _epoch_seconds(
    strategy: Strategy, trials: Sequence[Trial], arrays: Mapping[str, np.ndarray], width: int
) -> float:
    """Seconds of one epoch after the one that compiles."""
    few = list(trials[: min(_LANES, width)])
    pack = Pack(few, arrays, width=len(few), lanes=strategy)
    pack.init()
    pack.epoch(0)
    begun = time.monotonic()
    pack.epoch(1)
    return time.monotonic() - begun
