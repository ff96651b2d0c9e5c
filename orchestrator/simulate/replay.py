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
from orchestrator.simulate.publishing import Journal, LaneWork, Tally, journal

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
        self.queue.block_the_rest()
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
        for trial_id in pack.trial_ids:
            self.started.setdefault(trial_id, self._env.now)

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
        lanes = tuple(self._work[lane.trial_id] for lane in pack.lanes)
        log = journal(lanes, pack.lanes[0].first_epoch, pace, self.cluster.checkpoint_s)
        taken, begun = self._env.now, self._env.now + start
        report: dict[str, Any] = {}
        try:
            yield self._env.timeout(start)
            self.tally.cached += cached
            self.tally.compiled += not cached
            for at, ended in log.reports():
                yield self._env.timeout(max(0.0, begun + at - self._env.now))
                report = self._reported(pack, ended)
                if at < log.seconds:
                    news = bool(ended) or pack.program not in self.queue.signatures
                    self._ask(self.queue.report, runner, report)
                    if news:  # else nothing can have become ready, and asking takes its time
                        self._hand_out()
        except simpy.Interrupt:
            if self._env.now < compiled and not cached:
                programs.pop(pack.program, None)
            self._lose(pack, log, self._env.now - taken, self._env.now - begun)
            return
        self.tally.add_whole(log)
        self._count(log, start, log.seconds)
        del node.running[runner]
        self._ask(self.queue.complete, runner, report)
        node.free += 1
        self._waiting.append(node)
        self._hand_out()

    def _reported(self, pack: PackSpec, ended: Sequence[int]) -> dict[str, Any]:
        """What a worker tells the driver: these lanes have ended since it last did."""
        names = [pack.lanes[lane].trial_id for lane in ended]
        if names:
            self._futile = 0
        for name in names:
            assert name not in self.ended, f"trial {name} ended twice"
            self.ended[name] = self._env.now
        return {"signature": {"strategy": pack.strategy}, "ended": dict.fromkeys(names, "done")}

    def _lose(self, pack: PackSpec, log: Journal, held: float, trained: float) -> None:
        """A pack died `held` seconds after it was handed out, `trained` after it could train."""
        cut = log.cut(trained)
        if cut.ended or cut.resume > log.first_epoch:
            self._futile = 0
        for lane, slot in enumerate(pack.lanes):
            if lane in cut.ended:  # published, though perhaps not reported any more
                self.ended.setdefault(slot.trial_id, self._env.now)
            else:
                self._resume[slot.trial_id] = cut.resume
        tally = self.tally
        tally.add(cut.marks)
        tally.lost_packs += 1
        tally.redone_epochs += cut.epochs
        tally.redone_s += cut.seconds
        tally.redone_rows += cut.rows
        trained = max(0.0, trained)
        self._count(log, held - trained, trained)

    def _count(self, log: Journal, start: float, trained: float) -> None:
        tally = self.tally
        tally.start_s += start
        tally.train_s += trained
        longest = max(REPORT_S, log.marks[0].epoch_s)
        tally.reports += math.ceil(trained / longest)
