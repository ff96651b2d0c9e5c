"""Every engine with a loop of its own: a lane's bits depend on its trial alone.

`test_lanes` shows it of plain training, at length; this file of each other engine, at once. Both
run with the XLA flags that users have, since rounding depends on them.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.small_trials import assert_same_lane, assert_same_state, lane_of, state_of
from trainables.declarations import builtin_registry
from trainables.packs.pack import EpochResult, Pack

pytestmark = pytest.mark.exact

GAUSSIAN = {
    "task": "gaussian", "seq_len": 5, "features": 3, "classes": 3, "batch_size": 4,
    "steps_per_epoch": 2,
}  # fmt: skip
LSC = {**GAUSSIAN, "stage": "lsc", "lsc_steps": 4, "lsc_batch": 2, "depth": 2}
ENGINES: dict[str, dict[str, Any]] = {
    "lsc_ffn": {**LSC, "model": "ffn", "width": 4},
    "lsc_recurrent": {**LSC, "model": "ssimplernn", "widths": "4:4"},
    "lsc_lru": {**LSC, "model": "lru_stack", "width": 4},
    "decay": {
        **GAUSSIAN, "stage": "decay", "model": "ssimplernn", "widths": "4:4", "decay_batch": 4,
        "decay_burn_in": 1,
    },
    "divergence": {"stage": "divergence", "matrix_width": 16, "length": 40, "init": "glorot"},
}  # fmt: skip


def ran(config: dict[str, Any], *seeds: int) -> tuple[Pack, list[EpochResult]]:
    """A pack of two lanes, padded where there is one seed, after two epochs or all it has."""
    trials = [builtin_registry().resolve({**config, "seed": seed}) for seed in seeds]
    pack = Pack(trials, {}, width=2)
    pack.init()
    return pack, [pack.epoch(epoch) for epoch in range(min(2, trials[0].epochs))]


SLOW = ("lsc_recurrent", "lsc_lru")
"""The same engine as `lsc_ffn`; each takes half a minute to compile."""


@pytest.mark.parametrize(
    "engine",
    [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in ENGINES],
)
def test_bits_depend_on_the_trial_alone(engine: str) -> None:
    """Not on its neighbour, its place, padding, or a restart from a checkpoint."""
    config = ENGINES[engine]
    pack, results = ran(config, 1, 2)
    swapped, others = ran(config, 2, 1)
    alone, own = ran(config, 2)
    for result, other, single in zip(results, others, own, strict=True):
        assert_same_lane(result, 0, other, 1)
        assert_same_lane(result, 1, other, 0)
        assert_same_lane(result, 1, single, 0)
    assert_same_state(state_of(pack, 1), state_of(swapped, 0))
    assert_same_state(state_of(pack, 1), state_of(alone, 0))
    left, right = lane_of(results[0], 0), lane_of(results[0], 1)
    assert any(left[name].tobytes() != right[name].tobytes() for name in left)
    if len(results) == 2:
        first = Pack(list(pack.trials), {}, width=2)
        first.init()
        first.epoch(0)
        restarted = Pack(list(swapped.trials), {}, width=2)
        restarted.load(0, state_of(first, 1))
        assert_same_lane(restarted.epoch(1), 0, results[1], 1)
        assert_same_state(state_of(restarted, 0), state_of(pack, 1))
