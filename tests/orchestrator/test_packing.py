"""Trials to packs: nothing lost, one width per program, recorded widths kept."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.packing import (
    LONG_GROUP,
    MAX_WIDTH,
    MAX_WIDTH_GPU,
    MAX_WIDTH_SHORT,
    SHORT,
    Lane,
    PackSpec,
    choose_width,
    make_packs,
    signature_text,
)
from trainables.spec import Trial, builtin_registry

REGISTRY = builtin_registry()


def trial(**config: Any) -> Trial:
    return REGISTRY.resolve({"model": "vanilla_rnn", "task": "gaussian", "epochs": 1, **config})


trials = st.lists(
    st.builds(
        trial,
        depth=st.integers(1, 3),
        width=st.sampled_from([4, 8]),
        lr=st.sampled_from([0.1, 0.01]),
        seed=st.integers(0, 30),
        pretrain=st.sampled_from(["none", "warmup"]),
        timeline_points=st.sampled_from([8, 64]),
    ),
    max_size=60,
    unique_by=lambda t: t.id,
)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    chosen = draw(trials)
    programs = sorted({t.program for t in chosen})
    resume = {
        t.id: Lane(t.id, {}, attempt=draw(st.integers(1, 3)), first_epoch=draw(st.integers(0, 2)))
        for t in draw(st.lists(st.sampled_from(chosen), unique_by=lambda t: t.id))
    } if chosen else {}  # fmt: skip
    return {
        "trials": chosen,
        "resume": resume,
        "signatures": {
            p: {"width": draw(st.integers(1, 20)), "strategy": "vmap"}
            for p in programs
            if draw(st.booleans())
        },
        "devices": draw(st.integers(1, 8)),
        "width": draw(st.none() | st.integers(1, 20)),
    }


@given(requests())
def test_every_trial_is_in_exactly_one_pack_of_its_program(request: dict[str, Any]) -> None:
    chosen: list[Trial] = request.pop("trials")
    resume, signatures = request.pop("resume"), request.pop("signatures")
    packs = make_packs(chosen, resume, signatures, **request)
    by_id = {t.id: t for t in chosen}
    assert Counter(i for p in packs for i in p.trial_ids) == Counter(list(by_id))
    widths: dict[str, set[int]] = {}
    for pack in packs:
        widths.setdefault(pack.program, set()).add(pack.width)
        assert 1 <= len(pack.lanes) <= pack.width
        assert len({lane.first_epoch for lane in pack.lanes}) == 1
        assert len({by_id[i].config["timeline_points"] for i in pack.trial_ids}) == 1
        for lane in pack.lanes:
            own = by_id[lane.trial_id]
            assert own.program == pack.program
            assert lane.config == own.config
            assert lane.parent_id == (own.parent.id if own.parent else None)
            started = resume.get(lane.trial_id, Lane("", {}))
            assert (lane.attempt, lane.first_epoch) == (started.attempt, started.first_epoch)
        known = signatures.get(pack.program)
        if request["width"]:
            assert pack.width == request["width"]
        elif known:
            assert (pack.width, pack.strategy) == (known["width"], "vmap")
        else:
            assert pack.width <= MAX_WIDTH
    assert all(len(found) == 1 for found in widths.values())
    assert len({pack.id for pack in packs}) == len(packs)
    for pack in packs:
        assert PackSpec.from_text(pack.to_text()) == pack


@given(st.integers(1, 3000), st.integers(1, 20), st.integers(1, 16), st.booleans(), st.booleans())
def test_a_width_keeps_devices_busy_and_padding_small(
    count: int, groups: int, devices: int, gpu: bool, short: bool
) -> None:
    width = choose_width(count, groups, devices, gpu=gpu, short=short)
    packs = math.ceil(count / width)
    assert 1 <= width <= (MAX_WIDTH_GPU if gpu else MAX_WIDTH_SHORT if short else MAX_WIDTH)
    if width > MAX_WIDTH and not gpu:
        assert packs >= 4 * devices
    if devices == 1 and gpu:
        assert packs == math.ceil(count / MAX_WIDTH_GPU)
    assert packs * width - count < packs  # less than one padding lane a pack
    if count >= devices and groups == 1:
        assert packs >= math.ceil(devices / 2)
    assert choose_width(count, groups, devices, forced=7) == 7


def test_many_short_trainings_share_wide_packs_and_long_ones_do_not() -> None:
    short, long = ([trial(seed=s, epochs=e) for s in range(600)] for e in (1, SHORT + 1))
    assert short[0].sizes.steps == 1
    assert {p.width for p in make_packs(short, {}, {}, devices=2)} == {60}
    assert {p.width for p in make_packs(long, {}, {}, devices=2)} == {MAX_WIDTH}
    assert {p.width for p in make_packs(short[:100], {}, {}, devices=2)} == {15}
    known = {short[0].program: {"width": 3, "strategy": "sequential"}}
    assert {p.width for p in make_packs(short, {}, known, devices=2)} == {3}


def test_a_narrower_recorded_width_is_padded_not_changed() -> None:
    chosen = [trial(seed=s) for s in range(3)]
    (pack,) = make_packs(
        chosen, {}, {chosen[0].program: {"width": 8, "strategy": "sequential"}}, devices=2
    )
    assert (pack.width, len(pack.lanes), pack.strategy) == (8, 3, "sequential")


@pytest.mark.parametrize("lanes", ["vmap", "sequential"])
def test_a_forced_strategy_wins(lanes: str) -> None:
    chosen = [trial(seed=s) for s in range(4)]
    known = {chosen[0].program: {"width": 2, "strategy": "vmap"}}
    assert {p.strategy for p in make_packs(chosen, {}, known, devices=2, lanes=lanes)} == {lanes}


def test_calibration_is_for_long_groups_of_several_lanes() -> None:
    short = [trial(seed=s) for s in range(4)]
    long = [trial(seed=s, epochs=LONG_GROUP) for s in range(4)]
    strategies = [
        {p.strategy for p in make_packs(t, {}, {}, devices=1)} for t in (short, long, long[:1])
    ]
    assert strategies == [{"default"}, {"calibrate"}, {"default"}]


def test_parents_are_told_to_keep_their_weights() -> None:
    child = trial(pretrain="warmup")
    parent = child.parent
    assert parent is not None
    packs = make_packs([parent, child], {}, {}, devices=2, needed_as_parents=frozenset({parent.id}))
    assert {lane.trial_id: lane.artifact for pack in packs for lane in pack.lanes} == {
        parent.id: True,
        child.id: False,
    }
    assert [pack.parents for pack in packs if pack.trial_ids == [child.id]] == [{parent.id}]


def test_signature_text_is_canonical() -> None:
    assert signature_text({"b": 1, "a": {"d": 2, "c": 3}}) == '{"a":{"c":3,"d":2},"b":1}'
