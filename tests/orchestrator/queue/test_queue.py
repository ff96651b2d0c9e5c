"""The queue of a launch, driven by made-up workers that pass, diverge, fail, leave and die."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.plan.packs import Lane, PackSpec
from orchestrator.queue import queue as queueing
from orchestrator.queue.losses import MAX_DEATHS, MAX_ERRORS, Death, Machines
from orchestrator.queue.queue import PASSED, PackQueue
from results import StoreError

SIGNATURE = {"strategy": "vmap"}
ENDS = ("done", "done", "done", "stopped", "diverged", "gate_failed")


def lane(name: str, parent: str | None = None, **more: Any) -> Lane:
    return Lane(name, {}, parent, **more)


def pack(*lanes: Lane, program: str = "p", width: int = 0, strategy: str = "default") -> PackSpec:
    name = "+".join(f"{one.trial_id}.{one.attempt}" for one in lanes)
    return PackSpec(name, program, list(lanes), width or len(lanes), strategy)


@dataclass
class World:
    """Packs of a forest of trials, workers that do anything, and what they published."""

    draw: random.Random
    packs: list[PackSpec]
    parents: dict[str, str | None]
    trouble: float
    published: dict[str, str] = field(default_factory=dict)
    epoch: dict[str, int] = field(default_factory=dict)
    handed: Counter[str] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)
    attempts: set[tuple[str, int]] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        epochs = dict.fromkeys(self.parents, 10)
        self.queue = PackQueue(
            self.packs, epochs, set(), "launch", self.refresh, on_lost=self.on_lost
        )

    def refresh(self, pack: PackSpec) -> tuple[list[Lane], dict[str, str]]:
        ended = {i: self.published[i] for i in pack.trial_ids if i in self.published}
        left = [
            lane(
                one.trial_id,
                one.parent_id,
                attempt=one.attempt + 1,
                first_epoch=self.epoch.get(one.trial_id, 0),
            )
            for one in pack.lanes
            if one.trial_id not in self.published
        ]
        return left, ended

    def on_lost(self, pack: PackSpec, why: str, error: str | None) -> None:
        self.lost |= set(pack.trial_ids)

    def hand_out(self, runner: str) -> None:
        busy = {i for p in self.queue.running.values() for i in p.trial_ids}
        given = self.queue.next(runner)
        if given is None:
            return
        assert 1 <= len(given.lanes) <= given.width
        assert len({one.first_epoch for one in given.lanes}) == 1
        for one in given.lanes:
            assert one.trial_id not in busy
            assert one.trial_id not in self.queue.outcomes
            assert (one.trial_id, one.attempt) not in self.attempts
            self.attempts.add((one.trial_id, one.attempt))
            self.handed[one.trial_id] += 1
            parent = self.parents[one.trial_id]
            assert parent is None or self.published[parent] in PASSED

    def advance(self, runner: str) -> None:
        """One thing happens to a worker: a report, an end, or some trouble."""
        running = self.queue.running[runner]
        left = [i for i in running.trial_ids if i not in self.published]
        ending = self.draw.sample(left, self.draw.randint(0, len(left)))
        ended = {i: self.draw.choice(ENDS) for i in ending}
        self.published |= ended
        report: dict[str, Any] = {"epoch": self.draw.randrange(10), "ended": ended}
        report["signature"] = {**SIGNATURE, "width": running.width}
        if self.draw.random() < self.trouble:
            if self.draw.random() < 0.3:  # what was published last never reached the driver
                report["ended"] = {}
            else:
                self.queue.report(runner, report)
            for i in left:
                self.epoch[i] = self.draw.choice([0, 3])
            kind = self.draw.choice(["died", "left", "gone", "error", "memory", "node"])
            if kind in ("left", "gone", "node"):
                self.excused.update(left)
            if kind == "died":
                self.queue.complete(runner, None)
            elif kind == "left":
                self.queue.complete(runner, {"interrupted": True, "done": True, "node": "n"})
            elif kind == "gone":
                self.queue.complete(runner, {"gone": True})
            else:
                self.queue.complete(
                    runner, {"failure": kind, "error": "Traceback", "reason": f"{kind}!"}
                )
            return
        if len(ended) == len(left):
            self.queue.complete(runner, {**report, "done": True})
        else:
            self.queue.report(runner, report)

    def run(self, runners: int) -> None:
        for _ in range(20_000):
            if self.queue.exhausted and not self.queue.running:
                break
            runner = f"r{self.draw.randrange(runners)}"
            if runner in self.queue.running:
                self.advance(runner)
            else:
                self.hand_out(runner)
        else:
            pytest.fail("the launch does not end")
        self.queue.block_the_rest()


@st.composite
def worlds(draw: st.DrawFn) -> World:
    parents: dict[str, str | None] = {}
    packs = []
    above: list[str] = []
    for level in range(draw(st.integers(1, 3))):
        names = [f"{level}.{i}" for i in range(draw(st.integers(1, 8)))]
        for name in names:
            parents[name] = draw(st.sampled_from(above)) if above else None
        programs = draw(st.integers(1, 2))
        for number in range(programs):
            mine = names[number::programs]
            width = draw(st.integers(1, 5))
            program = f"{level}/{number}"
            for first in range(0, len(mine), width):
                lanes = [lane(i, parents[i]) for i in mine[first : first + width]]
                packs.append(pack(*lanes, program=program, width=width))
        above = names
    packs = draw(st.permutations(packs))
    rng = random.Random(draw(st.integers(0, 2**32)))
    return World(rng, list(packs), parents, draw(st.sampled_from([0.0, 0.2, 0.6])))


@settings(max_examples=150)
@given(world=worlds(), runners=st.integers(1, 4))
def test_every_trial_ends_exactly_once_or_is_blocked(world: World, runners: int) -> None:
    world.run(runners)
    queue = world.queue
    assert queue.packs == []
    for name, parent in world.parents.items():
        status = world.published.get(name) or queue.outcomes[name]
        if status == "blocked":
            assert parent is not None
            above = world.published.get(parent) or queue.outcomes[parent]
            assert above not in PASSED
            assert queue.reasons[name].startswith(f"parent {parent} {above}")
            assert world.handed[name] == 0
        elif status == "failed":
            assert queue.reasons[name]
            assert name not in world.published
        else:
            assert status in ENDS
            assert world.handed[name] >= 1
            if world.trouble == 0:
                assert world.handed[name] == 1
                assert queue.outcomes[name] == status
        # At each of at most four widths: deaths, errors, and the halvings of five lanes by both.
        assert world.handed[name] - world.excused[name] <= 4 * (MAX_DEATHS + MAX_ERRORS + 2 * 3)


def queue_of(
    *packs: PackSpec,
    refresh: Any = None,
    epochs: dict[str, int] | None = None,
    passed: set[str] | None = None,
    **options: Any,
) -> PackQueue:
    def again(lost: PackSpec) -> tuple[list[Lane], dict[str, str]]:
        return [lane(o.trial_id, o.parent_id, attempt=o.attempt + 1) for o in lost.lanes], {}

    all_epochs = {one.trial_id: 4 for p in packs for one in p.lanes} | (epochs or {})
    return PackQueue(
        list(packs), all_epochs, passed or set(), "launch", refresh or again, **options
    )


def handed(queue: PackQueue, runner: str = "r") -> PackSpec:
    """A pack that must be there."""
    found = queue.next(runner)
    assert found is not None
    return found


def names(queue: PackQueue) -> list[list[str]]:
    return [p.trial_ids for p in queue.packs]


def test_out_of_memory_splits_in_half_and_waiting_packs_with_it() -> None:
    first = pack(*(lane(f"a{i}") for i in range(5)), width=6)
    second = pack(*(lane(f"b{i}") for i in range(4)), width=6)
    other = pack(lane("c"), program="q", width=6)
    queue = queue_of(first, second, other)
    assert queue.next("r") is first
    queue.complete("r", {"failure": "memory", "error": "", "reason": "RESOURCE_EXHAUSTED"})
    assert names(queue) == [["a0", "a1", "a2"], ["a3", "a4"], ["c"], ["b0", "b1", "b2"], ["b3"]]
    assert [p.width for p in queue.packs] == [3, 3, 6, 3, 3]
    assert {one.attempt for p in queue.packs[:2] for one in p.lanes} == {1}
    again = queue.next("r")
    assert again is not None
    queue.report("r", {"signature": {**SIGNATURE, "width": 3}})
    assert queue.signatures["p"]["width"] == 3  # the width that worked is remembered


MEMORY = {"failure": "memory", "error": "", "reason": "RESOURCE_EXHAUSTED"}


@pytest.mark.parametrize(
    ("width", "lanes", "narrower", "cut"),
    [
        (2, 2, 1, [1, 1]),
        (3, 3, 2, [2, 1]),
        (5, 5, 3, [3, 2]),
        (5, 2, 3, [2]),
        (7, 7, 4, [4, 3]),
        (8, 8, 4, [4, 4]),
        (9, 9, 5, [5, 4]),
    ],
)
def test_a_width_that_does_not_fit_is_halved_and_an_odd_one_upwards(
    width: int, lanes: int, narrower: int, cut: list[int]
) -> None:
    queue = queue_of(pack(*(lane(f"a{i}") for i in range(lanes)), width=width))
    handed(queue)
    queue.complete("r", MEMORY)
    assert [p.width for p in queue.packs] == [narrower] * len(cut)
    assert [len(p.lanes) for p in queue.packs] == cut
    assert [i for p in queue.packs for i in p.trial_ids] == [f"a{i}" for i in range(lanes)]


def test_the_width_that_did_not_fit_is_forgotten_and_its_failures_with_it() -> None:
    first = pack(lane("a"), lane("b"), lane("c"), width=4)
    first.deaths, first.errors = 3, 1
    narrow, other = pack(lane("n"), width=2), pack(lane("o"), program="q", width=4)
    queue = queue_of(first, narrow, other)
    queue.signatures = {"p": {"width": 4, "strategy": "vmap"}, "q": {"width": 4}}
    handed(queue)
    queue.report("r", {"epoch": 0, "signature": {"width": 4, "strategy": "vmap"}})
    queue.complete("r", MEMORY)
    assert queue.signatures == {"q": {"width": 4}}
    assert names(queue) == [["a", "b"], ["c"], ["n"], ["o"]], "a pack that is narrow enough stays"
    assert [(p.width, p.deaths, p.errors) for p in queue.packs[:2]] == [(2, 0, 0)] * 2
    assert queue.packs[2] is narrow


def test_a_single_lane_that_does_not_fit_fails_and_says_so_in_the_store() -> None:
    lost: list[str] = []
    queue = queue_of(
        pack(lane("a")), on_lost=lambda given, why, error: lost.extend(given.trial_ids)
    )
    for _ in range(MAX_ERRORS):
        assert queue.next("r")
        queue.complete(
            "r", {"failure": "memory", "error": "x", "reason": "RESOURCE_EXHAUSTED: 9 GiB"}
        )
    assert queue.outcomes == {"a": "failed"}
    assert queue.reasons["a"] == "RESOURCE_EXHAUSTED: 9 GiB"
    assert lost == ["a"]
    assert queue.exhausted


ERROR = {"failure": "error", "error": "Traceback", "reason": "ValueError: shapes"}


@pytest.mark.parametrize(("result", "tries"), [(None, 5), (ERROR, 2)])
def test_a_pack_of_one_is_tried_so_often(result: dict[str, Any] | None, tries: int) -> None:
    queue = queue_of(pack(lane("a")))
    handed = 0
    while queue.next("r"):
        handed += 1
        queue.complete("r", result)
    assert handed == tries
    assert queue.outcomes == {"a": "failed"}
    expected = "ValueError: shapes" if result else f"died {tries} times"
    assert expected in queue.reasons["a"]


@pytest.mark.parametrize(("result", "first"), [(None, MAX_DEATHS), (ERROR, 1)])
@pytest.mark.parametrize("guilty", ["a", "d", "g"])
def test_a_pack_is_halved_until_the_trial_at_fault_is_alone(
    result: dict[str, Any] | None, first: int, guilty: str
) -> None:
    """As wide as before, so that the others keep their bits."""
    queue = queue_of(pack(*(lane(name) for name in "abcdefg"), width=8))
    tries: list[list[str]] = []
    while given := queue.next("r"):
        assert given.width == 8
        if guilty in given.trial_ids:
            tries.append(given.trial_ids)
            queue.complete("r", result)
        else:
            queue.complete("r", {"ended": dict.fromkeys(given.trial_ids, "done"), "done": True})
    assert queue.outcomes == {**dict.fromkeys("abcdefg", "done"), guilty: "failed"}
    assert [len(names) for names in tries[:first]] == [7] * first
    alone = [names for names in tries if names == [guilty]]
    assert len(alone) == 1
    assert len(tries) <= first + 3


def chosen(name: str, init: str, parent: str | None = None) -> Lane:
    return Lane(name, {"init": init, "lr": 0.1}, parent)


UNMAKEABLE = {**ERROR, "program": [{}], "certain": True, "said": True}


def test_a_program_that_cannot_be_made_starts_once_and_fails_all_its_trials() -> None:
    """A KeyError in `build`: eight trials in four packs, and one that starts from one of them."""
    lost: list[str] = []
    said: list[str] = []
    packs = [pack(*(lane(f"{p}{i}") for i in range(2)), width=2) for p in "abcd"]
    child, other = pack(lane("child", "b1"), program="c"), pack(lane("o"), program="q")
    queue = queue_of(
        *packs, other, child, on_lost=lambda given, why, error: lost.extend(given.trial_ids),
        tell=said.append,
    )  # fmt: skip
    queue.next("r")
    queue.complete("r", UNMAKEABLE)
    failed = [f"{p}{i}" for p in "abcd" for i in range(2)]
    assert queue.outcomes == dict.fromkeys(failed, "failed")
    assert {queue.reasons[name] for name in failed} == {"ValueError: shapes"}
    assert lost == failed[2:], "its worker has published its own"
    assert said == [
        "pack a0.0+a1.0 of 2 trials: ValueError: shapes",
        "6 more trials of program p would fail alike",
    ]
    assert names(queue) == [["o"], ["child"]]
    assert queue.next("r") is other
    queue.complete("r", {"ended": {"o": "done"}, "done": True})
    assert queue.next("r") is None
    assert queue.outcomes["child"] == "blocked"
    assert queue.exhausted


def test_those_not_tried_are_counted_by_their_reason() -> None:
    queue = queue_of(*(pack(lane(name)) for name in "abc"), pack(lane("o"), program="q"))
    handed(queue)
    queue.complete("r", UNMAKEABLE)
    assert queue.untried == {"ValueError: shapes": 2}
    assert names(queue) == [["o"]]


def test_keeping_going_tries_each_pack_of_a_program_that_cannot_be_made() -> None:
    queue = queue_of(*(pack(lane(name)) for name in "abc"), keep_going=True)
    tried = []
    while given := queue.next("r"):
        tried += given.trial_ids
        queue.complete("r", UNMAKEABLE)
    assert tried == ["a", "b", "c"]
    assert queue.outcomes == dict.fromkeys("abc", "failed")
    assert queue.untried == {}


LATE = Death("still compiling after 10 min, the --trial-timeout", final=True, stacks="Thread 1")


@pytest.mark.parametrize("said", [True, False])
def test_a_pack_that_took_too_long_to_make_fails_with_its_program(said: bool) -> None:
    lost: list[tuple[list[str], str, str | None]] = []
    queue = queue_of(
        pack(lane("a"), lane("b")), pack(lane("c")), pack(lane("o"), program="q"),
        post_mortem=lambda given: replace(LATE, said=said),
        on_lost=lambda given, why, error: lost.append((given.trial_ids, why, error)),
    )  # fmt: skip
    handed(queue)
    queue.complete("r", None)
    assert names(queue) == [["o"]]
    assert queue.outcomes == dict.fromkeys("abc", "failed")
    assert set(queue.reasons.values()) == {LATE.why}
    own, others = (["a", "b"], LATE.why, "Thread 1"), (["c"], LATE.why, None)
    assert lost == ([others] if said else [own, others])


def test_a_pack_that_took_too_long_to_train_fails_alone() -> None:
    queue = queue_of(pack(lane("a"), lane("b")), pack(lane("c")), post_mortem=lambda given: LATE)
    handed(queue)
    queue.report("r", {"epoch": -1})
    queue.report("r", {"epoch": 0, "ended": {"a": "stopped"}})
    queue.complete("r", None)
    assert names(queue) == [["c"]]
    assert queue.outcomes == {"a": "stopped", "b": "failed"}


def test_what_ended_a_worker_is_said_each_time_and_in_the_reason() -> None:
    said: list[str] = []
    death = Death("Segmentation fault at net.py:12", stacks="Thread 1")
    lost: list[tuple[str, str | None]] = []
    queue = queue_of(
        pack(lane("a")), post_mortem=lambda given: death, tell=said.append,
        on_lost=lambda given, why, error: lost.append((why, error)),
    )  # fmt: skip
    for _ in range(MAX_DEATHS):
        handed(queue)
        queue.complete("r", None)
    assert said[0].endswith("its worker died (Segmentation fault at net.py:12; 1 of 5 times)")
    why = "its worker died 5 times or more (Segmentation fault at net.py:12); launch again"
    assert lost == [(why, "Thread 1")]
    assert queue.reasons == {"a": why}


def test_of_a_program_only_trials_with_the_values_at_fault_fail() -> None:
    lost: list[str] = []
    queue = queue_of(
        pack(chosen("a", "bad"), chosen("b", "good"), width=3),
        pack(chosen("c", "good"), chosen("d", "bad"), width=3),
        pack(chosen("e", "bad"), width=3),
        on_lost=lambda given, why, error: lost.extend(given.trial_ids),
    )
    queue.next("r")
    queue.complete("r", {**UNMAKEABLE, "program": [{"init": "bad"}, {"init": "worse"}]})
    assert queue.outcomes == dict.fromkeys("ade", "failed")
    assert lost == ["d", "e"]
    assert [(p.trial_ids, p.width) for p in queue.packs] == [(["b"], 3), (["c"], 3)]


def test_a_program_that_may_be_made_the_next_time_is_tried_twice() -> None:
    """A file that is not there yet, a network that does not answer."""
    uncertain = {**UNMAKEABLE, "certain": False, "said": False}
    lost: list[str] = []
    queue = queue_of(
        pack(lane("a"), lane("b")), pack(lane("c")),
        on_lost=lambda given, why, error: lost.extend(given.trial_ids),
    )  # fmt: skip
    starts = 0
    while given := queue.next("r"):
        starts += 1
        assert given.trial_ids == ["a", "b"]
        queue.complete("r", uncertain)
    assert starts == 2
    assert lost == ["a", "b", "c"]


@pytest.mark.parametrize("result", [{"interrupted": True, "done": True}, {"gone": True}])
def test_to_leave_or_to_die_with_the_node_is_no_failure(result: dict[str, Any]) -> None:
    queue = queue_of(pack(lane("a"), lane("b")))
    for _ in range(10 * MAX_DEATHS):
        given = queue.next("r")
        assert given is not None
        assert given.trial_ids == ["a", "b"]
        assert (given.deaths, given.errors) == (0, 0)
        queue.complete("r", result)
    assert queue.outcomes == {}


class Few(Machines):
    """Machines n0, n1, n2."""

    def others(self, avoided: set[str]) -> bool:
        return bool({"n0", "n1", "n2"} - avoided)


def test_a_node_that_cannot_run_a_pack_is_avoided_and_the_last_one_ends_it() -> None:
    lost: list[str] = []
    queue = queue_of(
        pack(lane("a"), lane("b")),
        machines=Few(),
        on_lost=lambda given, why, error: lost.extend(given.trial_ids),
    )
    for number in range(3):
        assert queue.next("r")
        reason = f"train.gz is corrupt (on n{number})"
        queue.complete("r", {"failure": "node", "reason": reason, "node": f"n{number}"})
        assert len(queue.avoid) == min(number + 1, 2)
    assert queue.avoid["n1"] == "train.gz is corrupt (on n1)"
    assert queue.outcomes == {"a": "failed", "b": "failed"}
    assert queue.reasons["a"] == "train.gz is corrupt (on n2)"
    assert lost == ["a", "b"]


class Endless(Machines):
    """There is always another."""

    def others(self, avoided: set[str]) -> bool:
        return True


def test_moves_between_nodes_that_cannot_run_a_pack_end() -> None:
    lost: list[tuple[list[str], str]] = []
    queue = queue_of(
        pack(lane("a"), lane("b")),
        machines=Endless(),
        on_lost=lambda given, why, error: lost.append((given.trial_ids, why)),
    )
    moves = []
    while given := queue.next("r"):
        moves.append(given.moves)
        assert (given.errors, given.deaths, given.width) == (0, 0, 2)
        node = f"n{len(moves)}"
        queue.complete("r", {"failure": "node", "reason": f"damaged on {node}", "node": node})
    assert moves == [0, 1, 2, 3, 4, 5]
    assert lost == [(["a", "b"], "damaged on n6")]
    assert queue.outcomes == {"a": "failed", "b": "failed"}
    assert queue.avoid == {f"n{i}": f"damaged on n{i}" for i in range(1, 7)}
    assert queue.exhausted


def test_a_pack_that_the_only_node_cannot_run_fails_at_once() -> None:
    for machines, node in ((Machines(), "n0"), (Endless(), None)):
        said: list[str] = []
        queue = queue_of(pack(lane("a")), machines=machines, tell=said.append)
        handed(queue)
        result = {"failure": "node", "reason": "damaged\nin detail"}
        queue.complete("r", result | ({"node": node} if node else {}))
        assert queue.outcomes == {"a": "failed"}
        assert queue.avoid == {}
        assert said == ["pack a.0 of 1 trial: damaged"]


def test_a_node_is_avoided_for_the_first_reason_and_said_to_be_so_once() -> None:
    said: list[str] = []
    queue = queue_of(
        pack(lane("a")), pack(lane("b"), lane("c")), machines=Endless(), tell=said.append
    )
    handed(queue, "r")
    handed(queue, "s")
    for runner, reason in (("r", "damaged\nin detail"), ("s", "another")):
        queue.complete(runner, {"failure": "node", "reason": reason, "node": "0123456789abcdef"})
    assert queue.avoid == {"0123456789abcdef": "damaged\nin detail"}
    assert [line for line in said if line.startswith("node")] == [
        "node 0123456789ab gets no more packs: damaged"
    ]
    assert "pack b.0+c.0 of 2 trials: another" in said


def test_a_node_that_is_told_to_leave_gets_no_more_packs_while_there_are_others() -> None:
    queue = queue_of(pack(lane("a")), machines=Few())
    for node in ("n0", "n1", "n2"):
        queue.next("r")
        queue.complete("r", {"interrupted": True, "done": True, "node": node})
    assert queue.avoid == {"n0": "it was told to leave", "n1": "it was told to leave"}
    assert names(queue) == [["a"]]


def test_a_lost_pack_may_publish_nothing_more_before_the_store_is_read() -> None:
    order: list[str] = []

    def refresh(lost: PackSpec) -> tuple[list[Lane], dict[str, str]]:
        order.append("read")
        return [lane("a", attempt=1)], {}

    queue = queue_of(
        pack(lane("a")), refresh=refresh, on_end=lambda given: order.append(f"end {given.id}")
    )
    given = queue.next("r")
    assert given is not None
    queue.complete("r", None)
    assert order == [f"end {given.id}", "read"]


def test_a_store_out_of_reach_ends_the_launch_and_not_the_driver() -> None:
    def refresh(lost: PackSpec) -> tuple[list[Lane], dict[str, str]]:
        raise StoreError("s3://bucket cannot be read")

    queue = queue_of(pack(lane("a")), pack(lane("b"), program="q"), refresh=refresh)
    queue.next("r")
    queue.complete("r", None)
    assert queue.fatal == "s3://bucket cannot be read"
    assert queue.exhausted

    def on_start(given: PackSpec) -> None:
        raise StoreError("disk full")

    full = queue_of(pack(lane("a")), on_start=on_start)
    assert full.next("r") is None
    assert full.fatal == "disk full"
    assert not full.running


def test_only_lanes_that_have_not_ended_come_again_by_resume_epoch() -> None:
    def refresh(lost: PackSpec) -> tuple[list[Lane], dict[str, str]]:
        return [lane("b", attempt=1, first_epoch=2), lane("c", attempt=1)], {"a": "done"}

    queue = queue_of(pack(lane("a"), lane("b"), lane("c")), refresh=refresh)
    queue.next("r")
    queue.report("r", {"epoch": 1, "ended": {"a": "done"}, "signature": {**SIGNATURE, "width": 3}})
    queue.complete("r", None)
    assert sorted(names(queue)) == [["b"], ["c"]]
    assert {p.width for p in queue.packs} == {3}
    assert {p.deaths for p in queue.packs} == {1}


def test_what_the_store_holds_counts_though_the_worker_died_before_saying_so() -> None:
    queue = queue_of(
        pack(lane("a")),
        pack(lane("c", "a"), program="q"),
        refresh=lambda lost: ([], {"a": "done"}),
    )
    queue.next("r")
    queue.complete("r", None)
    assert queue.outcomes == {"a": "done"}
    child = queue.next("r")
    assert child is not None
    assert child.trial_ids == ["c"]


def test_a_fatal_failure_stops_the_launch() -> None:
    queue = queue_of(pack(lane("a")), pack(lane("b"), program="q"))
    queue.next("r")
    queue.complete("r", {"failure": "fatal", "error": "disk full"})
    assert queue.fatal == "disk full"
    assert queue.exhausted
    assert queue.next("r") is None


def test_packs_whose_strategy_is_known_start_at_once() -> None:
    queue = queue_of(pack(lane("a")), pack(lane("b")), pack(lane("c"), strategy="vmap"))
    assert [found.trial_ids for n in "123" if (found := queue.next(n))] == [["a"], ["b"], ["c"]]


def test_a_forced_strategy_is_not_replaced_by_the_first_pack_s() -> None:
    queue = queue_of(pack(lane("a")), pack(lane("b"), strategy="vmap"))
    queue.next("r1")
    queue.report("r1", {"epoch": 0, "signature": {"strategy": "sequential", "width": 1}})
    second = queue.next("r2")
    assert second is not None
    assert second.strategy == "vmap"


def test_children_start_as_their_parents_pass() -> None:
    queue = queue_of(
        pack(lane("p"), lane("q")),
        pack(lane("c", "p"), program="child"),
        pack(lane("d", "q"), lane("e", "p"), program="other"),
    )
    queue.next("r")
    assert queue.next("s") is None
    queue.report("r", {"ended": {"p": "done"}, "signature": {**SIGNATURE, "width": 2}})
    child = queue.next("s")  # no barrier: q still runs
    assert child is not None
    assert child.trial_ids == ["c"]
    assert queue.next("t") is None
    gate = {"q": "loss 9 above the gate"}
    queue.complete("r", {"ended": {"q": "gate_failed"}, "reasons": gate, "done": True})
    rest = queue.next("t")
    assert rest is not None
    assert rest.trial_ids == ["e"]
    assert queue.outcomes["d"] == "blocked"
    assert queue.reasons["d"] == "parent q gate_failed: loss 9 above the gate"


def test_a_launch_ends_when_what_waits_can_never_start() -> None:
    queue = queue_of(pack(lane("a")), pack(lane("c", "nobody"), program="q"))
    assert not queue.exhausted
    queue.next("r")
    assert not (queue.exhausted and not queue.running)
    queue.complete("r", {"ended": {"a": "done"}, "done": True})
    assert queue.exhausted


def test_stopping_hands_out_nothing_more_and_requeues_nothing() -> None:
    queue = queue_of(pack(lane("a")), pack(lane("b"), program="q"))
    queue.next("r")
    queue.stop()
    assert queue.next("s") is None
    queue.complete("r", {"interrupted": True, "done": True})
    assert names(queue) == [["b"]]
    assert queue.outcomes == {}


def test_progress_is_at_most_the_whole() -> None:
    """Whatever a worker reports: its pack goes on for the longest of its lanes."""
    queue = queue_of(pack(lane("a"), lane("b"), lane("c")), epochs={"b": 10})
    handed(queue)
    queue.report("r", {"signature": SIGNATURE})  # before its first epoch
    assert queue.snapshot().epochs_done == 0
    for epoch, done in ((0, 3), (2, 9), (3, 12), (6, 4 + 7 + 4), (9, 18), (25, 18)):
        queue.report("r", {"epoch": epoch})
        now = queue.snapshot()
        assert now.epochs_done == done <= now.epochs_total == 18
    queue.complete("r", {"epoch": 9, "ended": dict.fromkeys("abc", "done"), "done": True})
    assert queue.snapshot().epochs_done == 18


def test_what_was_compiled_is_counted_once_for_each_worker() -> None:
    queue = queue_of(pack(lane("a")), pack(lane("b")))
    handed(queue, "r")
    handed(queue, "s")
    queue.report("r", {"epoch": 0, "compiles": {"compiled": 2, "cached": 1}})
    queue.report("r", {"epoch": 1, "compiles": {"compiled": 2, "cached": 1}})
    queue.complete("r", {"epoch": 1, "compiles": {"compiled": 2, "cached": 1}, "done": True})
    assert queue.compiles == Counter(compiled=2, cached=1)
    queue.report("s", {"epoch": 0, "compiles": {"cached": 1}})
    assert queue.compiles == Counter(compiled=2, cached=2)


def test_who_runs_nothing_changes_nothing() -> None:
    queue = queue_of(pack(lane("a")))
    handed(queue)
    report = {"epoch": 3, "ended": {"a": "done"}, "signature": SIGNATURE, "compiles": {"cached": 1}}
    queue.report("s", report)
    queue.complete("s", None)
    assert (queue.outcomes, queue.signatures, queue.compiles) == ({}, {}, Counter())
    assert list(queue.running) == ["r"]
    assert names(queue) == []


def test_what_comes_again_is_first_in_line() -> None:
    queue = queue_of(pack(lane("a"), lane("b")), pack(lane("c"), program="q"))
    handed(queue)
    queue.complete("r", None)
    assert names(queue) == [["a", "b"], ["c"]]
    assert queue.packs[0].deaths == 1
    handed(queue)
    queue.complete("r", ERROR)
    assert names(queue) == [["a"], ["b"], ["c"]]
    assert [(p.deaths, p.errors) for p in queue.packs] == [(1, 1), (1, 1), (0, 0)]


def test_a_worker_that_published_its_failure_is_not_spoken_for() -> None:
    for said in (True, False):
        lost: list[list[str]] = []
        queue = queue_of(
            pack(lane("a")),
            on_lost=lambda given, why, error, lost=lost: lost.append(given.trial_ids),
        )
        for _ in range(MAX_ERRORS):
            handed(queue)
            queue.complete("r", {**ERROR, "said": said})
        assert queue.outcomes == {"a": "failed"}
        assert lost == ([] if said else [["a"]])


def test_only_the_lanes_that_were_left_have_failed() -> None:
    lost: list[list[str]] = []
    queue = queue_of(
        pack(lane("a"), lane("b")), on_lost=lambda given, why, error: lost.append(given.trial_ids)
    )
    handed(queue)
    queue.report("r", {"epoch": 0, "ended": {"a": "stopped"}})
    queue.complete("r", {"failure": "node", "reason": "damaged"})
    assert lost == [["b"]]
    assert queue.outcomes == {"a": "stopped", "b": "failed"}
    assert queue.reasons == {"b": "damaged"}


def test_a_child_of_a_parent_that_passed_before_this_launch_starts_at_once() -> None:
    child = pack(lane("c", "p"))
    queue = queue_of(child, passed={"p"})
    assert handed(queue) is child
    assert queue.outcomes == {}


def test_a_pack_whose_every_lane_is_blocked_is_never_handed_out() -> None:
    queue = queue_of(pack(lane("p")), pack(lane("c", "p"), program="q"), pack(lane("x")))
    handed(queue)
    queue.complete("r", {"ended": {"p": "diverged"}, "done": True})
    assert handed(queue).trial_ids == ["x"]
    assert queue.outcomes == {"p": "diverged", "c": "blocked"}
    assert queue.reasons == {"c": "parent p diverged"}


@pytest.mark.parametrize(
    ("status", "blocked"), [("failed", True), ("done", False), ("stopped", False), (None, False)]
)
def test_what_never_started_is_blocked_only_by_a_parent_that_did_not_pass(
    status: str | None, blocked: bool
) -> None:
    queue = queue_of(pack(lane("p"), lane("x")), pack(lane("c", "p"), lane("d"), program="q"))
    handed(queue)
    queue.report("r", {"ended": {"p": status}} if status else {"epoch": 0})
    queue.stop()
    queue.block_the_rest()
    assert queue.outcomes.get("c") == ("blocked" if blocked else None)
    assert "d" not in queue.outcomes


def test_a_snapshot_tells_the_seconds_since_the_launch_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(queueing, "time", SimpleNamespace(monotonic=lambda: now[0]))
    queue = queue_of(pack(lane("a")))
    now[0] = 107.5
    assert queue.snapshot().seconds == 7.5


def test_a_snapshot_counts_epochs_of_ended_and_running_trials() -> None:
    queue = queue_of(pack(lane("a"), lane("b"), lane("c")))
    queue.next("r")
    queue.report("r", {"epoch": 1, "ended": {"a": "diverged"}})
    now = queue.snapshot()
    assert (now.trials, now.running, now.counts) == (3, 2, Counter(diverged=1))
    assert (now.epochs_done, now.epochs_total) == (4 + 2 + 2, 12)


def test_each_try_has_a_fence_of_its_own() -> None:
    fences: list[tuple[str, str]] = []
    queue = queue_of(
        pack(lane("a")), on_start=lambda given: fences.append((given.id, given.generation))
    )
    for _ in range(2):
        queue.next("r")
        queue.complete("r", None)
    assert len(set(fences)) == 2
    assert all(generation.startswith("launch:") for _, generation in fences)
