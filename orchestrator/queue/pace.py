"""How fast the packs of a launch train, and how long the rest takes: by epochs alone, whatever they
took to start."""

from __future__ import annotations

import heapq
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

IMPORTING, COMPILING, TRAINING = "importing", "compiling", "training"


@dataclass
class _Course:
    """A running pack: what it does, since when it trains, its last report and its work by then."""

    program: str
    phase: str
    begun: float = 0.0
    last: float = 0.0
    work: float = 0.0


@dataclass
class Snapshot:
    """Where a launch stands.

    Attributes:
      phases: how many packs are importing, compiling, training; none while Ray starts.
      pace: epochs of trials a second, of the packs that train now.
      left: seconds until the last pack will have ended; None before the first epoch.
      waiting: trials that wait for a verdict outside a slot.
    """

    trials: int
    counts: Counter[str]
    running: int
    epochs_done: int
    epochs_total: int
    seconds: float
    phases: Counter[str] = field(default_factory=Counter)
    pace: float = 0.0
    left: float | None = None
    waiting: int = 0


class Pace:
    """Follows the packs that run. Their work is counted in epochs of trials: those of one program
    take equally long."""

    def __init__(self) -> None:
        self._running: dict[str, _Course] = {}
        self._imported = 0
        self._most = 1
        self._ended: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def handed_out(self, runner: str, program: str) -> None:
        """A worker has a pack: it imports what it needs, unless there are workers enough that have
        done so."""
        fresh = self._imported <= len(self._running)
        self._running[runner] = _Course(program, IMPORTING if fresh else COMPILING)
        self._most = max(self._most, len(self._running))

    def imported(self, runner: str) -> None:
        self._running[runner].phase = COMPILING
        self._imported += 1

    def reported(self, runner: str, trained: int) -> None:
        """The pack has been made, which the first report says, or has trained so many epochs of
        trials since the last one."""
        course = self._running[runner]
        if course.phase != TRAINING:
            course.phase = TRAINING
            course.begun = course.last = time.monotonic()
        elif trained:
            course.work += trained
            course.last = time.monotonic()

    def ended(self, runner: str) -> None:
        course = self._running.pop(runner, None)
        if course is not None:
            self._ended[course.program][0] += course.last - course.begun
            self._ended[course.program][1] += course.work

    def phase(self, runner: str) -> str | None:
        """What a pack is doing; None where it does not run."""
        course = self._running.get(runner)
        return course.phase if course else None

    def phases(self) -> Counter[str]:
        """How many packs are importing, compiling and training."""
        return Counter(course.phase for course in self._running.values())

    def rate(self) -> float:
        """Work a second of the packs that train now; 0 before the first of their epochs."""
        return sum(
            one.work / (one.last - one.begun)
            for one in self._running.values()
            if one.work and one.last > one.begun
        )

    def left(
        self, running: Mapping[str, float], waiting: Sequence[tuple[str, float]]
    ) -> float | None:
        """Seconds until all has ended, None before the first epoch.

        Args:
          running: work that is left, by runner. waiting: (program, work) of each pack, in the order
            in which they will start, as workers become free.
        """
        seconds, work = self._measured()
        if not sum(work.values()):
            return None
        mean = sum(seconds.values()) / sum(work.values())
        each = {name: seconds[name] / done for name, done in work.items() if done}
        free = [
            rest * each.get(self._running[runner].program, mean) for runner, rest in running.items()
        ]
        free += [0.0] * (self._most - len(free))
        heapq.heapify(free)
        for program, rest in waiting:
            heapq.heapreplace(free, free[0] + rest * each.get(program, mean))
        return max(free)

    def _measured(self) -> tuple[dict[str, float], dict[str, float]]:
        """Seconds of training, and work done in them, by program."""
        seconds = {name: one[0] for name, one in self._ended.items()}
        work = {name: one[1] for name, one in self._ended.items()}
        for course in self._running.values():
            seconds[course.program] = seconds.get(course.program, 0) + course.last - course.begun
            work[course.program] = work.get(course.program, 0) + course.work
        return seconds, work
