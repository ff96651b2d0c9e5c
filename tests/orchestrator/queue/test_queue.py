"""What a queue hands out, in which order, and what it takes in of reports."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest

from orchestrator.plan.packs import Lane, PackSpec
from orchestrator.queue import queue as queueing
from results import StoreError
from tests.support.queues import SIGNATURE, handed, lane, names, pack, queue_of


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
    queue = queue_of(pack(lane("a")), pack(lane("b")), pack(lane("c")))
    assert [found.trial_ids for n in "123" if (found := queue.next(n))] == [["a"], ["b"], ["c"]]


def test_a_forced_strategy_is_not_replaced_by_the_first_pack_s() -> None:
    queue = queue_of(pack(lane("a"), lane("b"), width=1, strategy="vmap"))
    queue.next("r1")
    queue.report("r1", {"trained": 0, "signature": {"strategy": "sequential", "width": 1}})
    assert handed(queue, "r2").strategy == "vmap"


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
    rest = queue.next("t")
    assert rest is not None
    assert rest.trial_ids == ["e"]
    assert names(queue) == [["d"]]
    gate = {"q": "loss 9 above the gate"}
    queue.complete("r", {"ended": {"q": "gate_failed"}, "reasons": gate, "done": True})
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


def test_progress_is_that_of_each_trial_and_at_most_the_whole() -> None:
    queue = queue_of(pack(lane("a"), lane("b"), lane("c")), epochs={"b": 10})
    handed(queue)
    queue.report("r", {"signature": SIGNATURE, "trained": 0})  # before its first epoch
    assert queue.snapshot().epochs_done == 0
    for epochs, done in (
        ({"a": 1, "b": 0, "c": 2}, 3), ({"a": 4, "b": 9, "c": 3}, 16), ({"a": 26, "b": 26}, 17)
    ):  # fmt: skip
        queue.report("r", {"epochs": epochs})
        now = queue.snapshot()
        assert now.epochs_done == done <= now.epochs_total == 18
    queue.complete("r", {"ended": dict.fromkeys("abc", "done"), "done": True})
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


def test_a_child_of_a_parent_that_passed_before_this_launch_starts_at_once() -> None:
    child = pack(lane("c", "p"))
    queue = queue_of(child, passed={"p"})
    assert handed(queue).trial_ids == ["c"]
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
    queue.stop()
    queue.report("r", {"ended": {"p": status}} if status else {"trained": 0})
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
    queue.report("r", {"epochs": {"b": 2, "c": 1}, "ended": {"a": "diverged"}})
    now = queue.snapshot()
    assert (now.trials, now.running, now.counts) == (3, 2, Counter(diverged=1))
    assert (now.epochs_done, now.epochs_total) == (4 + 2 + 1, 12)


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
