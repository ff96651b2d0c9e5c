"""How long a pack's epochs and its start take: from past attempts in a store, or as given."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.plan.plan import SpacePlan
from orchestrator.simulate.cluster import LONGEST_S
from orchestrator.units import counted
from results import Store

COMPILE_S = 30.0
"""Seconds to start a pack that compiles, where neither the store nor the user says."""

CACHED_SHARE = 0.15
"""A start from the compile cache takes this share of one that compiles, where the store has no
example: the median of 10 programs of vanishing/depth on a CPU (0.08 to 0.24)."""


@dataclass(frozen=True)
class Pace:
    """Seconds of one program's packs.

    Attributes:
      pack_s: an epoch takes this, however many of the pack's lanes are still active,
      lane_s: and this for each lane that is.
      compile_s: from a worker's taking a pack to its first step, and all else that is no training,
        if the program has to be compiled.
      cached_s: the same, if the node's compile cache holds the program.
      measured: from past attempts rather than as given.
    """

    pack_s: float
    lane_s: float
    compile_s: float
    cached_s: float
    measured: bool = False

    def epoch_s(self, active: int) -> float:
        """Seconds of one epoch with so many active lanes."""
        return self.pack_s + self.lane_s * active


@dataclass(frozen=True)
class _Past:
    """One pack that ran: what its attempts recorded.

    Attributes:
      place: launch and machine. other_s: all that was no training, waiting included.
      compile_s: of these, what the pack itself spent compiling or reading the compile cache.
    """

    place: tuple[str, str]
    started: datetime
    ended: datetime
    width: int
    strategy: str
    epochs: int
    lane_epochs: int
    train_s: float
    compile_s: float
    other_s: float

    def start_s(self, compiler: _Past) -> float:
        """Seconds of `other_s` without those in which it waited for `compiler` on its machine."""
        ready = compiler.started + timedelta(seconds=compiler.other_s)
        if self.place != compiler.place or self.ended < ready:
            return self.other_s
        waited = max((ready - self.started).total_seconds(), 0.0)
        return max(self.other_s - waited, self.compile_s)


def find_paces(
    plans: Sequence[SpacePlan],
    store: Store | None,
    gpu: bool,
    seconds_per_epoch: float | None = None,
    compile_s: float | None = None,
) -> dict[str, Pace]:
    """The pace of each program the plans would run.

    Args:
      gpu: of attempts on a GPU, or on a CPU; those of the other kind tell nothing.
      seconds_per_epoch, compile_s: of a pack whose program was never measured.

    Raises:
      RequestError: a program was never measured and no figure is given, or an impossible one.
    """
    for what, least, given in (
        ("seconds per epoch", 1e-6, seconds_per_epoch),
        ("seconds to compile", 0, compile_s),
    ):
        if given is not None and not least <= given <= LONGEST_S:
            raise RequestError(
                f"{what}: at least {least:g} and at most {LONGEST_S:g}, got {given:g}"
            )
    widths = {pack.program: pack.width for one in plans for pack in one.packs}
    found = measured_paces(store.attempts().to_pylist() if store else [], gpu, widths)
    unknown = sorted(widths.keys() - found.keys())
    if unknown and seconds_per_epoch is None:
        kind = "GPU" if gpu else "CPU"
        some = f"{len(unknown)} of {counted(len(widths), 'program')}"
        has = "has" if len(unknown) == 1 else "have"
        raise RequestError(
            f"{some} {has} no finished attempt on a {kind} in this store; give "
            "--seconds-per-epoch, or launch a few trials first (--limit) and simulate on that store"
        )
    compiling = COMPILE_S if compile_s is None else compile_s
    for program in unknown:
        assert seconds_per_epoch is not None
        found[program] = Pace(seconds_per_epoch, 0.0, compiling, compiling * CACHED_SHARE)
    return found


def measured_paces(
    attempts: Iterable[Mapping[str, Any]], gpu: bool, widths: Mapping[str, int]
) -> dict[str, Pace]:
    """program -> its pace at the width it will have (`widths`), from rows of attempts.

    An epoch in sequence costs each active lane its time, an epoch under vmap costs the whole width
    whoever is active. Of a program's packs the one that compiled for longest is taken to have
    compiled it; the others found it in the cache, and may have waited for it.
    """
    packs: dict[tuple[str, str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in attempts:
        on_gpu = not str(row["device"] or "").startswith("cpu")
        if row["program"] in widths and row["signature"] and row["ended"] and on_gpu == gpu:
            packs[row["program"], row["launch_id"], row["pack"]].append(row)
    past: dict[str, list[_Past]] = defaultdict(list)
    for (program, *_), rows in packs.items():
        one = _past(rows)
        if one is not None:
            past[program].append(one)
    share = _cached_share(past.values())
    return {program: _pace(found, widths[program], share) for program, found in past.items()}


def _past(rows: Sequence[Mapping[str, Any]]) -> _Past | None:
    """What a pack's ended attempts say together; None if they trained nothing."""
    signature = json.loads(rows[0]["signature"])
    slots: Counter[int] = Counter()  # trials of one slot follow one another
    for row in rows:
        slots[row["lane"] or 0] += (row["epochs_done"] or 0) - (row["first_epoch"] or 0)
    train = sum(row["seconds"] or 0.0 for row in rows)
    if max(slots.values()) < 1 or train <= 0:
        return None
    started, ended = min(row["started"] for row in rows), max(row["ended"] for row in rows)
    compile_s = rows[0]["compile_seconds"] or 0.0
    return _Past(
        place=(rows[0]["launch_id"], rows[0]["host"]),
        started=started,
        ended=ended,
        width=int(signature["width"]),
        strategy=str(signature["strategy"]),
        epochs=max(slots.values()),
        lane_epochs=slots.total(),
        train_s=train,
        compile_s=compile_s,
        # Loading, compiling, recording, saving. A lane whose worker died has no end and is missing
        # from the sums, so this is never taken below what compiling alone took.
        other_s=max((ended - started).total_seconds() - train, compile_s),
    )


def _pace(past: Sequence[_Past], width: int, share: float) -> Pace:
    compiled, cached = _starts(past)
    found = statistics.median(cached) if cached else compiled * share
    train = sum(one.train_s for one in past)
    if past[-1].strategy == "sequential":
        lane = train / sum(one.lane_epochs for one in past)
        return Pace(0.0, lane, compiled, found, measured=True)
    slots = sum(one.epochs * one.width for one in past)
    return Pace(train / slots * width, 0.0, compiled, found, measured=True)


def _starts(past: Sequence[_Past]) -> tuple[float, list[float]]:
    """Seconds of the start that compiled, and of those that did not."""
    compiler = max(past, key=lambda one: one.compile_s)
    return compiler.other_s, [one.start_s(compiler) for one in past if one is not compiler]


def _cached_share(past: Iterable[Sequence[_Past]]) -> float:
    """A start from the cache as a share of one that compiles, over the programs that show both."""
    shares = []
    for packs in past:
        compiled, cached = _starts(packs)
        if cached and compiled > 0:
            shares.append(statistics.median(cached) / compiled)
    return statistics.median(shares) if shares else CACHED_SHARE
