"""Trials at rungs: what a judge has said of them, and which wait for its word outside a slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from orchestrator.plan.packs import Lane
from orchestrator.pruning.judge import Judge, Reached, Verdict
from orchestrator.queue.waiting import Group


class Paused(NamedTuple):
    """A trial that waits for its verdict, with the lane that goes out when it may go on. `row`: the
    end of the attempt that paused, where a worker of this launch had it."""

    group: Group
    lane: Lane
    row: dict[str, Any] | None


class Rungs:
    """Asks a judge, and keeps what it says until it can be done: a trial that is to wait has its
    slot until the worker has written where it goes on."""

    def __init__(self, judge: Judge | None):
        self._judge = judge
        self._paused: dict[str, Paused] = {}
        self._said: dict[str, Verdict] = {}

    @property
    def waiting(self) -> int:
        """How many trials wait for a verdict outside a slot."""
        return len(self._paused)

    def prepare(self, lanes: Sequence[Lane]) -> dict[str, list[int]]:
        """Tells lanes which of their rungs are to come. Returns all rungs by trial."""
        if self._judge is None:
            return {}
        found = {}
        for lane in lanes:
            found[lane.trial_id] = rungs = self._judge.rungs(lane.trial_id)
            lane.rungs = [rung for rung in rungs if rung > lane.first_epoch]
            lane.metric = self._judge.metric(lane.trial_id) if rungs else None
        return found

    def asked(self, reached: Sequence[Reached]) -> dict[str, Verdict]:
        """Verdicts on trials that have come to a rung."""
        if self._judge is None or not reached:
            return {}
        for one in reached:
            self._said.pop(one.trial_id, None)
        return self._judge.ask(reached)

    def pause(self, group: Group, lane: Lane, row: dict[str, Any] | None = None) -> None:
        """A trial waits for its verdict outside a slot."""
        group.held += 1
        self._paused[lane.trial_id] = Paused(group, lane, row)

    def ended(self, trial_id: str, status: str) -> None:
        """A trial has ended, so that none waits for it."""
        if self._judge is not None and status != "pruned":
            self._judge.ended(trial_id, status)

    def settled(self) -> list[tuple[Paused, Verdict]]:
        """Removes and returns the trials that waited and wait no longer."""
        if self._judge is None:
            return []
        self._said |= self._judge.settled()
        found = []
        for trial_id in self._said.keys() & self._paused.keys():
            one = self._paused.pop(trial_id)
            one.group.held -= 1
            found.append((one, self._said.pop(trial_id)))
        return sorted(found, key=lambda one: one[0].lane.trial_id)
