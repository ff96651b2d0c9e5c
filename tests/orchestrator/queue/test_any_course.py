"""Launches of made-up workers that train, pause, prune, pass, fail, leave and die in any order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.plan.packs import Lane, PackSpec
from orchestrator.plan.paused import PausedTrial
from orchestrator.pruning.judge import Reached, Verdict
from orchestrator.queue.losses import MAX_DEATHS, MAX_ERRORS
from orchestrator.queue.queue import PASSED, PackQueue
from tests.support.queues import END, SIGNATURE, lane, pack

ENDS = ("done", "done", "done", "stopped", "diverged", "gate_failed")
EPOCHS, RUNG = 10, 4


class Halving:
    """Of the trials of a program the better half goes on, once all have come to the rung or have
    ended. Nothing of it depends on when they come."""

    def __init__(self, judged: Sequence[str], values: Mapping[str, float]):
        self.values = values
        self.left = set(judged)
        self.here: set[str] = set()
        self.decided: dict[str, Verdict] = {}
        self.news: dict[str, Verdict] = {}

    def metric(self, trial_id: str) -> str:
        return "loss"

    def rungs(self, trial_id: str) -> list[int]:
        return [RUNG] if trial_id in self.left | self.here | self.decided.keys() else []

    def ask(self, reached: Sequence[Reached]) -> dict[str, Verdict]:
        for one in reached:
            assert one.epochs == RUNG
            assert one.value == self.values[one.trial_id]
            if one.trial_id in self.left:
                self.left.discard(one.trial_id)
                self.here.add(one.trial_id)
        self._decide()
        for one in reached:
            self.news.pop(one.trial_id, None)
        return {one.trial_id: self.decided.get(one.trial_id, "wait") for one in reached}

    def ended(self, trial_id: str, status: str) -> None:
        assert status != "pruned"
        self.left.discard(trial_id)
        self.here.discard(trial_id)
        self._decide()

    def settled(self) -> dict[str, Verdict]:
        news, self.news = self.news, {}
        return news

    def _decide(self) -> None:
        if self.left or not self.here:
            return
        order = sorted(self.here, key=lambda name: (self.values[name], name))
        keep = set(order[: max(1, len(order) // 2)])
        found: dict[str, Verdict] = {n: "go" if n in keep else "prune" for n in order}
        self.decided |= found
        self.news |= found
        self.here = set()


@dataclass
class Slotted:
    """A worker: its lanes with the epochs they have done, and what it must still do or say."""

    width: int
    alone: bool
    lanes: dict[str, int]
    attempts: dict[str, int]
    unsaid: dict[str, str] = field(default_factory=dict)
    paused: dict[str, str] = field(default_factory=dict)

    @property
    def free(self) -> int:
        return self.width - len(self.lanes)


@dataclass
class World:
    """A forest of trials, workers that do anything, and what they published."""

    draw: random.Random
    packs: list[PackSpec]
    parents: dict[str, str | None]
    judged: list[str]
    trouble: float
    workers: int
    published: dict[str, str] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    epoch: dict[str, int] = field(default_factory=dict)
    handed: Counter[str] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)
    attempts: set[tuple[str, int]] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    at: dict[str, Slotted] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = {name: self.draw.random() for name in self.parents}
        self.judge = Halving(self.judged, values)
        self.queue = PackQueue(
            self.packs, dict.fromkeys(self.parents, EPOCHS), set(), "launch", self.refresh,
            on_lost=self.on_lost, workers=self.workers, judge=self.judge, reached=self.reached,
            on_pruned=self.on_pruned,
        )  # fmt: skip

    # ---- the store -------------------------------------------------------------------------------

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

    def reached(self, lanes: Sequence[Lane], rungs: Mapping[str, Sequence[int]]) -> list[Reached]:
        return [
            Reached(one.trial_id, one.first_epoch, self.judge.values[one.trial_id])
            for one in lanes
            if one.first_epoch in rungs[one.trial_id]
        ]

    def on_lost(self, pack: PackSpec, why: str, error: str | None) -> None:
        self.lost |= set(pack.trial_ids)

    def on_pruned(self, lanes: Sequence[Lane], rows: Mapping[str, Any]) -> None:
        for one in lanes:
            assert one.trial_id not in self.published
            self.published[one.trial_id] = "pruned"

    # ---- workers ---------------------------------------------------------------------------------

    def start(self, lanes: Sequence[Lane]) -> None:
        """What holds of every lane that gets a slot."""
        busy = Counter(i for p in self.queue.running.values() for i in p.trial_ids)
        for one in lanes:
            assert busy[one.trial_id] == 1
            assert one.trial_id not in self.queue.outcomes
            assert (one.trial_id, one.attempt) not in self.attempts
            assert (
                one.rungs
                == ([RUNG] if one.trial_id in self.judged else [])[: one.first_epoch < RUNG]
            )
            self.attempts.add((one.trial_id, one.attempt))
            self.handed[one.trial_id] += 1
            self.paused.discard(one.trial_id)
            parent = self.parents[one.trial_id]
            assert parent is None or self.published[parent] in PASSED

    def hand_out(self, runner: str) -> None:
        given = self.queue.next(runner)
        if given is None:
            return
        assert 1 <= len(given.lanes) <= given.width
        self.start(given.lanes)
        self.at[runner] = Slotted(
            given.width,
            given.alone,
            {one.trial_id: one.first_epoch for one in given.lanes},
            {one.trial_id: one.attempt for one in given.lanes},
        )

    def advance(self, runner: str) -> None:
        """One thing happens to a worker: a report and its answer, an end, or some trouble."""
        worker = self.at[runner]
        ended, held = {}, []
        for name in list(worker.lanes):
            goal = RUNG if name in self.judged and worker.lanes[name] < RUNG else EPOCHS
            worker.lanes[name] = self.draw.randint(worker.lanes[name], goal)
            if self.draw.random() < 0.2 or worker.lanes[name] == EPOCHS:
                ended[name] = self.draw.choice(ENDS)
                del worker.lanes[name]
            elif name in self.judged and worker.lanes[name] == RUNG == goal:
                held.append(name)
        self.published |= ended
        worker.unsaid |= ended
        if self.draw.random() < self.trouble:
            self.break_down(runner)
            return
        report: dict[str, Any] = {
            "ended": worker.unsaid,
            "paused": worker.paused,
            "epochs": dict(worker.lanes),
            "signature": {**SIGNATURE, "width": worker.width},
            "trained": 1,
            "free": worker.free,
            "at_rung": [[name, RUNG, self.judge.values[name]] for name in held],
        }
        worker.unsaid, worker.paused = {}, {}
        if not worker.lanes and self.draw.random() < 0.3:
            del self.at[runner]
            self.queue.complete(runner, {**report, "done": True})
            return
        answer = self.queue.talk(runner, report)
        if self.draw.random() < self.trouble:  # it dies before it hears the answer
            self.break_down(runner)
            return
        for name in held:
            verdict = answer["verdicts"][name]
            if verdict == "prune":
                self.published[name] = worker.unsaid[name] = "pruned"
                del worker.lanes[name]
            elif verdict == "wait":
                self.epoch[name] = RUNG
                self.paused.add(name)
                attempt = worker.attempts[name] + 1
                one = lane(name, self.parents[name], attempt=attempt, first_epoch=RUNG)
                worker.paused[name] = PausedTrial(one, END).to_text()
                del worker.lanes[name]
        granted = [Lane(**one) for one in answer["lanes"]]
        assert len(granted) <= worker.free
        assert not (granted and worker.alone)
        self.start(granted)
        for one in granted:
            worker.lanes[one.trial_id] = one.first_epoch
            worker.attempts[one.trial_id] = one.attempt
        self.no_slot_idles(runner)
        if not worker.lanes:
            del self.at[runner]
            self.queue.complete(
                runner, {"ended": worker.unsaid, "paused": worker.paused, "done": True}
            )

    def no_slot_idles(self, runner: str) -> None:
        """A worker has free slots only if nothing for them is ready, or another worker that has no
        pack will ask for it."""
        worker, running = self.at[runner], self.queue.running[runner]
        ready = self.queue.waiting.group(running).ready
        if worker.free and ready and not worker.alone:
            assert len(self.queue.running) < self.workers

    def break_down(self, runner: str) -> None:
        worker = self.at.pop(runner)
        left = self.queue.running[runner].trial_ids
        if self.draw.random() < 0.7:
            self.queue.report(runner, {"ended": worker.unsaid})
        for i in worker.lanes:
            self.epoch[i] = self.draw.choice([self.epoch.get(i, 0), worker.lanes[i]])
        kind = self.draw.choice(["died", "left", "gone", "error", "memory", "node", "lost"])
        if kind in ("left", "gone", "node", "lost"):
            self.excused.update(left)
        if kind == "died":
            self.queue.complete(runner, None)
        elif kind == "left":
            self.queue.complete(runner, {"interrupted": True, "done": True, "node": "n"})
        elif kind == "gone":
            self.queue.complete(runner, {"gone": True})
        elif kind == "lost":  # it ends well, but never heard of the trials that it was granted
            self.queue.complete(runner, {"done": True})
        else:
            self.queue.complete(
                runner, {"failure": kind, "error": "Traceback", "reason": f"{kind}!"}
            )

    def run(self) -> None:
        for _ in range(20_000):
            if self.queue.exhausted and not self.queue.running:
                break
            runner = f"r{self.draw.randrange(self.workers)}"
            if runner in self.at:
                self.advance(runner)
            else:
                self.hand_out(runner)
        else:
            pytest.fail("the launch does not end")


@st.composite
def worlds(draw: st.DrawFn) -> World:
    parents: dict[str, str | None] = {}
    packs = []
    above: list[str] = []
    judged: list[str] = []
    levels = draw(st.integers(1, 3))
    for level in range(levels):
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
    if draw(st.booleans()):
        judged = above  # nobody starts from these
    packs = draw(st.permutations(packs))
    rng = random.Random(draw(st.integers(0, 2**32)))
    trouble = draw(st.sampled_from([0.0, 0.2, 0.6]))
    return World(rng, list(packs), parents, judged, trouble, draw(st.integers(1, 4)))


@settings(max_examples=300)
@given(world=worlds())
def test_every_trial_ends_exactly_once_or_is_blocked(world: World) -> None:
    world.run()
    queue = world.queue
    assert not queue.waiting.ready
    assert not any(group.waits for group in queue.waiting.groups.values())
    for name, parent in world.parents.items():
        status = world.published.get(name) or queue.outcomes[name]
        assert queue.outcomes[name] == status
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
            assert status in (*ENDS, "pruned")
            assert world.handed[name] >= 1
            if world.trouble == 0 and name not in world.judged:
                assert world.handed[name] == 1
        if name in world.judge.decided:
            assert (status == "pruned") == (
                world.judge.decided[name] == "prune"
            ) or status == "failed"
        # At each of at most four widths: deaths, errors, and the halvings of five lanes by both.
        tries = 4 * (MAX_DEATHS + MAX_ERRORS + 2 * 3)
        assert world.handed[name] - world.excused[name] <= tries + (name in world.judged)
