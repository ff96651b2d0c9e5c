"""Data that stream train as those on the device do, to the bit, and on from within an epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.small_trials import assert_same_state, lane_of, same, state_of
from tests.support.streamed_tasks import Samples, arrays, mapped, registry, trial
from trainables.core.lanes import Strategy
from trainables.declarations import PartError
from trainables.packs.pack import EpochResult, Pack

pytestmark = pytest.mark.exact
STRATEGIES: list[Strategy] = ["sequential", "vmap"]
LANES = [{"seed": 1, "noise_std": 0.1}, {"seed": 2, "split_seed": 3}]
_ROUNDED = "layers/update_norm"
"""A mean over steps that XLA computes by another order of additions in the two programs."""


def pack_of(
    build: Any, *configs: dict[str, Any], lanes: Strategy = "sequential", **task: Any
) -> Pack:
    found = registry(build, **task)
    return Pack([trial(found, **config) for config in configs], {}, lanes=lanes)


def trained(pack: Pack, epochs: int = 2) -> list[EpochResult]:
    pack.init()
    return [pack.epoch(epoch) for epoch in range(epochs)]


def assert_lanes(a: EpochResult, i: int, b: EpochResult, j: int, rounded: str = "") -> None:
    one, other = lane_of(a, i), lane_of(b, j)
    assert one.keys() == other.keys()
    differ = [name for name in one if name != rounded and not same(one[name], other[name])]
    assert not differ
    if rounded:
        np.testing.assert_allclose(one[rounded], other[rounded], rtol=1e-6)


@pytest.mark.parametrize("lanes", STRATEGIES)
@pytest.mark.parametrize("steps", [None, 3])
def test_streamed_is_resident_to_the_bit(
    tmp_path: Path, lanes: Strategy, steps: int | None
) -> None:
    """Whether a call's steps divide the epoch's four or not; with noise, dropout, own splits."""
    given = arrays()
    resident = pack_of(lambda config: given, *LANES, lanes=lanes)
    files = mapped(tmp_path, given)
    streamed = pack_of(lambda config: files, *LANES, lanes=lanes, stream=True, stream_steps=steps)
    results = zip(trained(resident), trained(streamed), strict=True)
    for one, other in results:
        for lane in range(2):
            assert_lanes(one, lane, other, lane, _ROUNDED)
            assert np.isfinite(other.epochs["test_loss"][lane])
    for lane in range(2):
        assert_same_state(state_of(resident, lane), state_of(streamed, lane))


def test_samples_one_at_a_time_are_arrays(tmp_path: Path) -> None:
    given = arrays()
    source = Samples(given)
    one = pack_of(lambda config: source, LANES[0], stream=True)
    other = pack_of(lambda config: mapped(tmp_path, given), LANES[0], stream=True)
    for a, b in zip(trained(one), trained(other), strict=True):
        assert_lanes(a, 0, b, 0)
    assert source.read > 0


@pytest.mark.parametrize("lanes", STRATEGIES)
def test_a_lane_depends_on_its_trial_alone_and_goes_on_within_an_epoch(lanes: Strategy) -> None:
    given = arrays()
    task = {"lanes": lanes, "stream": True, "stream_steps": 1}

    def build(config: Any) -> Any:
        return given

    whole = pack_of(build, *LANES, **task)
    results = trained(whole)
    moved = pack_of(build, {"seed": 9}, LANES[0], **task)
    for one, other in zip(results, trained(moved), strict=True):
        assert_lanes(one, 0, other, 1)
    stopped = pack_of(build, *LANES, **task)
    stopped.init()
    stopped.epoch(0)
    assert stopped.advance(1) is None
    assert stopped.advance(1) is None
    assert stopped.position == 2
    leaves = stopped.state()
    resumed = pack_of(build, *LANES[::-1], **task)
    for lane in range(2):
        resumed.load(lane, {path: leaf[1 - lane] for path, leaf in leaves.items()})
    last = resumed.epoch(1)
    for lane in range(2):
        assert_lanes(results[1], lane, last, 1 - lane)
        assert_same_state(state_of(whole, lane), state_of(resumed, 1 - lane))


def test_lanes_of_two_steps_do_not_share_an_epoch() -> None:
    given = arrays()
    pack = pack_of(lambda config: given, *LANES, stream=True, stream_steps=1)
    pack.init()
    pack.advance(0)
    early = pack.state()
    pack.advance(0)
    late = pack.state()
    other = pack_of(lambda config: given, *LANES, stream=True, stream_steps=1)
    other.load(0, {path: leaf[0] for path, leaf in early.items()})
    with pytest.raises(ValueError, match="steps 2 and 1"):
        other.load(1, {path: leaf[1] for path, leaf in late.items()})


@pytest.mark.parametrize("where", [3, 47])
def test_a_broken_sample_is_named_and_is_no_divergence(where: int) -> None:
    given = arrays()
    given["x"][where, 2, 1] = np.nan
    pack = pack_of(lambda config: given, {"seed": 1}, stream=True, stream_steps=1)
    pack.init()
    with pytest.raises(PartError, match=rf"x\[{where}, 2, 1\] of task small is nan"):
        pack.epoch(0)


def test_a_diverging_lane_ends_where_a_resident_one_does() -> None:
    given = arrays()
    wild = {"seed": 1, "lr": 1e38, "optimizer": "sgd"}
    resident = pack_of(lambda config: given, wild)
    streamed = pack_of(lambda config: given, wild, stream=True, stream_steps=1)
    (one,), (other,) = trained(resident, 1), trained(streamed, 1)
    assert other.bad_step[0] == one.bad_step[0] >= 0
    step = int(other.bad_step[0])
    assert streamed.blame(0, 0, step) == resident.blame(0, 0, step)
    assert not streamed.active[0]


def test_probes_see_the_samples_that_they_would_see_resident() -> None:
    given = arrays()
    resident = pack_of(lambda config: given, *LANES)
    streamed = pack_of(lambda config: given, *LANES, stream=True)
    trained(resident, 1)
    trained(streamed, 1)
    one, other = resident.probe("sharpness"), streamed.probe("sharpness")
    assert one is not None
    assert other is not None
    for name, column in one.items():
        np.testing.assert_allclose(other[name], column, rtol=1e-5)


def test_what_streams_is_counted_in_memory() -> None:
    given = arrays()
    pack = pack_of(lambda config: given, *LANES, stream=True, stream_steps=2)
    sample = 4 * 3 * 4 + 4
    assert pack.rise_bytes() >= 2 * 2 * 2 * 8 * sample, "two calls of two steps for two lanes"
    assert pack.memory_bytes() > 0


def test_a_stage_with_a_loop_of_its_own_is_refused() -> None:
    given = arrays()
    found = registry(lambda config: given, stream=True)
    one = found.resolve(
        {"stage": "lsc", "model": "ffn", "task": "small", "width": 4, "lsc_steps": 2}
    )
    with pytest.raises(PartError, match="task small streams, and stage lsc reads all"):
        Pack([one], {})


def test_an_epoch_reads_each_training_sample_once_and_no_other() -> None:
    given = arrays()
    pack = pack_of(lambda config: given, {"seed": 1}, stream=True)
    assert pack._stream is not None
    (order,) = pack._stream._ordered("training", np.zeros(1, int))
    used = order["index"].reshape(-1)[order["weight"].reshape(-1) > 0]
    assert len(used) == len(set(used.tolist())) == 30
    held = pack._stream._ordered("evaluation", np.zeros(1, int))[0]
    rest = set(held["index"][held["weight"] > 0].tolist())
    assert rest | set(used.tolist()) == set(range(50))
    assert not rest & set(used.tolist())
