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

from orchestrator.plan.estimate import rows_per_trial
from orchestrator.simulate.pace import Pace
from orchestrator.worker.recorder import ENDS_S, FLUSH_ROWS, FLUSH_S
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
      at: seconds since the segment's begin. turn: epochs of the pack since then.
      resume: a resume point is saved.
      rows, parts: published now, by table; rows are means, so not always whole.
      saves: of weights, resume points left out.
    """

    at: float
    turn: int
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

    def add_whole(self, segment: Segment) -> None:
        """Takes in a segment that nothing disturbed."""
        whole = segment.whole
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
class Segment:
    """A pack from one change of its trials to the next: the end of one of them or more.

    Attributes:
      trials: each with the epochs that it has done before.
      marks: what it publishes, the last at its end. seconds: it takes. turns: epochs of each trial.
      since_saved: seconds, at its end, since the last resume point or the pack's start.
    """

    trials: tuple[tuple[LaneWork, int], ...]
    epoch_s: float
    marks: tuple[Mark, ...]
    since_saved: float

    @property
    def seconds(self) -> float:
        return self.marks[-1].at

    @property
    def turns(self) -> int:
        return self.marks[-1].turn

    @cached_property
    def whole(self) -> Tally:
        """All it publishes."""
        found = Tally()
        found.add(self.marks)
        return found


@lru_cache(maxsize=4096)
def segment(
    trials: tuple[tuple[LaneWork, int], ...],
    started: int,
    fresh: bool,
    since_saved: float,
    pace: Pace,
    checkpoint_s: float,
) -> Segment:
    """The segment of a pack with these trials that nothing disturbs.

    A flush comes after the first epoch, every FLUSH_S or FLUSH_ROWS, ENDS_S after trials have
    taken slots, when a trial ends and before a resume point, always after an epoch. Ends within
    ENDS_S of each other are said to share no part, which real ones do.

    Args:
      started: how many of the trials have just got their slots.
      fresh: the pack starts with them. since_saved: seconds since its last resume point.
    """
    # A resumed lane trains one epoch at least, as does one that asks for none.
    left = [max(work.epochs - done, 1) for work, done in trials]
    end, epoch_s = min(left), pace.epoch_s(len(trials))
    ends = [work for (work, _), turns in zip(trials, left, strict=True) if turns == end]
    content = _Content(trials)
    to_flush = min(_epochs_in(FLUSH_S, epoch_s), _epochs_in(FLUSH_ROWS, content.rows))
    to_save = _epochs_in(checkpoint_s - since_saved, epoch_s)
    marks, saved_at, waiting = [], -since_saved, started
    if fresh:
        marks, waiting = [Mark(0.0, 0, rows={"trials": started}, parts=Counter(["trials"]))], 0
    turn = 0
    while turn < end:
        flush = to_flush
        if turn == 0 and (fresh or started):
            flush = 1 if fresh else min(flush, _epochs_in(ENDS_S, epoch_s))
        before, turn = turn, min(end, turn + flush, turn + to_save)
        over = turn == end
        to_save -= turn - before
        resume = not to_save and not (over and len(ends) == len(trials))
        if resume:
            saved_at, to_save = turn * epoch_s, _epochs_in(checkpoint_s, epoch_s)
        rows, parts = content.published(before, turn, over)
        if told := waiting + (len(ends) if over else 0):
            rows, parts = {**rows, "trials": told}, Counter([*parts, "trials"])
        waiting = 0
        saves = content.saves(before, turn, ends if over else [], resume)
        marks.append(Mark(turn * epoch_s, turn, resume, rows, parts, saves))
    return Segment(trials, epoch_s, tuple(marks), marks[-1].at - saved_at)


@dataclass(frozen=True)
class Cut:
    """What a pack that died had kept, and what it had not.

    Attributes:
      marks: what it had published of the segment that was under way.
      resume: epoch from which each trial goes on, by slot.
      epochs: completed past these, all together. rows: of them, published.
      seconds: to do them again, the epoch that was under way included.
    """

    marks: Sequence[Mark]
    resume: Mapping[int, int]
    epochs: int = 0
    rows: float = 0.0
    seconds: float = 0.0


class Course:
    """A pack from its first step on: `next` is its coming segment, which `finish` ends.

    A trial is known by its number, in the order in which they came.
    """

    def __init__(self, pace: Pace, checkpoint_s: float):
        self.pace, self.checkpoint_s = pace, checkpoint_s
        self.active: dict[int, tuple[LaneWork, int]] = {}
        """Trials that have a slot, with the epochs that they have done."""
        self._resume: dict[int, int] = {}
        self._came = self._started = 0
        self._fresh = True
        self._since_saved = 0.0

    def take(self, trials: Iterable[tuple[LaneWork, int]]) -> None:
        """Trials get slots, each with the epochs that it has done."""
        for work, done in trials:
            self.active[self._came], self._resume[self._came] = (work, done), done
            self._came += 1
            self._started += 1

    @property
    def next(self) -> Segment:
        return segment(
            tuple(self.active.values()), self._started, self._fresh, self._since_saved,
            self.pace, self.checkpoint_s,
        )  # fmt: skip

    def finish(self) -> list[int]:
        """The coming segment is over: the trials that have ended with it."""
        done = self.next
        saved = max((mark.turn for mark in done.marks if mark.resume), default=None)
        ended = []
        for number, (work, before) in list(self.active.items()):
            if saved is not None:
                self._resume[number] = before + saved
            self.active[number] = work, before + done.turns
            if before + done.turns >= max(work.epochs, before + 1):
                del self.active[number], self._resume[number]
                ended.append(number)
        self._fresh, self._started, self._since_saved = False, 0, done.since_saved
        return ended

    def cut(self, at: float) -> Cut:
        """What was kept, had the pack died so many seconds after its coming segment began."""
        under_way = self.next
        marks = under_way.marks[: bisect_right(under_way.marks, at, key=lambda mark: mark.at)]
        saved = max((mark.turn for mark in marks if mark.resume), default=None)
        whole = max(at, 0.0) / under_way.epoch_s
        resume, epochs, rows, longest = {}, 0, 0.0, 0.0
        for number, (work, before) in self.active.items():
            resume[number] = self._resume[number] if saved is None else before + saved
            epochs += before + int(whole) - resume[number]
            longest = max(longest, before + whole - resume[number])
            published = marks[-1].turn if marks else 0
            rows += (before + published - resume[number]) * sum(rate for _, rate in work.rows)
        return Cut(marks, resume, epochs, rows, longest * under_way.epoch_s)


def _epochs_in(amount: float, per_epoch: float) -> int:
    """Epochs after which `amount` is reached, at least one."""
    if per_epoch <= 0:
        return 1 << 62
    # What should be a whole number must not become one more for its last bit.
    return max(1, math.ceil(amount / per_epoch - 1e-9))


class _Content:
    """What trials that train together publish."""

    def __init__(self, trials: Sequence[tuple[LaneWork, int]]):
        self._trials = trials
        self._rates: defaultdict[str, float] = defaultdict(float)
        for work, _ in trials:
            for table, rate in work.rows:
                self._rates[table] += rate
        self.rows = sum(self._rates.values())
        self._probes = {(name, every, done) for work, done in trials for name, every in work.probes}
        self._names = {name for name, _, _ in self._probes}
        self._every = {(work.every, done) for work, done in trials if work.every}
        self._best = sum(work.keep == "best" for work, _ in trials)

    def published(
        self, before: int, turn: int, over: bool
    ) -> tuple[dict[str, float], Counter[str]]:
        """(rows, parts) by table of a flush after the epochs from turn `before` up to `turn`; one
        that is `over` has a trial's last."""
        probed = {
            name
            for name, every, done in self._probes
            if over
            or not done + before
            or (every and (done + turn - 1) // every * every >= done + before)
        }
        rows = {table: rate * (turn - before) for table, rate in self._rates.items()}
        return rows, Counter((rows.keys() - (self._names - probed)) | probed)

    def saves(self, before: int, turn: int, ended: Sequence[LaneWork], resume: bool) -> int:
        """Saves of weights in these epochs: one after each epoch with any to keep, one of states,
        and with a resume point the best so far, which is taken to be another than at the last."""
        turns = {
            n - done
            for k, done in self._every
            for n in range(((done + before) // k + 1) * k, done + turn + 1, k)
        }
        if any(work.saves_at_end for work in ended):
            turns.add(turn)
        best = self._best - sum(work.keep == "best" for work in ended)
        states = any(work.keep == "state" for work in ended)
        return len(turns) + states + (resume and best > 0)
