"""Launches of made-up workers that pass, diverge, fail, leave and die, in any order."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.plan.packs import Lane, PackSpec
from orchestrator.queue.losses import MAX_DEATHS, MAX_ERRORS
from orchestrator.queue.queue import PASSED, PackQueue
from tests.support.queues import SIGNATURE, lane, pack

ENDS = ("done", "done", "done", "stopped", "diverged", "gate_failed")


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
