"""The trials of a launch: which may start, which wait, which come again. No Ray here."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from typing import Any

from orchestrator.plan.packs import HOST, Lane, PackSpec, has_any
from orchestrator.plan.paused import PausedTrial
from orchestrator.pruning.judge import Judge, Reached, Verdict
from orchestrator.queue.losses import MAX_DEATHS, MAX_ERRORS, MAX_MOVES, Death, Machines
from orchestrator.queue.pace import TRAINING, Pace, Snapshot
from orchestrator.queue.rungs import Rungs
from orchestrator.queue.waiting import Group, Waiting
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
    """Hands out packs, and trials for the slots of those that run; takes in what became of them.

    A lane is ready when its parent has passed; those of a parent that has not are blocked. A pack
    has a slot for each lane, and when a trial has ended, a ready one of the same group takes its
    slot (`talk`). Workers of a node compile a program once (`compile_cache.once_per_node`).

    The trials of a pack that raised come again in halves, padded to the same width and joined by no
    other, until the trial at fault is alone; but a program that cannot be made fails at once, with
    all trials that wait for it. Those whose worker died come again, until that has happened too
    often, and then in halves too. A worker told to leave and a node that died count against no one.
    A node that cannot run a pack (a damaged data file, other versions) is avoided from then on: it
    stands in `avoid`, with the reason. A pack that took too long fails, and its program too where
    that was still being made.

    Attributes:
      workers: packs that run at once.
      post_mortem: asks what is known of the death of a pack's worker.
      keep_going: packs of a program that could not be made are tried all the same.
      untried: how many trials were given up without a try, by the reason.
      judge: says at the rungs of a trial whether it goes on. reached: those of these lanes that
        stand at one of their rungs, by what the store holds, given the rungs by trial.
      on_pruned: the lanes, none of which has a slot, have ended as pruned; and, by trial, those
        rows of their attempts' ends that are known.
      slots: while trials waited: `all` epochs of slots, and `used` ones, in which one trained.
    """

    packs: InitVar[Sequence[PackSpec]]
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
    workers: int = 1
    judge: Judge | None = None
    reached: Callable[[Sequence[Lane], Mapping[str, Sequence[int]]], list[Reached]] = (
        lambda lanes, rungs: []
    )
    on_pruned: Callable[[Sequence[Lane], Mapping[str, Mapping[str, Any]]], None] = (
        lambda lanes, rows: None
    )
    slots: Counter[str] = field(default_factory=Counter)

    def __post_init__(self, packs: Sequence[PackSpec]) -> None:
        self._lock = threading.RLock()
        self._begun = time.monotonic()
        self._progress: dict[str, int] = {}
        self._pace = Pace()
        self._counted: set[str] = set()
        self._deaths: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._moves: Counter[str] = Counter()
        self._rungs = Rungs(self.judge)
        self.waiting = Waiting()
        with self._fatal_if_unwritable():
            for trial_id, status in list(self.outcomes.items()):
                self._rungs.ended(trial_id, status)
            lanes = [lane for pack in packs for lane in pack.lanes]
            verdicts = self._at_rungs(lanes)
            for pack in packs:
                self._wait(self.waiting.group(pack), pack.lanes, verdicts)
            self._settle()

    def next(self, runner: str) -> PackSpec | None:
        """A pack for `runner`, or None when none is ready."""
        with self._lock:
            if self.stopping:
                return None
            pack = self.waiting.next(self.workers - len(self.running))
            if pack is None:
                return None
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

    @property
    def exhausted(self) -> bool:
        """Nothing waits any more, or nothing may start, or what waits does so for parents or
        verdicts that nobody runs for: a launch must end."""
        with self._lock:
            return self.stopping or not (self.running or self.waiting.ready)

    def talk(self, runner: str, message: Mapping[str, Any]) -> dict[str, Any]:
        """Takes in a report of a running pack and answers it.

        Args:
          message: as in `report`, with `at_rung`, [trial, epochs done, value] of each trial that is
            held for a verdict, and `free`, the number of slots without a trial.

        Returns:
          `verdicts` by trial; `lanes`, as JSON, for free slots; whether `more` of the group wait
          for a slot, a parent or a verdict; whether to `stop`.
        """
        with self._lock:
            answer: dict[str, Any] = {"verdicts": {}, "lanes": [], "more": False, "stop": True}
            self.report(runner, message)
            pack = self.running.get(runner)
            if pack is None or self.stopping:
                return answer
            with self._fatal_if_unwritable():
                here = set(pack.trial_ids)
                reached = [Reached(*one) for one in message.get("at_rung", ()) if one[0] in here]
                verdicts = self._rungs.asked(reached)
                self._settle()
                leaving = sum(verdict != "go" for verdict in verdicts.values())
                group = self.waiting.group(pack)
                lanes = []
                if not pack.alone and pack.strategy != HOST:
                    idle = self.workers - len(self.running)
                    lanes = self.waiting.grant(group, message.get("free", 0) + leaving, idle)
                pack.lanes = [*pack.lanes, *lanes]
                answer |= {
                    "verdicts": verdicts,
                    "lanes": [lane.to_json() for lane in lanes],
                    "more": group.waits and not pack.alone,
                    "stop": self.stopping,
                }
            return answer

    def report(self, runner: str, result: Mapping[str, Any]) -> None:
        """Takes in one report of a running pack: `ended`, statuses of trials whose end is
        published, and their `reasons`; those that have `paused`, as `PausedTrial.to_text` gives
        them; `epochs` that the others have done, and how many epochs of a trial were `trained`
        since the last report, of how many `slots`; `unmakeable`, why trials with any of some values
        of init keys cannot be made."""
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
            if "trained" in result:
                self._pace.reported(runner, result["trained"])
                if self.waiting.ready:
                    self.slots.update(used=result["trained"], all=result.get("slots", 0))
            for trial_id, done in result.get("epochs", {}).items():
                if trial_id not in self.outcomes:
                    self._progress[trial_id] = min(done, self.epochs[trial_id])
            with self._fatal_if_unwritable():
                self._take_in(
                    pack,
                    result.get("ended", {}),
                    result.get("reasons", {}),
                    result.get("paused", {}),
                )
                for why, of in result.get("unmakeable", ()):
                    self._give_up_program(pack, [], of, why, said=True)
                self._settle()

    def _take_in(
        self,
        pack: PackSpec,
        ended: Mapping[str, str],
        reasons: Mapping[str, str],
        paused: Mapping[str, str],
    ) -> None:
        """Trials have left their slots."""
        gone = ended.keys() | paused.keys()
        left = [one for one in pack.trial_ids if one in gone]
        pack.lanes = [lane for lane in pack.lanes if lane.trial_id not in gone]
        for trial_id in left:
            if trial_id in paused:
                one = PausedTrial.from_text(paused[trial_id])
                self._rungs.pause(self.waiting.group(pack), one.lane, one.row)
            else:
                self._end(trial_id, ended[trial_id], reasons.get(trial_id))

    def _end(self, trial_id: str, status: str, why: str | None = None) -> None:
        """A trial has ended: its children are ready, or blocked."""
        self.outcomes[trial_id] = status
        if why:
            self.reasons[trial_id] = why
        if status != "blocked":
            self._progress[trial_id] = self.epochs[trial_id]
        self._rungs.ended(trial_id, status)
        for group, lane in self.waiting.children(trial_id):
            self._wait(group, [lane])

    def _wait(
        self,
        group: Group,
        lanes: Sequence[Lane],
        verdicts: Mapping[str, Verdict] | None = None,
        again: bool = False,
    ) -> None:
        """Lets lanes wait: for a slot, for their parent, or for a verdict.

        Args:
          again: those that are ready are first in line.
        """
        ready = []
        for lane in self._going(group, lanes, verdicts or {}):
            parent = lane.parent_id
            if parent is None or parent in self.passed or self.outcomes.get(parent) in PASSED:
                ready.append(lane)
            elif parent in self.outcomes:
                why = self.reasons.get(parent)
                because = f"parent {parent} {self.outcomes[parent]}" + (f": {why}" if why else "")
                self._end(lane.trial_id, "blocked", because)
            else:
                self.waiting.hold(group, lane, parent)
        if again:
            self.waiting.again(group, ready)
        else:
            self.waiting.add(group, ready)

    def _going(
        self, group: Group, lanes: Sequence[Lane], verdicts: Mapping[str, Verdict]
    ) -> list[Lane]:
        """Those of the lanes that no verdict keeps."""
        self._prune([lane for lane in lanes if verdicts.get(lane.trial_id) == "prune"])
        for lane in lanes:
            if verdicts.get(lane.trial_id) == "wait":
                self._rungs.pause(group, lane)
        return [lane for lane in lanes if verdicts.get(lane.trial_id, "go") == "go"]

    def _at_rungs(self, lanes: Sequence[Lane]) -> dict[str, Verdict]:
        """Verdicts on those lanes that go on from a rung."""
        rungs = self._rungs.prepare(lanes)
        begun = [lane for lane in lanes if lane.attempt or lane.continues]
        known = [lane for lane in begun if rungs.get(lane.trial_id)]
        return self._rungs.asked(self.reached(known, rungs)) if known else {}

    def _settle(self) -> None:
        """Applies what the judge has said since of trials that wait for it."""
        while settled := self._rungs.settled():
            pruned = [one for one, verdict in settled if verdict == "prune"]
            self._prune(
                [one.lane for one in pruned],
                {one.lane.trial_id: one.row for one in pruned if one.row is not None},
            )
            going: dict[Group, list[Lane]] = {}
            for one, verdict in settled:
                if verdict == "go":
                    going.setdefault(one.group, []).append(one.lane)
            for group, lanes in going.items():
                self._wait(group, lanes, again=True)

    def _prune(
        self, lanes: Sequence[Lane], rows: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        """`rows`: those ends of the trials' attempts that are known."""
        if lanes:
            self.on_pruned(lanes, rows or {})
        for lane in lanes:
            self._end(lane.trial_id, "pruned")

    def _refreshed(self, pack: PackSpec) -> list[Lane]:
        """New attempts at the lanes of a pack that have not ended by what the store holds."""
        left, ended = self.refresh(pack)
        for trial_id, status in ended.items():
            if trial_id not in self.outcomes:
                self._end(trial_id, status)
        lanes = [lane for lane in left if lane.trial_id not in self.outcomes]
        self._rungs.prepare(lanes)
        return lanes

    def complete(self, runner: str, result: dict[str, Any] | None) -> None:
        """A pack has ended; `result` is its last report, None if its worker died, {"gone": True} if
        the node did. Its trials that have not ended come again."""
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
            well = bool(result) and not (failure or told or gone)
            if well and (self.stopping or not pack.lanes or (result or {}).get("superseded")):
                return
            if failure == "fatal":
                self.fatal = result["error"] if result else None
                self.stopping = True
                return
            if told and result:
                self._avoid(result, "it was told to leave")
            with self._fatal_if_unwritable():
                self.on_end(pack)  # before the store is read: nothing is published after that
                lanes = self._refreshed(pack)
                group = self.waiting.group(pack)
                lanes = self._going(group, lanes, self._at_rungs(lanes))
                if not lanes:
                    pass
                elif well or told or gone:
                    if not well:
                        why = "its node is gone" if gone else "its worker was told to leave"
                        self._tell(pack, lanes, why)
                    self._again(pack, lanes)
                elif result is None:
                    self._after_death(pack, lanes, made)
                else:
                    self._after_failure(pack, lanes, result)
                self._settle()

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
            self._tell(pack, lanes, death.why)
            if made:
                lost = [lane for lane in lanes if not death.said or lane.trial_id in death.of]
                self._give_up(pack, lost, death.why, death.said, death.stacks)
                self._again(pack, [lane for lane in lanes if lane not in lost])
            else:
                self._give_up_program(pack, lanes, [{}], death.why, death.said, death.stacks)
            return
        deaths = self._count(self._deaths, lanes)
        times = f"{min(deaths, MAX_DEATHS)} of {MAX_DEATHS} times"
        self._tell(pack, lanes, f"its worker died ({death.why}; {times})")
        often = [lane for lane in lanes if self._deaths[lane.trial_id] >= MAX_DEATHS]
        if often == lanes and len(lanes) == 1:
            why = f"its worker died {MAX_DEATHS} times or more ({death.why})"
            self._give_up(pack, lanes, f"{why}; launch again", False, death.stacks)
            return
        if often:  # one of them may be what kills: each half is tried once more
            self.waiting.put_apart(pack, often, -(-len(often) // 2))
        self._again(pack, [lane for lane in lanes if lane not in often])

    @staticmethod
    def _count(counts: Counter[str], lanes: Sequence[Lane]) -> int:
        """Counts one more for each lane: how many that makes of the one with the most."""
        counts.update(lane.trial_id for lane in lanes)
        return max(counts[lane.trial_id] for lane in lanes)

    def _after_failure(self, pack: PackSpec, lanes: list[Lane], result: dict[str, Any]) -> None:
        reason, failure = str(result["reason"]), result["failure"]
        said = bool(result.get("said"))
        self._tell(pack, lanes, reason)
        if failure == "node":
            elsewhere = self._avoid(result, reason)
            self._count(self._moves, lanes)
            lost = [n for n in lanes if not elsewhere or self._moves[n.trial_id] > MAX_MOVES]
            self._give_up(pack, lost, reason, said=False)
            self._again(pack, [lane for lane in lanes if lane not in lost])
            return
        if failure == "memory" and pack.width > 1:
            self._narrower(pack, lanes, -(-pack.width // 2))
            return
        errors = self._count(self._errors, lanes)
        if result.get("program") and (result.get("certain") or errors >= MAX_ERRORS):
            self._give_up_program(pack, lanes, result["program"], reason, said)
        elif result.get("program"):
            self._again(pack, lanes)
        elif (failure == "error" and len(lanes) > 1) or errors < MAX_ERRORS:
            self.waiting.put_apart(pack, lanes, -(-len(lanes) // 2))
        else:
            self._give_up(pack, lanes, reason, said)

    def _tell(self, pack: PackSpec, lanes: Sequence[Lane], what: str) -> None:
        trials = counted(len(lanes), "trial")
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

    def _again(self, pack: PackSpec, lanes: list[Lane]) -> None:
        """Queues the lanes, first in line; those of a pack that none may join, as one again."""
        if pack.alone and lanes:
            self.waiting.put_apart(pack, lanes, pack.width)
        elif lanes:
            self._wait(self.waiting.group(pack), lanes, again=True)

    def _narrower(self, pack: PackSpec, lanes: list[Lane], width: int) -> None:
        """After a shortage of memory: a smaller width for the lanes, and for waiting ones of the
        program too, which the old one would fail as well."""
        for lane in lanes:
            del self._deaths[lane.trial_id], self._errors[lane.trial_id]
        self.signatures.pop(pack.program, None)
        self.waiting.narrow(pack.program, width)
        self._wait(self.waiting.group(pack), lanes, again=True)

    def _give_up(
        self, pack: PackSpec, lanes: list[Lane], why: str, said: bool, error: str | None = None
    ) -> None:
        """The lanes have failed; `said` is whether their worker has published that itself."""
        if lanes and not said:
            self.on_lost(replace(pack, lanes=lanes), why, error)
        for lane in lanes:
            self._end(lane.trial_id, "failed", why)

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
        bad = [lane for lane in lanes if has_any(lane.config, of)]
        self._give_up(pack, bad, why, said, error)
        more = 0
        for lost in [] if self.keep_going else self.waiting.remove(pack.program, of):
            self._give_up(lost, lost.lanes, why, said=False)
            more += len(lost.lanes)
        if more:
            self.untried[why] += more
            self.tell(f"{counted(more, 'more trial')} of program {pack.program} would fail alike")
        self._again(pack, [lane for lane in lanes if lane not in bad])

    def stop(self) -> None:
        """No further pack starts."""
        with self._lock:
            self.stopping = True

    def snapshot(self) -> Snapshot:
        with self._lock:
            rest = {
                runner: sum(map(self._left, pack.lanes)) for runner, pack in self.running.items()
            }
            waiting = self.waiting.work(self._left)
            return Snapshot(
                len(self.epochs),
                Counter(self.outcomes.values()),
                sum(len(pack.lanes) for pack in self.running.values()),
                sum(self._progress.values()),
                sum(self.epochs.values()),
                time.monotonic() - self._begun,
                self._pace.phases(),
                self._pace.rate(),
                None if self.stopping else self._pace.left(rest, waiting),
                self._rungs.waiting,
            )

    def _left(self, lane: Lane) -> int:
        """Epochs that a trial has still to run."""
        return self.epochs[lane.trial_id] - self._progress.get(lane.trial_id, lane.first_epoch)
