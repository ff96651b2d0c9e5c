"""Choosing the lane strategy: vmap, or a sequential map inside one program."""

from __future__ import annotations

import json
import math
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
_MARGIN = 0.05
"""What vmap must save: it goes on computing lanes that have ended, a sequence skips them."""
_ROUNDS = 3
_LONG_S = 20.0
"""Both ways are timed in turns, `_ROUNDS` times unless that takes longer than this."""


def settle(
    strategy: str,
    trials: Sequence[Trial],
    arrays: Mapping[str, np.ndarray],
    width: int,
    threads: int = 1,
) -> Strategy:
    """`vmap` or `sequential` for a pack.

    `default` is vmap on an accelerator and sequential on a CPU. `calibrate` times an epoch in
    sequence on a CPU (the program is compiled anyway), tries vmap only if the pack will take long,
    and remembers the faster one in the user's cache, per program, width, CPU threads of this
    process, and JAX version.
    """
    if strategy in _NAMED:
        return _NAMED[strategy]
    device = jax.devices()[0]
    if device.platform != "cpu":
        return "vmap"
    if strategy == "default" or width < 2:
        return "sequential"
    name = f"{trials[0].program}-{width}-{threads}-{jax.__version__}.json"
    remembered = cache_dir() / "calibration" / name
    if remembered.is_file():
        return _NAMED[json.loads(remembered.read_text())["strategy"]]
    epochs = max(trial.epochs for trial in trials)
    packs = {"sequential": _ready("sequential", trials, arrays, width)}
    if _epoch_seconds(packs["sequential"]) * epochs < _WORTH_S:
        return "sequential"
    packs["vmap"] = _ready("vmap", trials, arrays, width)
    seconds = dict.fromkeys(packs, math.inf)
    begun = time.monotonic()
    for _ in range(_ROUNDS):
        for way, pack in packs.items():
            # The least of several: what else the machine does only ever adds.
            seconds[way] = min(seconds[way], _epoch_seconds(pack))
        if time.monotonic() - begun > _LONG_S:
            break
    pays = seconds["vmap"] < (1 - _MARGIN) * seconds["sequential"]
    chosen: Strategy = "vmap" if pays else "sequential"
    remembered.parent.mkdir(parents=True, exist_ok=True)
    remembered.write_text(json.dumps({"strategy": chosen, "seconds": seconds}))
    return chosen


def _ready(
    strategy: Strategy, trials: Sequence[Trial], arrays: Mapping[str, np.ndarray], width: int
) -> Pack:
    """A pack whose epoch is compiled and has run once."""
    pack = Pack(trials, arrays, width=width, lanes=strategy)
    pack.init()
    pack.epoch(0)
    return pack


def _epoch_seconds(pack: Pack) -> float:
    begun = time.monotonic()
    pack.epoch(1)
    return time.monotonic() - begun
