"""The packs of a launch: which may start, which wait, which come again. No Ray here."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.packing import Lane, PackSpec
from trainables.spec import digest

MAX_ERRORS = 2
MAX_DEATHS = 5
REPORT_S = 1.0
"""A worker reports to the driver after the epoch that ends this long after its last report."""
PASSED = frozenset({"done", "stopped"})

Refresh = Callable[[PackSpec], tuple[list[Lane], dict[str, str]]]
"""The lanes of a lost pack that still have to run, with new attempts and newest checkpoints; and
the status of those that have ended by what the store holds, reported or not."""


@dataclass
class Snapshot:
    """Where a launch stands."""

    trials: int
    counts: Counter[str]
    running: int
    epochs_done: int
    epochs_total: int
    seconds: float


@dataclass
class PackQueue:
    """Hands out packs and takes in what became of them.

    A pack is ready when the parents of its lanes have ended; lanes of a failed parent are blocked.
    Packs of a program nobody has compiled yet wait for the first of them: it settles the signature
    and warms the compile cache.
    """

    packs: list[PackSpec]
    epochs: dict[str, int]
    passed: set[str]
    launch_id: str
    refresh: Refresh
    on_start: Callable[[PackSpec], None] = lambda pack: None
    on_lost: Callable[[list[Lane], str], None] = lambda lanes, why: None
    signatures: dict[str, dict[str, Any]] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    running: dict[str, PackSpec] = field(default_factory=dict)
    compiles: Counter[str] = field(default_factory=Counter)
    stopping: bool = False
    fatal: str | None = None

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._begun = time.monotonic()
        self._progress: dict[str, int] = {}
        self._compiled: set[str] = set()
        self._counted: set[str] = set()

    def next(self, runner: str) -> PackSpec | None:
        """A pack for `runner`, or None when none is ready."""
        with self._lock:
            if self.stopping:
                return None
            for pack in list(self.packs):
                if not self._ready(pack):
                    continue
                self.packs.remove(pack)
                pack.lanes = [lane for lane in pack.lanes if not self._blocked(lane)]
                if not pack.lanes:
                    continue
                known = self.signatures.get(pack.program)
                if known and pack.strategy in ("default", "calibrate"):
                    pack.strategy = known["strategy"]
                pack.generation = f"{self.launch_id}:{pack.tries}"
                self.running[runner] = pack
                self.on_start(pack)
                return pack
            return None

    def _ready(self, pack: PackSpec) -> bool:
        if any(p not in self.outcomes and p not in self.passed for p in pack.parents):
            return False
        compiling = {p.program for p in self.running.values()} - self._compiled
        return pack.program not in compiling

    def _blocked(self, lane: Lane) -> bool:
        parent = lane.parent_id
        if parent is None or parent in self.passed or self.outcomes.get(parent) in PASSED:
            return False
        status = self.outcomes[parent]
        why = self.reasons.get(parent)
        self.outcomes[lane.trial_id] = "blocked"
        self.reasons[lane.trial_id] = f"parent {parent} {status}" + (f": {why}" if why else "")
        return True

    @property
    def exhausted(self) -> bool:
        """Nothing waits any more, or nothing may start, or what waits does so for parents that
        nobody runs: a launch must end."""
        with self._lock:
            stuck = not self.running and not any(self._ready(pack) for pack in self.packs)
            return self.stopping or stuck

    def report(self, runner: str, result: dict[str, Any]) -> None:
        """Takes in one report of a running pack."""
        with self._lock:
            pack = self.running.get(runner)
            if pack is None:
                return
            if result.get("signature"):
                self.signatures[pack.program] = result["signature"]
                self._compiled.add(pack.program)
            if runner not in self._counted:  # a last report may come twice
                self._counted.add(runner)
                self.compiles.update(result.get("compiles", {}))
            self.outcomes.update(result.get("ended", {}))
            self.reasons.update(result.get("reasons", {}))
            for lane in pack.lanes:
                done = self.epochs[lane.trial_id]
                if lane.trial_id not in self.outcomes:
                    done = min(result.get("epoch", -1) + 1, done)
                self._progress[lane.trial_id] = done

    def complete(self, runner: str, result: dict[str, Any] | None) -> None:
        """A pack has ended; `result` is its last report, None if its worker died."""
        with self._lock:
            if result:
                self.report(runner, result)
            pack = self.running.pop(runner, None)
            if pack is None:
                return
            failure = (result or {}).get("failure")
            # A worker told to leave (a spot machine's notice) while the launch goes on is a death.
            told = bool(result and result.get("interrupted")) and not self.stopping
            if result and not failure and not told:
                return
            if failure == "fatal":
                self.fatal = result["error"] if result else None
                self.stopping = True
                return
            left, ended = self.refresh(pack)
            self.outcomes = {**ended, **self.outcomes}
            lanes = [lane for lane in left if lane.trial_id not in self.outcomes]
            if not lanes:
                return
            if failure == "memory" and pack.width > 1:
                half = -(-pack.width // 2)
                self._again(pack, lanes, width=half, tries=0)
            elif pack.tries + 1 < (MAX_ERRORS if failure else MAX_DEATHS):
                self._again(pack, lanes, width=pack.width, tries=pack.tries + 1)
            else:
                self._give_up(lanes, None if told else result, pack)

    def _again(self, pack: PackSpec, lanes: list[Lane], width: int, tries: int) -> None:
        """Queues the lanes, first in line, one pack per resume epoch and `width`. Waiting packs of
        the program get the new width too: the old one would fail them as well."""
        by_epoch: dict[int, list[Lane]] = {}
        for lane in lanes:
            by_epoch.setdefault(lane.first_epoch, []).append(lane)
        again = [_cut(pack, members, width, tries) for members in by_epoch.values()]
        self.packs = [*(part for parts in again for part in parts), *self.packs]
        if width != pack.width:
            self.signatures.pop(pack.program, None)
            waiting = [p for p in self.packs if p.program == pack.program and p.width > width]
            self.packs = [p for p in self.packs if p not in waiting]
            for other in waiting:
                self.packs += _cut(other, other.lanes, width, other.tries)

    def _give_up(self, lanes: list[Lane], result: dict[str, Any] | None, pack: PackSpec) -> None:
        why = f"its worker died {pack.tries + 1} times (killed, or out of memory); launch again"
        if result:
            why = str(result["reason"])
        if not result or result["failure"] == "memory":
            self.on_lost(lanes, why)  # their worker could not say so itself
        for lane in lanes:
            self.outcomes[lane.trial_id] = "failed"
            self.reasons[lane.trial_id] = why

    def block_the_rest(self) -> None:
        """At the end of a launch: lanes that never became ready are blocked by their parents."""
        with self._lock:
            for pack in self.packs:
                for lane in pack.lanes:
                    if lane.parent_id in self.outcomes:
                        self._blocked(lane)

    def stop(self) -> None:
        """No further pack starts."""
        with self._lock:
            self.stopping = True

    def snapshot(self) -> Snapshot:
        with self._lock:
            running = [lane.trial_id for pack in self.running.values() for lane in pack.lanes]
            return Snapshot(
                len(self.epochs),
                Counter(self.outcomes.values()),
                sum(trial_id not in self.outcomes for trial_id in running),
                sum(self._progress.values()),
                sum(self.epochs.values()),
                time.monotonic() - self._begun,
            )


def _cut(pack: PackSpec, lanes: list[Lane], width: int, tries: int) -> list[PackSpec]:
    """Packs like `pack` of at most `width` of the lanes each."""
    found = []
    for first in range(0, len(lanes), width):
        part = lanes[first : first + width]
        name = digest([[lane.trial_id, lane.attempt] for lane in part], 12)
        found.append(replace(pack, id=name, lanes=part, width=width, tries=tries))
    return found
