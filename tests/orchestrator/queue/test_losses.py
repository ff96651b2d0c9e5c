"""Packs that fail, workers that die and nodes that cannot run a pack."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.plan.packs import Lane, PackSpec
from orchestrator.queue.losses import MAX_DEATHS, MAX_ERRORS, MAX_MOVES, Death, Machines
from tests.support.queues import SIGNATURE, handed, lane, names, pack, packs_of, queue_of

MEMORY = {"failure": "memory", "error": "", "reason": "RESOURCE_EXHAUSTED"}


def test_out_of_memory_halves_the_width_of_waiting_trials_too() -> None:
    first = pack(*(lane(f"a{i}") for i in range(5)), width=6)
    second = pack(*(lane(f"b{i}") for i in range(5)), width=6)
    other = pack(lane("c"), program="q", width=6)
    queue = queue_of(first, second, other)
    assert handed(queue).trial_ids == ["a0", "a1", "a2", "a3", "a4", "b0"]
    queue.complete("r", MEMORY)
    assert names(queue) == [
        ["a0", "a1", "a2"], ["a3", "a4", "b0"], ["b1", "b2", "b3"], ["b4"], ["c"]
    ]  # fmt: skip
    assert [p.width for p in packs_of(queue)] == [3, 3, 3, 3, 6]
    again = handed(queue)
    assert {one.attempt for one in again.lanes} == {1}
    queue.report("r", {"signature": {**SIGNATURE, "width": 3}})
    assert queue.signatures["p"]["width"] == 3  # the width that worked is remembered


def test_a_wider_pack_that_runs_on_shares_the_trials_of_the_narrower_width() -> None:
    queue = queue_of(pack(*(lane(f"a{i}") for i in range(10)), width=4))
    handed(queue, "r")
    handed(queue, "s")
    queue.complete("r", MEMORY)
    answer = queue.talk("s", {"ended": {"a4": "done"}, "free": 1})
    assert [one["trial_id"] for one in answer["lanes"]] == ["a0"]
    queue.complete("s", None)
    assert (packs_of(queue)[0].width, names(queue)[0]) == (2, ["a5", "a6"])


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
    assert [p.width for p in packs_of(queue)] == [narrower] * len(cut)
    assert [len(p.lanes) for p in packs_of(queue)] == cut
    assert [i for p in packs_of(queue) for i in p.trial_ids] == [f"a{i}" for i in range(lanes)]


def test_the_width_that_did_not_fit_is_forgotten_and_its_failures_with_it() -> None:
    first = pack(lane("a"), lane("b"), lane("c"), width=4)
    narrow, other = pack(lane("n"), width=2), pack(lane("o"), program="q", width=4)
    queue = queue_of(first, narrow, other)
    queue.signatures = {"p": {"width": 4, "strategy": "vmap"}, "q": {"width": 4}}
    for _ in range(MAX_DEATHS - 1):
        handed(queue)
        queue.complete("r", None)
    handed(queue)
    queue.report("r", {"trained": 0, "signature": {"width": 4, "strategy": "vmap"}})
    queue.complete("r", MEMORY)
    assert queue.signatures == {"q": {"width": 4}}
    assert names(queue) == [["a", "b"], ["c", "n"], ["o"]], "with those of that width"
    assert [p.width for p in packs_of(queue)] == [2, 2, 4]
    handed(queue)
    queue.complete("r", None)
    assert names(queue)[0] == ["a", "b"], "this death is the first again"


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
    given = handed(queue)
    queue.complete("r", UNMAKEABLE)
    failed = [f"{p}{i}" for p in "abcd" for i in range(2)]
    assert queue.outcomes == {**dict.fromkeys(failed, "failed"), "child": "blocked"}
    assert {queue.reasons[name] for name in failed} == {"ValueError: shapes"}
    assert lost == failed[2:], "its worker has published its own"
    assert said == [
        f"pack {given.id} of 2 trials: ValueError: shapes",
        "6 more trials of program p would fail alike",
    ]
    assert names(queue) == [["o"]]
    assert handed(queue).trial_ids == ["o"]
    queue.complete("r", {"ended": {"o": "done"}, "done": True})
    assert queue.next("r") is None
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
    queue.report("r", {"trained": 0})
    queue.report("r", {"trained": 2, "ended": {"a": "stopped"}})
    queue.complete("r", None)
    assert names(queue) == [["c"]]
    assert queue.outcomes == {"a": "stopped", "b": "failed"}


def test_of_a_pack_that_trains_only_the_trial_that_took_too_long_fails() -> None:
    queue = queue_of(
        pack(lane("a"), lane("b")),
        post_mortem=lambda given: replace(LATE, said=True, of=frozenset("a")),
    )
    handed(queue)
    queue.report("r", {"trained": 0})
    queue.complete("r", None)
    assert queue.outcomes == {"a": "failed"}
    assert names(queue) == [["b"]]


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
    assert [(p.trial_ids, p.width) for p in packs_of(queue)] == [(["b", "c"], 3)]


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
        assert not given.alone
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
    moves = 0
    while given := queue.next("r"):
        moves += 1
        assert (given.alone, given.width) == (False, 2)
        node = f"n{moves}"
        queue.complete("r", {"failure": "node", "reason": f"damaged on {node}", "node": node})
    assert moves == MAX_MOVES + 1
    assert lost == [(["a", "b"], "damaged on n6")]
    assert queue.outcomes == {"a": "failed", "b": "failed"}
    assert queue.avoid == {f"n{i}": f"damaged on n{i}" for i in range(1, 7)}
    assert queue.exhausted


def test_a_pack_that_the_only_node_cannot_run_fails_at_once() -> None:
    for machines, node in ((Machines(), "n0"), (Endless(), None)):
        said: list[str] = []
        queue = queue_of(pack(lane("a")), machines=machines, tell=said.append)
        given = handed(queue)
        result = {"failure": "node", "reason": "damaged\nin detail"}
        queue.complete("r", result | ({"node": node} if node else {}))
        assert queue.outcomes == {"a": "failed"}
        assert queue.avoid == {}
        assert said == [f"pack {given.id} of 1 trial: damaged"]


def test_a_node_is_avoided_for_the_first_reason_and_said_to_be_so_once() -> None:
    said: list[str] = []
    queue = queue_of(
        pack(lane("a")), pack(lane("b"), lane("c")), machines=Endless(), tell=said.append
    )
    handed(queue, "r")
    second = handed(queue, "s")
    for runner, reason in (("r", "damaged\nin detail"), ("s", "another")):
        queue.complete(runner, {"failure": "node", "reason": reason, "node": "0123456789abcdef"})
    assert queue.avoid == {"0123456789abcdef": "damaged\nin detail"}
    assert [line for line in said if line.startswith("node")] == [
        "node 0123456789ab gets no more packs: damaged"
    ]
    assert f"pack {second.id} of 2 trials: another" in said


def test_a_node_that_is_told_to_leave_gets_no_more_packs_while_there_are_others() -> None:
    queue = queue_of(pack(lane("a")), machines=Few())
    for node in ("n0", "n1", "n2"):
        queue.next("r")
        queue.complete("r", {"interrupted": True, "done": True, "node": node})
    assert queue.avoid == {"n0": "it was told to leave", "n1": "it was told to leave"}
    assert names(queue) == [["a"]]


def test_what_comes_again_is_first_in_line() -> None:
    queue = queue_of(pack(lane("a"), lane("b")), pack(lane("c"), program="q"))
    handed(queue)
    queue.complete("r", None)
    assert names(queue) == [["a", "b"], ["c"]]
    handed(queue)
    queue.complete("r", ERROR)
    assert names(queue) == [["a"], ["b"], ["c"]]
    assert [p.alone for p in packs_of(queue)] == [True, True, False]


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


def test_only_lanes_that_have_not_ended_come_again() -> None:
    def refresh(lost: PackSpec) -> tuple[list[Lane], dict[str, str]]:
        return [lane("b", attempt=1, first_epoch=2), lane("c", attempt=1)], {"a": "done"}

    queue = queue_of(pack(lane("a"), lane("b"), lane("c")), refresh=refresh)
    queue.next("r")
    queue.report("r", {"ended": {"a": "done"}, "signature": {**SIGNATURE, "width": 3}})
    queue.complete("r", None)
    assert names(queue) == [["b", "c"]]
    assert {p.width for p in packs_of(queue)} == {3}


def test_a_trial_that_joined_a_pack_later_is_not_blamed_for_its_deaths() -> None:
    """After five deaths those that were there each time come apart, and the newcomer does not."""
    queue = queue_of(pack(lane("a"), lane("b"), lane("c"), width=2))
    for _ in range(MAX_DEATHS - 1):
        assert handed(queue).trial_ids == ["a", "b"]
        queue.complete("r", None)
    handed(queue)
    queue.talk("r", {"ended": {"b": "done"}, "free": 1})
    queue.complete("r", None)
    assert [(p.trial_ids, p.alone) for p in packs_of(queue)] == [(["a"], True), (["c"], False)]
    handed(queue)
    assert queue.talk("r", {"free": 1}) == {
        "verdicts": {}, "lanes": [], "more": False, "stop": False
    }, "none joins it"  # fmt: skip
    queue.complete("r", None)
    assert queue.outcomes == {"a": "failed", "b": "done"}
