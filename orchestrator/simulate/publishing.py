"""What a pack publishes as it trains, and when: the rules of `recorder`, `weight_keeper` and
`pack_run` applied to a pace instead of a clock, for `simulate`.
`tests/orchestrator/simulate/test_publishing.py` holds them to the real Recorder."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from orchestrator.plan.estimate import rows_per_trial
from orchestrator.queue.queue import REPORT_S
from orchestrator.simulate.pace import Pace
from orchestrator.worker.recorder import FLUSH_ROWS, FLUSH_S
from trainables.declarations import Trial
from trainables.declarations.training.base import kept_every


@dataclass(frozen=True)
class LaneWork:
    """What one trial does to its pack and to the store.

    Attributes:
      epochs: after which it ends.
      rows: mean rows per epoch by table; their sum over the epochs is what the plan says.
      probes: cadence by probe: 0 writes at the first and last epoch, k also every k-th.
      keep: its `keep_weights`. artifact: its last weights are saved in any case.
    """

    epochs: int
    rows: tuple[tuple[str, float], ...] = ()
    probes: tuple[tuple[str, int], ...] = ()
    keep: str = "none"
    artifact: bool = False

    @property
    def saves_at_end(self) -> bool:
        return self.artifact or self.keep in ("last", "best", "state")

    @property
    def every(self) -> int:
        """K of `keep_weights=every:K`, else 0."""
        return kept_every(self.keep)


def lane_work(trial: Trial, artifact: bool = False) -> LaneWork:
    """The work of a trial, as the plan estimates its rows."""
    total = rows_per_trial(trial)
    epochs = max(trial.epochs, 1)
    rows = tuple((name, n / epochs) for name, n in total.items() if name != "trials" and n)
    cadences = {name: trial.config.get(f"{name}_every", 1) for name in trial.probes}
    probes = tuple((name, int(every)) for name, every in cadences.items() if every is not None)
    return LaneWork(epochs, rows, probes, str(trial.config.get("keep_weights")), artifact)


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment at which a pack publishes.

    Attributes:
      at: seconds since its first step could begin.
      epoch: epochs its lanes have completed then.
      epoch_s: seconds of each epoch after it.
      ended: lanes that end, by position.
      resume: a resume point is saved.
      rows, parts: published now, by table; rows are means, so not always whole.
      saves: of weights, resume points left out.
    """

    at: float
    epoch: int
    epoch_s: float
    ended: tuple[int, ...] = ()
    resume: bool = False
    rows: Mapping[str, float] = field(default_factory=dict)
    parts: Counter[str] = field(default_factory=Counter)
    saves: int = 0


@dataclass
class Tally:
    """What a replay counted. Hours of devices in seconds; redone epochs are trials' epochs."""

    makespan_s: float = 0.0
    paid_s: float = 0.0
    train_s: float = 0.0
    start_s: float = 0.0
    redone_s: float = 0.0
    redone_epochs: int = 0
    redone_rows: float = 0.0
    preemptions: int = 0
    attempts: int = 0
    lost_packs: int = 0
    compiled: int = 0
    cached: int = 0
    reports: int = 0
    rows: dict[str, float] = field(default_factory=dict)
    parts: Counter[str] = field(default_factory=Counter)
    saves: int = 0
    resume_points: int = 0

    def add(self, marks: Iterable[Mark]) -> None:
        """Takes in what was published at these moments."""
        for mark in marks:
            self._published(mark.rows, mark.parts, mark.saves, mark.resume)

    def add_whole(self, journal: Journal) -> None:
        """Takes in an attempt that nothing disturbed."""
        whole = journal.whole
        self._published(whole.rows, whole.parts, whole.saves, whole.resume_points)

    def _published(
        self, rows: Mapping[str, float], parts: Mapping[str, int], saves: int, resume_points: int
    ) -> None:
        for table, count in rows.items():
            self.rows[table] = self.rows.get(table, 0.0) + count
        self.parts.update(parts)
        self.saves += saves
        self.resume_points += resume_points


@dataclass(frozen=True)
class Cut:
    """What a pack that died had kept, and what it had not.

    Attributes:
      marks: what it had published. resume: epoch its other lanes go on from.
      ended: lanes that had ended.
      epochs: completed past `resume` by the other lanes, all together. rows: of them, published.
      seconds: to do them again, the epoch that was under way included.
    """

    marks: Sequence[Mark]
    resume: int
    ended: frozenset[int]
    epochs: int = 0
    rows: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Journal:
    """One attempt of a pack, from its first step to its end."""

    lanes: tuple[LaneWork, ...]
    first_epoch: int
    pace: Pace
    marks: tuple[Mark, ...]

    @property
    def seconds(self) -> float:
        return self.marks[-1].at

    @cached_property
    def whole(self) -> Tally:
        """All it publishes."""
        found = Tally()
        found.add(self.marks)
        return found

    def reports(self) -> list[tuple[float, tuple[int, ...]]]:
        """When the driver hears of it, and which lanes have ended since; the last is the end. The
        first comes after the epoch that ends REPORT_S or more into the pack."""
        epoch_s = self.marks[0].epoch_s
        first = min(self.seconds, epoch_s * max(1, math.ceil(REPORT_S / epoch_s)))
        found: dict[float, tuple[int, ...]] = {first: ()}
        for mark in self.marks:
            if mark.ended:
                at = max(first, mark.at)
                found[at] = (*found.get(at, ()), *mark.ended)
        return sorted(found.items())

    def cut(self, at: float) -> Cut:
        """The attempt, had it died so many seconds after its first step could begin."""
        marks = self.marks[: bisect_right(self.marks, at, key=lambda mark: mark.at)]
        ended = frozenset(lane for mark in marks for lane in mark.ended)
        resume = max((m.epoch for m in marks if m.resume), default=self.first_epoch)
        left = len(self.lanes) - len(ended)
        if not marks or not left:
            return Cut(marks, resume, ended)
        last = marks[-1]
        done = last.epoch - resume + (at - last.at) / last.epoch_s
        rates = [
            rate for i, lane in enumerate(self.lanes) if i not in ended for _, rate in lane.rows
        ]
        rows = (last.epoch - resume) * sum(rates)
        return Cut(marks, resume, ended, int(done) * left, rows, done * self.pace.epoch_s(left))


