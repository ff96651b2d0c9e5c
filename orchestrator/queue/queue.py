"""The packs of a launch: which may start, which wait, which come again. No Ray here."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.plan.packs import Lane, PackSpec, has_any, pack_name
from orchestrator.queue.losses import MAX_DEATHS, MAX_ERRORS, MAX_MOVES, Death, Machines
from orchestrator.queue.pace import TRAINING, Pace, Snapshot
from orchestrator.units import counted
from results import StoreError

REPORT_S = 1.0
"""A worker reports to the driver after the epoch that ends this long after its last report."""
PASSED = frozenset({"done", "stopped"})

Refresh = Callable[[PackSpec], tuple[list[Lane], dict[str, str]]]
"""The lanes of a lost pack that still have to run, with new attempts and newest checkpoints; and
the status of those that have ended by what the store holds, reported or not."""


@dataclass
class PackQueue:
    """Hands out packs and takes in what became of them.

    A pack is ready when the parents of its lanes have ended; lanes of a failed parent are blocked.
    Workers of a node compile a program once (`compile_cache.once_per_node`).

    A pack that raised comes again in halves, padded to the same width, until the trial at fault is
    alone; but a program that cannot be made fails at once, with all trials that wait for it. One
    whose worker died comes again whole, until its deaths are too many, and then in
    halves too. A worker told to leave and a node that died count against no one. A node that
    cannot run a pack (a damaged data file, other versions) is avoided from then on: it stands in
    `avoid`, with the reason. A pack that took too long fails, and its program too where that was
    still being made.

    Attributes:
      post_mortem: asks what is known of the death of a pack's worker.
      keep_going: packs of a program that could not be made are tried all the same.
      untried: how many trials were given up without a try, by the reason.
    """

    packs: list[PackSpec]
    epochs: dict[str, int]
    passed: set[str]
    launch_id: str
    refresh: Refresh
    on_start: Callable[[PackSpec], None] = lambda pack: None
    on_end: Callable[[PackSpec], None] = lambda pack: None
    on_lost: Callable[[PackSpec, str, str | None], None] = lambda pack, why, error: None
    post_mortem: Callable[[PackSpec], Death] = lambda pack: Death()
    keep_going: bool = False
    machines: Machines = field(default_factory=Machines)
    tell: Callable[[str], None] = lambda line: None
    signatures: dict[str, dict[str, Any]] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    running: dict[str, PackSpec] = field(default_factory=dict)
    avoid: dict[str, str] = field(default_factory=dict)
    compiles: Counter[str] = field(default_factory=Counter)
    untried: Counter[str] = field(default_factory=Counter)
    stopping: bool = False
    fatal: str | None = None

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._begun = time.monotonic()
        self._progress: dict[str, int] = {}
        self._pace = Pace()
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
                if known and pack.strategy == "default":
                    pack.strategy = known["strategy"]
                pack.generation = f"{self.launch_id}:{pack.id}"
                with self._fatal_if_unwritable():
                    self.on_start(pack)
                    self.running[runner] = pack
                    self._pace.handed_out(runner, pack.program)
                    return pack
                return None
            return None

    def _ready(self, pack: PackSpec) -> bool:
        return all(p in self.outcomes or p in self.passed for p in pack.parents)

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
            if result.get("imported"):
                self._pace.imported(runner)
                return
            if result.get("signature"):
                self.signatures[pack.program] = result["signature"]
            if runner not in self._counted:  # a last report may come twice
                self._counted.add(runner)
                self.compiles.update(result.get("compiles", {}))
            if "epoch" in result:
                lanes = sum(lane.trial_id not in self.outcomes for lane in pack.lanes)
                self._pace.reported(runner, result["epoch"], lanes)
            self.outcomes.update(result.get("ended", {}))
            self.reasons.update(result.get("reasons", {}))
            for lane in pack.lanes:
                done = self.epochs[lane.trial_id]
                if lane.trial_id not in self.outcomes:
                    done = min(result.get("epoch", -1) + 1, done)
                self._progress[lane.trial_id] = done

    def complete(self, runner: str, result: dict[str, Any] | None) -> None:
        """A pack has ended; `result` is its last report, None if its worker died, {"gone": True} if
        the node did."""
        with self._lock:
            gone = bool(result and result.get("gone"))
            if result and not gone:
                self.report(runner, result)
            pack = self.running.pop(runner, None)
            made = self._pace.phase(runner) == TRAINING
            self._pace.ended(runner)
            if pack is None:
                return
            failure = (result or {}).get("failure")
            # A worker told to leave (a spot machine's notice) while the launch goes on.
            told = bool(result and result.get("interrupted")) and not self.stopping
            if result and not (failure or told or gone):
                return
            if failure == "fatal":
                self.fatal = result["error"] if result else None
                self.stopping = True
                return
            if told and result:
                self._avoid(result, "it was told to leave")
            with self._fatal_if_unwritable():
                self.on_end(pack)  # before the store is read: nothing is published after that
                left, ended = self.refresh(pack)
                self.outcomes = {**ended, **self.outcomes}
                lanes = [lane for lane in left if lane.trial_id not in self.outcomes]
                if not lanes:
                    return
                if told or gone:
                    self._tell(pack, "its node is gone" if gone else "its worker was told to leave")
                    self._again(pack, lanes)
                elif result is None:
                    self._after_death(pack, lanes, made)
                else:
                    self._after_failure(pack, lanes, result)

    @contextlib.contextmanager
    def _fatal_if_unwritable(self) -> Iterator[None]:
        """A store that the driver cannot read or write ends the launch, not the driver."""
        try:
            yield
        except (StoreError, OSError) as error:
            self.fatal = str(error)
            self.stopping = True

    def _after_death(self, pack: PackSpec, lanes: list[Lane], made: bool) -> None:
        death = self.post_mortem(pack)
        if death.final:
            self._tell(pack, death.why)
            if made:
                self._give_up(pack, lanes, death.why, death.said, death.stacks)
            else:
                self._give_up_program(pack, lanes, [{}], death.why, death.said, death.stacks)
            return
        deaths = pack.deaths + 1
        self._tell(pack, f"its worker died ({death.why}; {deaths} of {MAX_DEATHS} times)")
        if deaths < MAX_DEATHS:
            self._again(pack, lanes, deaths=deaths)
        elif len(lanes) > 1:  # one of them may be what kills: each half is tried once more
            self._again(pack, lanes, size=-(-len(lanes) // 2), deaths=MAX_DEATHS - 1)
        else:
            why = f"its worker died {MAX_DEATHS} times or more ({death.why})"
            self._give_up(pack, lanes, f"{why}; launch again", False, death.stacks)

    def _after_failure(self, pack: PackSpec, lanes: list[Lane], result: dict[str, Any]) -> None:
        reason, errors = str(result["reason"]), pack.errors + 1
        self._tell(pack, reason)
        if result["failure"] == "node":
            if self._avoid(result, reason) and pack.moves < MAX_MOVES:
                self._again(pack, lanes, moves=pack.moves + 1)
            else:
                self._give_up(pack, lanes, reason, said=False)
        elif result["failure"] == "memory" and pack.width > 1:
            self._narrower(pack, lanes, -(-pack.width // 2))
        elif result.get("program") and (result.get("certain") or errors >= MAX_ERRORS):
            said = bool(result.get("said"))
            self._give_up_program(pack, lanes, result["program"], reason, said)
        elif result.get("program"):
            self._again(pack, lanes, errors=errors)
        elif result["failure"] == "error" and len(lanes) > 1:
            self._again(pack, lanes, size=-(-len(lanes) // 2), errors=errors)
        elif errors < MAX_ERRORS:
            self._again(pack, lanes, errors=errors)
        else:
            self._give_up(pack, lanes, reason, said=bool(result.get("said")))

    def _tell(self, pack: PackSpec, what: str) -> None:
        trials = counted(len(pack.lanes), "trial")
        self.tell(f"pack {pack.id} of {trials}: {what.splitlines()[0]}")

    def _avoid(self, result: dict[str, Any], why: str) -> bool:
        """Whether another node can take what the one of this report gave back; it is avoided then,
        and only then, since a launch on one machine has no other."""
        node = str(result.get("node", ""))
        others = bool(node) and self.machines.others({*self.avoid, node})
        if others and node not in self.avoid:
            self.avoid[node] = why
            self.tell(f"node {node[:12]} gets no more packs: {why.splitlines()[0]}")
        return others

    def _again(self, pack: PackSpec, lanes: list[Lane], size: int = 0, **changes: int) -> None:
        """Queues the lanes, first in line, one pack per resume point and at most `size` of them."""
        by_point: dict[tuple[int, int], list[Lane]] = {}
        for lane in lanes:
            by_point.setdefault(lane.resumes_at, []).append(lane)
        parts = [_cut(pack, them, size or pack.width, **changes) for them in by_point.values()]
        self.packs = [*(part for some in parts for part in some), *self.packs]

    def _narrower(self, pack: PackSpec, lanes: list[Lane], width: int) -> None:
        """After a shortage of memory: a smaller width for the lanes, and for waiting packs of the
        program too, which the old one would fail as well."""
        self._again(pack, lanes, size=width, width=width, deaths=0, errors=0)
        self.signatures.pop(pack.program, None)
        waiting = [p for p in self.packs if p.program == pack.program and p.width > width]
        self.packs = [p for p in self.packs if p not in waiting]
        for other in waiting:
            self.packs += _cut(other, other.lanes, width, width=width)

    def _give_up(
        self, pack: PackSpec, lanes: list[Lane], why: str, said: bool, error: str | None = None
    ) -> None:
        """The lanes have failed; `said` is whether their worker has published that itself."""
        if lanes and not said:
            self.on_lost(replace(pack, lanes=lanes), why, error)
        for lane in lanes:
            self.outcomes[lane.trial_id] = "failed"
            self.reasons[lane.trial_id] = why

    def _give_up_program(
        self,
        pack: PackSpec,
        lanes: list[Lane],
        of: list[dict[str, Any]],
        why: str,
        said: bool,
        error: str | None = None,
    ) -> None:
        """The program cannot be made for trials with any of the values `of`: those of the pack and,
        unless it is to keep going, of waiting ones have failed."""
        bad = {lane.trial_id for lane in pack.lanes if has_any(lane.config, of)}
        self._give_up(pack, [lane for lane in lanes if lane.trial_id in bad], why, said, error)
        rest = [lane for lane in lanes if lane.trial_id not in bad]
        more = 0
        waiting, self.packs = self.packs, []
        for other in waiting:
            lost = [one for one in other.lanes if has_any(one.config, of)]
            if other.program != pack.program or not lost or self.keep_going:
                self.packs.append(other)
                continue
            self._give_up(other, lost, why, said=False)
            more += len(lost)
            left = [one for one in other.lanes if one not in lost]
            self.packs += _cut(other, left, other.width)
        if more:
            self.untried[why] += more
            self.tell(f"{counted(more, 'more trial')} of program {pack.program} would fail alike")
        if rest:
            self._again(pack, rest)

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
            rest = {runner: self._left(pack) for runner, pack in self.running.items()}
            waiting = [(pack.program, self._left(pack)) for pack in self.packs]
            return Snapshot(
                len(self.epochs),
                Counter(self.outcomes.values()),
                sum(trial_id not in self.outcomes for trial_id in running),
                sum(self._progress.values()),
                sum(self.epochs.values()),
                time.monotonic() - self._begun,
                self._pace.phases(),
                self._pace.rate(),
                None if self.stopping else self._pace.left(rest, waiting),
            )

    def _left(self, pack: PackSpec) -> int:
        """Epochs that its trials have still to run."""
        return sum(
            self.epochs[lane.trial_id] - self._progress.get(lane.trial_id, lane.first_epoch)
            for lane in pack.lanes
            if lane.trial_id not in self.outcomes
        )


def _cut(pack: PackSpec, lanes: list[Lane], size: int, **changes: int) -> list[PackSpec]:
    """Packs like `pack` of at most `size` of the lanes each."""
    found = []
    for first in range(0, len(lanes), size):
        part = lanes[first : first + size]
        found.append(replace(pack, id=pack_name(part), lanes=part, **changes))
    return found
