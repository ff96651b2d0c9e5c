"""A lane's numbers do not depend on its neighbours, its position, padding or restarts."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.small_trials import (
    assert_same_lane,
    assert_same_state,
    lane_of,
    same,
    state_of,
    trial,
)
from trainables.core.lanes import Strategy, over_lanes
from trainables.declarations import Trial
from trainables.packs.pack import EpochResult, Pack

pytestmark = pytest.mark.exact

STRATEGIES: list[Strategy] = ["sequential", "vmap"]
WIDTH = 5


def _residual(seed: int, **config: Any) -> Trial:
    return trial(**{"model": "residual_rnn", "seed": seed, "clip_norm": 5.0, **config})


GOOD = [_residual(1, lr=0.1), _residual(2, lr=0.3, init="xavier"), _residual(3, lr=0.01)]
DIVERGING = _residual(4, lr=3e38, clip_norm=None)


def _pack(trials: list[Trial], lanes: Strategy, epochs: int = 2) -> tuple[Pack, list[EpochResult]]:
    pack = Pack(trials, {}, width=WIDTH, lanes=lanes)
    pack.init()
    return pack, [pack.epoch(e) for e in range(epochs)]


@pytest.fixture(scope="module", params=STRATEGIES)
def reference(request):
    lanes = request.param
    pack, results = _pack(GOOD, lanes)
    return lanes, pack, results


@pytest.mark.parametrize(
    "order",
    [[2, 0, 1], [1], [0, 0, 0, 0, 2], ["bad", 1, "bad", 2, 0]],
    ids=["permuted", "alone", "repeated", "beside diverging lanes"],
)
def test_bits_depend_on_the_trial_alone(reference, order):
    lanes, pack, results = reference
    trials = [DIVERGING if i == "bad" else GOOD[i] for i in order]
    other, found = _pack(trials, lanes)
    for lane, i in enumerate(order):
        if i == "bad":
            assert found[0].bad_step[lane] >= 0
            assert not other.active[lane]
            continue
        for a, b in zip(results, found, strict=True):
            assert_same_lane(a, i, b, lane)
        assert_same_state(state_of(pack, i), state_of(other, lane))
    assert not other.active[len(order) :].any()


def test_padding_reports_nothing(reference):
    _, pack, results = reference
    assert pack.active.tolist() == [True] * 3 + [False] * 2
    for name, value in lane_of(results[0], 4).items():
        if name == "finished":
            assert not value
            continue
        blank = np.isnan(value) if value.dtype.kind == "f" else value == -1
        assert np.all(blank), name


def test_frozen_lanes_change_no_more(reference):
    lanes, _, results = reference
    pack, _ = _pack(GOOD, lanes, epochs=1)
    before = state_of(pack, 1)
    pack.freeze(1)
    assert pack.active.tolist() == [True, False, True, False, False]
    result = pack.epoch(1)
    assert_same_lane(results[1], 0, result, 0)
    assert_same_lane(results[1], 2, result, 2)
    assert np.isnan(result.epochs["loss"][1])
    after = state_of(pack, 1)
    assert not after.pop("alive")
    before.pop("alive")
    assert_same_state(before, after)


def test_resumed_lanes_continue_to_the_bit(reference):
    lanes, pack, results = reference
    first, _ = _pack(GOOD, lanes, epochs=1)
    saved = first.state()
    # Another order and fewer lanes: what a relaunch may find.
    resumed = Pack([GOOD[2], GOOD[0]], {}, width=WIDTH, lanes=lanes)
    resumed.load(0, {path: leaf[2] for path, leaf in saved.items()})
    resumed.load(1, {path: leaf[0] for path, leaf in saved.items()})
    assert resumed.active.tolist() == [True, True, False, False, False]
    result = resumed.epoch(1)
    assert_same_lane(results[1], 2, result, 0)
    assert_same_lane(results[1], 0, result, 1)
    assert_same_state(state_of(pack, 0), state_of(resumed, 1))


def test_diverged_lanes_stay_diverged_when_loaded(reference):
    lanes, *_ = reference
    pack, _ = _pack([DIVERGING, GOOD[0]], lanes, epochs=1)
    saved = state_of(pack, 0)
    assert not saved["alive"]
    assert all(np.isfinite(leaf).all() for leaf in saved.values())
    other = Pack([DIVERGING], {}, width=WIDTH, lanes=lanes)
    other.init()
    other.load(0, saved)
    assert not other.active.any()
    other.epoch(1)
    assert_same_state(saved, state_of(other, 0))


def test_strategies_agree_to_rounding():
    (a, left), (b, right) = (_pack(GOOD, lanes) for lanes in STRATEGIES)
    for name in ("loss", "val_loss", "grad_norm"):
        np.testing.assert_allclose(left[1].epochs[name], right[1].epochs[name], rtol=1e-4)
    assert a.probe("timeline") is not None
    assert b.probe("timeline") is not None


def test_runs_repeat_to_the_bit(reference):
    lanes, pack, results = reference
    again, found = _pack(GOOD, lanes)
    for lane in range(WIDTH):
        assert_same_lane(results[1], lane, found[1], lane)
    assert all(same(value, again.state()[path]) for path, value in pack.state().items())


_compiles: list[str] = []


def _count(event: str, duration_secs: float, **kwargs: str | int) -> None:
    if event.endswith("backend_compile_duration"):
        _compiles.append(event)


jax.monitoring.register_event_duration_secs_listener(_count)


@pytest.mark.parametrize("lanes", STRATEGIES)
def test_one_program_serves_all_epochs_and_traced_values(lanes):
    _pack(GOOD, lanes)
    before = len(_compiles)
    others = [_residual(s, lr=0.01 * s, weight_decay=0.1, residual_scale=0.5) for s in (7, 8, 9)]
    pack, _ = _pack(others, lanes, epochs=3)
    assert pack.memory_bytes() > pack.rise_bytes() > 0
    assert len(_compiles) == before


def test_in_sequence_an_empty_slot_is_not_computed():
    """Three seeds in packs of two cost three trainings, not four."""
    calls: list[int] = []

    def training(state: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
        jax.debug.callback(lambda one: calls.append(int(one)), value)
        return state + value, value

    for active in ([True, True], [True, False]):
        over_lanes(training, jnp.zeros(2), jnp.arange(2.0), jnp.array(active), "sequential")
    jax.effects_barrier()
    assert sorted(calls) == [0, 0, 1]
