"""Trials that take the slots of those that have ended."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.plan.packs import HOST, Lane
from orchestrator.queue.queue import PackQueue
from tests.support.queues import handed, lane, names, pack, queue_of


def granted(queue: PackQueue, free: int, runner: str = "r", **report: Any) -> list[str]:
    """Trials that a worker gets for its free slots."""
    answer = queue.talk(runner, {"free": free, **report})
    return [one["trial_id"] for one in answer["lanes"]]


def test_free_slots_are_filled_from_the_group_in_order_and_the_last_ones_stay_free() -> None:
    queue = queue_of(pack(*(lane(name) for name in "abcde"), width=2), pack(lane("o"), program="q"))
    given = handed(queue)
    assert given.trial_ids == ["a", "b"]
    assert granted(queue, 1, ended={"a": "done"}) == ["c"]
    assert given.trial_ids == ["b", "c"], "published under the pack's fence"
    assert granted(queue, 0) == []
    assert granted(queue, 2, ended={"b": "done", "c": "diverged"}) == ["d", "e"]
    assert granted(queue, 2, ended={"d": "done", "e": "done"}) == []
    assert names(queue) == [["o"]]
    assert queue.talk("r", {"free": 2})["more"] is False
    queue.complete("r", {"done": True})
    assert queue.outcomes == {**dict.fromkeys("abde", "done"), "c": "diverged"}


def test_a_lane_that_is_granted_is_as_it_would_be_handed_out() -> None:
    second = lane("b", attempt=2, first_epoch=3, checkpoint="here", checkpoint_lane=1)
    second.follows = [(1, "before")]
    queue = queue_of(pack(lane("a"), second, width=1))
    handed(queue)
    (found,) = queue.talk("r", {"free": 1})["lanes"]
    assert Lane(**found) == second


def test_more_is_said_while_others_wait_for_a_parent() -> None:
    queue = queue_of(pack(lane("p"), program="q"), pack(lane("a"), lane("c", "p"), width=2))
    handed(queue, "parent")
    handed(queue)
    assert queue.talk("r", {"free": 1}) == {
        "verdicts": {}, "lanes": [], "more": True, "stop": False
    }  # fmt: skip
    queue.report("parent", {"ended": {"p": "done"}})
    answer = queue.talk("r", {"free": 1})
    assert [one["trial_id"] for one in answer["lanes"]] == ["c"]
    assert answer["more"] is False


def test_a_worker_without_a_pack_has_its_share() -> None:
    """Ten ready trials and three workers: at most four, three and three; once all have packs, a
    worker takes what its slots hold."""
    queue = queue_of(pack(*(lane(f"t{n}") for n in range(10)), width=8), workers=3)
    assert handed(queue, "r").trial_ids == ["t0", "t1", "t2", "t3"]
    assert granted(queue, 4) == ["t4", "t5"], "two others are still to come"
    assert handed(queue, "s").trial_ids == ["t6", "t7"]
    assert handed(queue, "t").trial_ids == ["t8", "t9"]


@pytest.mark.parametrize(("others", "taken"), [(0, 2), (1, 4), (2, 4)])
def test_other_programs_leave_a_worker_its_whole_pack(others: int, taken: int) -> None:
    first = pack(*(lane(f"t{n}") for n in range(4)), width=4)
    rest = [pack(lane(f"o{n}"), program=f"q{n}") for n in range(others)]
    queue = queue_of(first, *rest, workers=2)
    assert len(handed(queue).lanes) == taken


def test_within_an_epoch_of_data_that_stream_lanes_of_one_step_go_together() -> None:
    late = [lane(name, attempt=1, memo={"step": 3}) for name in "ab"]
    queue = queue_of(pack(*late, width=4), pack(lane("c"), lane("d"), width=4))
    assert handed(queue, "r").trial_ids == ["a", "b"]
    assert granted(queue, 2) == ["c", "d"], "at its next epoch"
    mixed = queue_of(pack(lane("c"), *late, lane("d"), width=4))
    assert handed(mixed, "r").trial_ids == ["c", "d"]
    assert granted(mixed, 2) == [], "within their epoch they join nobody"
    assert handed(mixed, "s").trial_ids == ["a", "b"]


def test_a_function_s_process_takes_no_second_trial() -> None:
    queue = queue_of(pack(lane("a"), lane("b"), width=1, strategy=HOST))
    handed(queue)
    assert granted(queue, 1, ended={"a": "done"}) == []


def test_a_worker_that_nobody_knows_or_needs_is_told_to_stop() -> None:
    queue = queue_of(pack(lane("a"), lane("b"), width=1))
    handed(queue)
    nothing = {"verdicts": {}, "lanes": [], "more": False, "stop": True}
    assert queue.talk("stranger", {"free": 1, "ended": {"a": "done"}}) == nothing
    assert queue.outcomes == {}
    queue.stop()
    assert queue.talk("r", {"free": 1, "ended": {"a": "done"}}) == nothing
    assert queue.outcomes == {"a": "done"}


def test_what_a_worker_did_not_hear_of_comes_again_after_a_good_end() -> None:
    queue = queue_of(pack(lane("a"), lane("b"), lane("c"), width=1))
    handed(queue)
    assert granted(queue, 1, ended={"a": "done"}) == ["b"]
    queue.complete("r", {"done": True})  # the answer was lost
    again = handed(queue)
    assert [(one.trial_id, one.attempt) for one in again.lanes] == [("b", 1)]
    queue.complete("r", {"superseded": True, "done": True})
    assert names(queue) == [["c"]], "somebody else has it"


def test_values_with_which_nothing_can_be_made_are_given_up_in_waiting_trials_too() -> None:
    lost: list[str] = []
    lanes = [Lane(name, {"init": "y" if name in "bc" else "x"}) for name in "abcd"]
    queue = queue_of(
        pack(*lanes, width=1), on_lost=lambda given, why, error: lost.extend(given.trial_ids)
    )
    handed(queue)
    assert granted(queue, 1, ended={"a": "done"}) == ["b"]
    report: dict[str, Any] = {"ended": {"b": "failed"}, "reasons": {"b": "no y"}}
    assert granted(queue, 1, **report, unmakeable=[["no y", [{"init": "y"}]]]) == ["d"]
    assert queue.outcomes == {"a": "done", "b": "failed", "c": "failed"}
    assert queue.reasons == {"b": "no y", "c": "no y"}
    assert lost == ["c"], "the other was said by its worker"


def test_slots_are_counted_while_trials_wait() -> None:
    queue = queue_of(pack(lane("a"), lane("b"), lane("c"), width=2))
    handed(queue)
    queue.talk("r", {"trained": 7, "slots": 8, "free": 0})
    queue.talk("r", {"trained": 1, "slots": 2, "ended": {"a": "done"}, "free": 1})
    queue.talk("r", {"trained": 1, "slots": 2, "free": 0})
    assert queue.slots == {"used": 8, "all": 10}