@lru_cache(maxsize=256)
def journal(
    lanes: tuple[LaneWork, ...], first_epoch: int, pace: Pace, checkpoint_s: float
) -> Journal:
    """The journal of a pack that nothing disturbs.

    A flush comes after the first epoch, every FLUSH_S or FLUSH_ROWS, when a lane ends and before a
    resume point, always after an epoch. From one lane's end to the next nothing changes: that is a
    segment.
    """
    # A resumed lane trains one epoch at least, as does one that asks for none.
    ends = [max(lane.epochs, first_epoch + 1) for lane in lanes]
    started = {"trials": float(len(lanes))}
    first_s = pace.epoch_s(len(lanes))
    marks = [Mark(0.0, first_epoch, first_s, rows=started, parts=Counter(["trials"]))]
    saved_at = 0.0
    for end in sorted(set(ends)):
        active = [lane for lane, last in enumerate(ends) if last >= end]
        segment = _Segment([lanes[lane] for lane in active])
        begun = marks[-1]
        epoch, epoch_s = begun.epoch, begun.epoch_s
        to_flush = min(_epochs_in(FLUSH_S, epoch_s), _epochs_in(FLUSH_ROWS, segment.rows))
        to_save = _epochs_in(checkpoint_s - (begun.at - saved_at), epoch_s)
        while epoch < end:
            flush = 1 if epoch == first_epoch else to_flush
            before, epoch = epoch, min(end, epoch + flush, epoch + to_save)
            at = begun.at + (epoch - begun.epoch) * epoch_s
            ended = tuple(i for i in active if ends[i] == end) if epoch == end else ()
            left = len(active) - len(ended)
            to_save -= epoch - before
            resume = not to_save and left > 0
            if resume:
                saved_at, to_save = at, _epochs_in(checkpoint_s, epoch_s)
            rows, parts = segment.published(before, epoch, len(ended))
            saves = segment.saves(before, epoch, [lanes[lane] for lane in ended], resume)
            later_s = pace.epoch_s(left) if left else epoch_s
            marks.append(Mark(at, epoch, later_s, ended, resume, rows, parts, saves))
    return Journal(lanes, first_epoch, pace, tuple(marks))


def _epochs_in(amount: float, per_epoch: float) -> int:
    """Epochs after which `amount` is reached, at least one."""
    if per_epoch <= 0:
        return 1 << 62
    # What should be a whole number must not become one more for its last bit.
    return max(1, math.ceil(amount / per_epoch - 1e-9))


class _Segment:
    """Lanes that train together, and what they publish."""

    def __init__(self, lanes: Sequence[LaneWork]):
        self._rates: defaultdict[str, float] = defaultdict(float)
        for lane in lanes:
            for table, rate in lane.rows:
                self._rates[table] += rate
        self.rows = sum(self._rates.values())
        self._probes = {probe for lane in lanes for probe in lane.probes}
        self._every = {lane.every for lane in lanes if lane.every}
        self._best = sum(lane.keep == "best" for lane in lanes)
        # Marks are many and most alike: those that are share what they hold.
        self._known: dict[Any, tuple[dict[str, float], Counter[str]]] = {}

    def published(
        self, before: int, epoch: int, ended: int
    ) -> tuple[dict[str, float], Counter[str]]:
        """(rows, parts) by table of a flush after the epochs from `before` up to `epoch`, at which
        so many lanes end."""
        probed = frozenset(
            name
            for name, every in self._probes
            if ended or not before or (every and (epoch - 1) // every * every >= before)
        )
        key = (epoch - before, ended, probed)
        if key not in self._known:
            rows = {table: rate * (epoch - before) for table, rate in self._rates.items()}
            quiet = {name for name, _ in self._probes} - probed
            parts = Counter((rows.keys() - quiet) | probed)
            if ended:
                rows["trials"], parts["trials"] = ended, 1
            self._known[key] = rows, parts
        return self._known[key]

    def saves(self, before: int, epoch: int, ended: Sequence[LaneWork], resume: bool) -> int:
        """Saves of weights in these epochs: one after each epoch with any to keep, one of states,
        and with a resume point the best so far, which is taken to be another than at the last."""
        epochs = {n for k in self._every for n in range((before // k + 1) * k, epoch + 1, k)}
        if any(lane.saves_at_end for lane in ended):
            epochs.add(epoch)
        best = self._best - sum(lane.keep == "best" for lane in ended)
        states = any(lane.keep == "state" for lane in ended)
        return len(epochs) + states + (resume and best > 0)
