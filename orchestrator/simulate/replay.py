"""A launch replayed: the real queue of packs, with simulated nodes, workers and clock (simpy)."""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import simpy

from orchestrator.errors import RequestError
from orchestrator.plan.packs import Lane, PackSpec
from orchestrator.queue.queue import REPORT_S, PackQueue
from orchestrator.simulate.cluster import Cluster
from orchestrator.simulate.pace import Pace
from orchestrator.simulate.publishing import Course, LaneWork, Tally

HANDOVER_S = 0.1
"""From a pack's end to the next one's start on the same worker: the median of 28 hand-overs of a
launch on a local Ray (0.03 to 0.3 s)."""

_FUTILE = 1_000
"""Preemptions in a row that left no pack further than it was, after which none will get there."""


@dataclass(eq=False)
class _Node:
    """One machine from its start to its preemption; `programs`: when each is, or was, compiled."""

    up: float
    free: int = 0
    programs: dict[str, float] = field(default_factory=dict)
    running: dict[str, simpy.Process] = field(default_factory=dict)


Events = Generator[simpy.Event, Any, None]
T = TypeVar("T")


class Replay:
    """Plays a queue of packs on a cluster; `run` once.

    Args:
      packs, epochs, passed, outcomes, reasons: as in `PackQueue`.
      work: by trial. paces: by program.
    """

    def __init__(
        self,
        cluster: Cluster,
        packs: Sequence[PackSpec],
        work: Mapping[str, LaneWork],
        paces: Mapping[str, Pace],
        epochs: dict[str, int],
        passed: set[str] | None = None,
        outcomes: dict[str, str] | None = None,
        reasons: dict[str, str] | None = None,
    ):
        self.cluster = cluster
        self.tally = Tally()
        self.queue_s = 0.0
        """Real seconds spent inside the queue: the driver's share of the launch."""
        self.ended: dict[str, float] = {}
        """trial -> simulated time of its end, as its worker would have published it."""
        self.started: dict[str, float] = {}
        """trial -> simulated time at which its first attempt was handed out."""
        self.queue = PackQueue(
            list(packs),
            epochs,
            passed or set(),
            "simulated",
            self._refresh,
            on_start=self._on_start,
            on_lost=self._on_lost,
            outcomes=outcomes or {},
            reasons=reasons or {},
            workers=cluster.nodes * cluster.slots,
        )
        self._work = work
        self._paces = paces
        self._env = simpy.Environment()
        self._over = self._env.event()
        self._nodes: set[_Node] = set()
        self._waiting: deque[_Node] = deque()
        self._resume: dict[str, int] = {}
        self._shared: dict[str, float] = {}
        self._runners = 0
        self._futile = 0

    def run(self) -> Tally:
        """Plays the launch to its end.

        Raises:
          RequestError: nodes are preempted before any pack gets further.
        """
        for number in range(self.cluster.nodes):
            self._env.process(self._node(random.Random(f"{self.cluster.seed}/{number}")))
        self._hand_out()
        self._env.run(until=self._over)
        now = self._env.now if self.tally.attempts else 0.0
        self.tally.makespan_s = now
        self.tally.paid_s += sum(now - node.up for node in self._nodes) * self.cluster.slots
        return self.tally

    # ---- what the queue is told of the store -----------------------------------------------------

    def _refresh(self, pack: PackSpec) -> tuple[list[Lane], dict[str, str]]:
        left = [
            replace(
                lane,
                attempt=lane.attempt + 1,
                first_epoch=self._resume.get(lane.trial_id, lane.first_epoch),
            )
            for lane in pack.lanes
            if lane.trial_id not in self.ended
        ]
        return left, {i: "done" for i in pack.trial_ids if i in self.ended}

    def _on_start(self, pack: PackSpec) -> None:
        self.tally.attempts += 1

    def _on_lost(self, pack: PackSpec, why: str, error: str | None) -> None:
        rows = self.tally.rows
        rows["trials"] = rows.get("trials", 0.0) + len(pack.lanes)
        self.tally.parts["trials"] += 1

    def _ask(self, call: Callable[..., T], *words: Any) -> T:
        begun = time.perf_counter()
        try:
            return call(*words)
        finally:
            self.queue_s += time.perf_counter() - begun

    # ---- nodes -----------------------------------------------------------------------------------

    def _node(self, draw: random.Random) -> Events:
        """One place in the cluster: a node, its preemption, the next node."""
        rate = self.cluster.preempt_rate / 3600
        while True:
            node = _Node(self._env.now)
            self._nodes.add(node)
            life = draw.expovariate(rate) if rate else math.inf
            yield self._env.timeout(min(life, self.cluster.startup_s))
            if life > self.cluster.startup_s:
                node.free = self.cluster.slots
                self._waiting.append(node)
                self._hand_out()
                if not rate:
                    return
                yield self._env.timeout(life - self.cluster.startup_s)
            self._preempt(node)
            yield self._env.timeout(self.cluster.restart_s)

    def _preempt(self, node: _Node) -> None:
        self._nodes.discard(node)
        node.free = 0
        self.tally.preemptions += 1
        self.tally.paid_s += (self._env.now - node.up) * self.cluster.slots
        self._futile += 1
        if self._futile > _FUTILE + 100 * self.cluster.nodes:
            raise RequestError(
                f"no pack ever gets further: a node takes {self.cluster.startup_s:g} s to start, "
                f"is preempted {self.cluster.preempt_rate:g} times an hour, and resume points are "
                f"{self.cluster.checkpoint_s:g} s apart; lower --preempt-rate or "
                "--checkpoint-seconds"
            )
        for process in node.running.values():
            process.interrupt()
        self._env.process(self._notice(list(node.running)))

    def _notice(self, runners: list[str]) -> Events:
        """The driver finds out that a node's workers are dead."""
        yield self._env.timeout(self.cluster.detect_s)
        for runner in runners:
            self._ask(self.queue.complete, runner, {"gone": True})
        self._hand_out()

    def _hand_out(self) -> None:
        """Packs to all waiting workers, as far as any is ready; the end, if nothing is left."""
        while self._waiting:
            node = self._waiting[0]
            if not node.free:
                self._waiting.popleft()
                continue
            self._runners += 1
            runner = str(self._runners)
            pack = self._ask(self.queue.next, runner)
            if pack is None:
                break
            node.free -= 1
            self._waiting.rotate(-1)
            node.running[runner] = self._env.process(self._pack(node, runner, pack))
        if not self.queue.running and not self._over.triggered and self.queue.exhausted:
            self._over.succeed()

    # ---- packs -----------------------------------------------------------------------------------

    def _pack(self, node: _Node, runner: str, pack: PackSpec) -> Events:
        """One attempt of a pack on a worker of `node`."""
        pace = self._paces[pack.program]
        programs = self._shared if self.cluster.shared_cache else node.programs
        cached = pack.program in programs
        compiled = programs.setdefault(pack.program, self._env.now + HANDOVER_S + pace.compile_s)
        # Another worker may be compiling it at this moment.
        waits = max(0.0, compiled - self._env.now)
        start = waits + HANDOVER_S + pace.cached_s if cached else waits
        taken, course = self._env.now, Course(pace, self.cluster.checkpoint_s)
        names = self._take(course, pack.lanes)
        begun = taken + start
        try:
            yield self._env.timeout(start)
            self.tally.cached += cached
            self.tally.compiled += not cached
            self.tally.start_s += start
            names += self._told(course, runner, pack, [])
            while course.active:
                self._hand_out()
                begun, coming = self._env.now, course.next
                yield self._env.timeout(coming.seconds)
                self.tally.add_whole(coming)
                self._count(coming.epoch_s, coming.seconds)
                names += self._told(course, runner, pack, [names[i] for i in course.finish()])
        except simpy.Interrupt:
            if self._env.now < compiled and not cached:
                programs.pop(pack.program, None)
            if begun > self._env.now:
                self.tally.start_s += self._env.now - taken
            self._lose(course, names, self._env.now - begun)
            return
        del node.running[runner]
        self._ask(self.queue.complete, runner, {"done": True})
        node.free += 1
        self._waiting.append(node)
        self._hand_out()

    def _take(self, course: Course, lanes: Sequence[Lane]) -> list[str]:
        """Trials get slots: their names."""
        course.take([(self._work[lane.trial_id], lane.first_epoch) for lane in lanes])
        for lane in lanes:
            self.started.setdefault(lane.trial_id, self._env.now)
        return [lane.trial_id for lane in lanes]

    def _told(self, course: Course, runner: str, pack: PackSpec, ended: Sequence[str]) -> list[str]:
        """The driver hears that these trials have ended; the names of those that take slots."""
        if ended:
            self._futile = 0
        for name in ended:
            assert name not in self.ended, f"trial {name} ended twice"
            self.ended[name] = self._env.now
        report = {
            "signature": {"strategy": pack.strategy},
            "ended": dict.fromkeys(ended, "done"),
            "free": pack.width - len(course.active),
        }
        answer = self._ask(self.queue.talk, runner, report)
        return self._take(course, [Lane(**lane) for lane in answer["lanes"]])

    def _lose(self, course: Course, names: Sequence[str], trained: float) -> None:
        """A pack died so many seconds after its coming segment began."""
        cut = course.cut(trained)
        for number, epoch in cut.resume.items():
            if epoch > self._resume.get(names[number], 0):
                self._futile = 0
            self._resume[names[number]] = epoch
        tally = self.tally
        tally.add(cut.marks)
        tally.lost_packs += 1
        tally.redone_epochs += cut.epochs
        tally.redone_s += cut.seconds
        tally.redone_rows += cut.rows
        self._count(course.next.epoch_s, max(0.0, trained))

    def _count(self, epoch_s: float, trained: float) -> None:
        self.tally.train_s += trained
        self.tally.reports += math.ceil(trained / max(REPORT_S, epoch_s))
