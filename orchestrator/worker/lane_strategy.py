"""Choosing the lane strategy: vmap, or a sequential map inside one program."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from orchestrator.machine.environment import cache_dir
from trainables.core.lanes import Strategy
from trainables.declarations import Trial
from trainables.packs.pack import Pack

_NAMED: dict[str, Strategy] = {"sequential": "sequential", "vmap": "vmap"}
_WORTH_S = 120.0
"""A pack that takes less than this in sequence is not worth compiling a second way."""
_MARGIN = 0.05
"""What vmap must save: it goes on computing lanes that have ended, a sequence skips them."""
_ROUNDS = 3
_LEAST_S, _LONG_S = 1.0, 20.0
"""Both ways are timed in turns, `_ROUNDS` times and for a second, unless that takes longer than
20."""
_QUICK_S = 2.0
"""A pack whose epoch takes longer than this in sequence is timed by one of its lanes. An epoch's
start and end come once for all lanes: one times their number was 7 to 32 % too much."""
_STEP_S = 0.002
"""A lane whose step takes longer, with its share of the evaluation, is taken to be busy with
arithmetic, of which vmap saves nothing: it saved 24 to 39 % of steps of .03 to .07 ms, 2 to 11 % of
most of .2 to .7, and nothing from 1 ms on; at 45 ms it took 1.9 times as long (docs/benchmarks)."""


def settle(
    strategy: str,
    trials: Sequence[Trial],
    arrays: Mapping[str, np.ndarray],
    width: int,
    threads: int = 1,
) -> Strategy:
    """`vmap` or `sequential` for a pack.

    `default` is vmap on an accelerator and sequential on a CPU. `calibrate` times an epoch of one
    lane in sequence on a CPU (the program is compiled anyway), compares with vmap only if the pack
    will take long and its steps are short, and remembers the faster one in the user's cache, per
    program, width, CPU threads of this process, and JAX version.
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
    # One lane: the others are padding, which a sequence skips.
    lane = _ready("sequential", trials[:1], arrays, width)
    lane_s = _epoch_seconds(lane)
    if lane_s * len(trials) * epochs < _WORTH_S or lane_s > _STEP_S * lane.steps:
        return "sequential"
    every = _ready("vmap", trials, arrays, width)
    some, times = lane, len(trials)
    if lane_s * len(trials) < _QUICK_S:
        some, times = _ready("sequential", trials, arrays, width), 1
    seconds = {"sequential": math.inf, "vmap": math.inf}
    begun, turn = time.monotonic(), 0
    while (took := time.monotonic() - begun) < _LONG_S and (turn < _ROUNDS or took < _LEAST_S):
        # The least of several: what else the machine does only ever adds.
        seconds["vmap"] = min(seconds["vmap"], _epoch_seconds(every))
        seconds["sequential"] = min(seconds["sequential"], times * _epoch_seconds(some))
        turn += 1
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
