"""Trials that are judged at rungs: in their slots, outside of them, and as a launch begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from orchestrator.plan.packs import Lane, PackSpec
from orchestrator.pruning.judge import Reached, Verdict
from orchestrator.queue.queue import PackQueue
from results import StoreError
from tests.support.queues import handed, lane, names, pack, paused, queue_of

RUNGS = [2, 4]


class Judge:
    """Says what a test has told it to."""

    def __init__(self) -> None:
        self.says: dict[str, Verdict] = {}
        self.news: dict[str, Verdict] = {}
        self.heard: list[Any] = []

    def metric(self, trial_id: str) -> str:
        return "val_loss"

    def rungs(self, trial_id: str) -> list[int]:
        return [] if trial_id.startswith("p") else RUNGS

    def ask(self, reached: Sequence[Reached]) -> dict[str, Verdict]:
        self.heard += [(one.trial_id, one.epochs, one.value) for one in reached]
        return {one.trial_id: self.says.get(one.trial_id, "wait") for one in reached}

    def ended(self, trial_id: str, status: str) -> None:
        self.heard.append((trial_id, status))

    def settled(self) -> dict[str, Verdict]:
        news, self.news = self.news, {}
        return news


@pytest.fixture
def judge() -> Judge:
    return Judge()


def judged(judge: Judge, *packs: PackSpec, **options: Any) -> PackQueue:
    """A queue whose refreshed lanes go on from the first rung."""

    def refresh(lost: PackSpec) -> tuple[list[Lane], dict[str, str]]:
        return [
            lane(one.trial_id, attempt=one.attempt + 1, first_epoch=2) for one in lost.lanes
        ], {}

    def reached(lanes: Sequence[Lane], rungs: Mapping[str, Sequence[int]]) -> list[Reached]:
        return [
            Reached(one.trial_id, one.first_epoch, 0.5)
            for one in lanes
            if one.first_epoch in rungs[one.trial_id]
        ]

    return queue_of(*packs, judge=judge, refresh=refresh, reached=reached, **options)


def at_rung(*names: str, **report: Any) -> dict[str, Any]:
    return {"at_rung": [[name, 2, 0.25] for name in names], "free": 0, **report}


def test_lanes_know_the_rungs_that_are_still_to_come(judge: Judge) -> None:
    judge.says = {"b": "go"}
    queue = judged(judge, pack(lane("a"), lane("b", attempt=1, first_epoch=2), lane("p")))
    lanes = {one.trial_id: one for one in handed(queue).lanes}
    assert {name: one.rungs for name, one in lanes.items()} == {"a": [2, 4], "b": [4], "p": []}
    assert (lanes["a"].metric, lanes["p"].metric) == ("val_loss", None)


def test_a_slot_that_a_verdict_frees_is_filled_in_the_same_answer(judge: Judge) -> None:
    judge.says = {"a": "go", "b": "prune"}
    queue = judged(judge, pack(*(lane(name) for name in "abcdef"), width=3))
    handed(queue)
    answer = queue.talk("r", at_rung("a", "b", "c"))
    assert answer["verdicts"] == {"a": "go", "b": "prune", "c": "wait"}
    assert [one["trial_id"] for one in answer["lanes"]] == ["d", "e"]
    assert judge.heard == [("a", 2, 0.25), ("b", 2, 0.25), ("c", 2, 0.25)]
    queue.talk("r", {"ended": {"b": "pruned"}, "paused": paused("c"), "free": 0})
    assert queue.outcomes == {"b": "pruned"}
    assert queue.snapshot().waiting == 1
    assert judge.heard[3:] == [], "it knows of what it has said itself"


@pytest.mark.parametrize("early", [True, False])
def test_a_trial_that_waited_goes_on_once_its_worker_has_let_go_of_it(
    judge: Judge, early: bool
) -> None:
    """The verdict may come before that; there is no resume point yet then."""
    queue = judged(judge, pack(lane("a"), lane("b"), width=1))
    handed(queue)
    queue.talk("r", at_rung("a"))
    if early:
        judge.news = {"a": "go"}
        queue.talk("r", {"free": 0})
        assert names(queue) == []
        queue.talk("r", {"paused": paused("a"), "free": 0})
    else:
        assert queue.talk("r", {"paused": paused("a"), "free": 0})["more"] is True
        judge.news = {"a": "go"}
        queue.talk("r", {"free": 0})
    assert queue.snapshot().waiting == 0
    (found,) = queue.talk("r", {"ended": {"b": "done"}, "free": 1})["lanes"]
    assert (found["trial_id"], found["attempt"], found["first_epoch"]) == ("a", 1, 2)
    assert found["rungs"] == [4]


def test_a_trial_that_waited_may_be_pruned_without_a_slot(judge: Judge) -> None:
    pruned: list[str] = []
    queue = judged(
        judge, pack(lane("a"), lane("b")), pack(lane("c", "b"), program="q"),
        on_pruned=lambda lanes, rows: pruned.extend(rows),
    )  # fmt: skip
    handed(queue)
    queue.talk("r", at_rung("a", "b"))
    judge.news = {"b": "prune"}
    queue.talk("r", {"paused": paused("a", "b"), "free": 0})
    assert pruned == ["b"]
    assert queue.outcomes == {"b": "pruned", "c": "blocked"}
    assert ("c", "blocked") in judge.heard
    assert ("b", "pruned") not in judge.heard


def test_the_judge_hears_of_every_other_end(judge: Judge) -> None:
    queue = judged(
        judge, pack(lane("a"), lane("b")), pack(lane("x")), outcomes={"before": "blocked"}
    )
    handed(queue)
    queue.report("r", {"ended": {"a": "diverged"}})
    queue.complete("r", {"ended": {"b": "done"}, "done": True})
    handed(queue)
    judge.says = {"x": "go"}
    queue.complete("r", {"failure": "node", "reason": "damaged"})
    judge.heard.remove(("x", 2, 0.5))
    assert judge.heard == [
        ("before", "blocked"), ("a", "diverged"), ("b", "done"), ("x", "failed")
    ]  # fmt: skip


def test_trials_that_stand_at_a_rung_are_judged_before_they_start(judge: Judge) -> None:
    """After a launch that was stopped; one that has come further or not as far goes on."""
    pruned: list[str] = []
    at = {"a": 2, "b": 2, "c": 2, "d": 3, "e": 0}
    judge.says = {"a": "go", "b": "prune"}
    queue = judged(
        judge, pack(*(lane(name, attempt=1, first_epoch=n) for name, n in at.items()), width=5),
        on_pruned=lambda lanes, rows: pruned.extend(one.trial_id for one in lanes),
    )  # fmt: skip
    assert judge.heard == [("a", 2, 0.5), ("b", 2, 0.5), ("c", 2, 0.5)]
    assert pruned == ["b"]
    assert handed(queue).trial_ids == ["a", "d", "e"]
    assert queue.snapshot().waiting == 1
    judge.news = {"c": "go"}
    (found,) = queue.talk("r", {"free": 1})["lanes"]
    assert (found["trial_id"], found["attempt"]) == ("c", 1), "no worker has had this attempt"


def test_a_worker_that_dies_before_it_lets_go_changes_no_verdict(judge: Judge) -> None:
    queue = judged(judge, pack(lane("a"), lane("b"), width=2))
    handed(queue)
    queue.talk("r", at_rung("a", "b"))
    judge.says, judge.news = {"a": "go", "b": "prune"}, {"a": "go", "b": "prune"}
    queue.complete("r", None)
    assert names(queue) == [["a"]]
    assert queue.outcomes == {"b": "pruned"}
    assert queue.snapshot().waiting == 0


def test_a_launch_ends_though_a_judge_never_says_its_word(judge: Judge) -> None:
    queue = judged(judge, pack(lane("a")))
    handed(queue)
    queue.talk("r", at_rung("a"))
    queue.complete("r", {"paused": paused("a"), "done": True})
    assert queue.exhausted
    assert queue.outcomes == {}


def test_a_decision_that_cannot_be_written_ends_the_launch(judge: Judge) -> None:
    queue = judged(judge, pack(lane("a")))
    handed(queue)

    def ask(reached: Sequence[Reached]) -> dict[str, Verdict]:
        raise StoreError("disk full")

    judge.ask = ask
    answer = queue.talk("r", at_rung("a"))
    assert (answer["stop"], answer["verdicts"]) == (True, {})
    assert queue.fatal == "disk full"
