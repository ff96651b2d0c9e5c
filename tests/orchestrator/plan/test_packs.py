"""Trials to packs: nothing lost, one width per program, recorded widths kept."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.plan.packs import (
    MAX_WIDTH,
    MAX_WIDTH_GPU,
    MAX_WIDTH_SHORT,
    SHORT,
    Context,
    Lane,
    PackSpec,
    choose_width,
    make_packs,
    pack_name,
    signature_text,
)
from trainables.declarations import Trial, builtin_registry

REGISTRY = builtin_registry()


def trial(**config: Any) -> Trial:
    return REGISTRY.resolve({"model": "vanilla_rnn", "task": "gaussian", "epochs": 1, **config})


POOL = [
    trial(depth=depth, width=width, lr=lr, seed=seed, pretrain=pretrain, timeline_points=points)
    for depth in (1, 2, 3)
    for width in (4, 8)
    for lr in (0.1, 0.01)
    for seed in range(6)
    for pretrain in ("none", "warmup")
    for points in (8, 64)
]
# Of trials that differ in an observation only there is one in a launch.
trials = st.lists(st.sampled_from(POOL), max_size=60, unique_by=lambda t: t.id)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    chosen = draw(trials)
    programs = sorted({t.program for t in chosen})
    resume = {
        t.id: Lane(
            t.id, {}, attempt=draw(st.integers(1, 3)), first_epoch=draw(st.integers(0, 2)),
            memo={"step": draw(st.sampled_from([0, 0, 7]))},
        )
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
        assert len({lane.resumes_at[1] for lane in pack.lanes}) == 1
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


@pytest.mark.parametrize(
    ("count", "groups", "devices", "gpu", "short", "width"),
    [
        (1, 1, 2, False, False, 1),
        (16, 1, 1, False, False, 16),
        (17, 1, 1, False, False, 9),  # as few packs as may be, then as little padding
        (20, 1, 2, False, False, 10),  # every device busy
        (4, 1, 4, False, False, 1),
        (4, 2, 4, False, False, 2),  # the other group keeps two of them busy
        (4, 3, 4, False, False, 2),
        (4, 4, 4, False, False, 4),
        (100, 1, 2, False, False, 15),
        (128, 1, 2, False, True, 16),  # four packs for each of two workers
        (136, 1, 2, False, True, 17),
        (512, 1, 2, False, True, 64),
        (5120, 1, 2, False, True, 64),
        (16, 1, 1, False, True, 16),
        (128, 1, 1, True, False, 128),
        (129, 1, 1, True, False, 65),
        (600, 1, 1, True, True, 120),
    ],
)
def test_widths_of_some_groups(
    count: int, groups: int, devices: int, gpu: bool, short: bool, width: int
) -> None:
    assert choose_width(count, groups, devices, gpu=gpu, short=short) == width


def test_short_is_up_to_a_hundred_steps_of_the_longest_trial_of_a_program() -> None:
    """The width is one for all trials of a program, however long each is."""

    def widths(*epochs: int) -> set[int]:
        chosen = [trial(seed=s, epochs=e) for e in epochs for s in range(600 // len(epochs))]
        return {pack.width for pack in make_packs(chosen, {}, {}, devices=2)}

    assert SHORT == 100
    assert trial(epochs=100).sizes.steps == 1
    assert widths(100) == {60}
    assert widths(101) == {16}
    assert widths(1, 101) == {16}
    wide = [trial(seed=s, epochs=50, steps_per_epoch=2) for s in range(600)]
    assert {pack.width for pack in make_packs(wide, {}, {}, devices=2)} == {60}
    more = [trial(seed=s, epochs=51, steps_per_epoch=2) for s in range(600)]
    assert {pack.width for pack in make_packs(more, {}, {}, devices=2)} == {16}


def test_how_long_another_stage_takes_its_steps_do_not_tell() -> None:
    own = {"stage": "lsc", "model": "ffn", "task": "gaussian", "lsc_epochs": 1, "depth": 2}
    chosen = [REGISTRY.resolve({**own, "seed": s}) for s in range(600)]
    assert {pack.width for pack in make_packs(chosen, {}, {}, devices=2)} == {16}


def test_a_program_s_groups_share_the_width_of_the_largest() -> None:
    """Those that go on from a resume point, too."""
    chosen = [trial(seed=s) for s in range(12)]
    resume = {t.id: Lane(t.id, {}, attempt=1, first_epoch=1) for t in chosen[:2]}
    packs = make_packs(chosen, resume, {}, devices=1)
    assert [(pack.width, len(pack.lanes)) for pack in packs] == [(12, 12)]
    assert [lane.first_epoch for lane in packs[0].lanes] == [1, 1] + [0] * 10


def test_within_an_epoch_of_data_that_stream_lanes_share_their_step() -> None:
    chosen = [trial(seed=s) for s in range(6)]
    resume = {
        t.id: Lane(t.id, {}, attempt=1, first_epoch=n, memo={"step": 3})
        for n, t in enumerate(chosen[:2])
    }
    packs = make_packs(chosen, resume, {}, devices=1)
    assert [pack.trial_ids for pack in packs] == [
        [t.id for t in chosen[2:]], [t.id for t in chosen[:2]]
    ]  # fmt: skip
    assert len({pack.group for pack in packs}) == 1, "they do once the epoch has ended"


def test_what_each_lane_follows_by_itself_splits_no_pack_and_the_rest_does() -> None:
    together = [trial(seed=0), trial(seed=1, timeline_every=3), trial(seed=2, keep_weights="last")]
    (pack,) = make_packs(together, {}, {}, devices=1)
    assert len(pack.lanes) == 3
    assert pack.parents == set()
    apart = [trial(seed=0), trial(seed=1, timeline_points=8)]
    assert len(make_packs(apart, {}, {}, devices=1)) == 2


def test_who_need_not_wait_sits_in_no_pack_that_does() -> None:
    """Children wait for a parent only where it is among those that run."""
    children = [trial(pretrain="warmup", seed=seed) for seed in range(2)]
    parents = [child.parent for child in children if child.parent]
    packs = make_packs([parents[0], *children], {}, {}, devices=1)
    assert [pack.trial_ids for pack in packs] == [
        [parents[0].id], [children[1].id], [children[0].id]
    ]  # fmt: skip
    assert packs[1].group == packs[2].group != packs[0].group
    alone = make_packs(children, {}, {}, devices=1)
    assert [len(pack.lanes) for pack in alone] == [2]


def test_children_of_one_parent_pack_sit_together() -> None:
    """Parents of two programs, children of one: each pack of children waits for a single one."""
    children = [
        trial(pretrain="lsc", model="ffn", depth=2, batch_size=4, lsc_batch=2, seed=s, lsc_norm=n)
        for s in range(4)
        for n in ("radius", "entrywise")
    ]
    assert len({child.program for child in children}) == 1
    parents = {child.id: child.parent.program for child in children if child.parent}
    assert len(set(parents.values())) == 2
    packs = make_packs(children, {}, {}, devices=2)
    assert [len(pack.lanes) for pack in packs] == [4, 4]
    assert all(len({parents[i] for i in pack.trial_ids}) == 1 for pack in packs)


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


def test_a_pack_s_name_is_that_of_its_attempts() -> None:
    one, two = Lane("a", {}), Lane("b", {}, attempt=1)
    names = [
        pack_name(lanes)
        for lanes in ([one], [two], [one, two], [two, one], [Lane("b", {})], [Lane("a", {"x": 1})])
    ]
    assert names[0] == names[5], "a config is known by its trial's id"
    assert len(set(names)) == 5
    assert all(re.fullmatch("[0-9a-f]{12}", name) for name in names)


def test_an_unset_lane_pack_and_context_are_those_of_a_first_attempt() -> None:
    assert Lane("a", {}) == Lane("a", {}, None, 0, 0, None, 0, {}, False)
    spec = PackSpec("p", "q", [], 1, "default")
    assert (spec.generation, spec.group, spec.alone) == ("", "", False)
    assert Context() == Context("", "", 1, 60.0, 0.0, {}, False)
