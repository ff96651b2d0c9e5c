"""The rules by themselves: trials come to rungs in any order, and launches end in the middle."""

from __future__ import annotations

import math
import random
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.pruning.asynchronous import Asynchronous
from orchestrator.pruning.decisions import Decision
from orchestrator.pruning.halving import Halving
from orchestrator.pruning.judge import Reached
from orchestrator.pruning.judged import Judged, Known
from orchestrator.pruning.options import Pruning
from orchestrator.pruning.rule import Rule, rungs_of


@dataclass
class Truth:
    """What each trial does if it is not pruned: a value an epoch, and how it ends."""

    values: dict[str, list[float]]
    ends: dict[str, str]


@dataclass
class Sweep:
    """A launch of made-up trials, which may be killed after any event."""

    judged: Judged
    truth: Truth
    done: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)  # epochs whose rows no worker published
    status: dict[str, str] = field(default_factory=dict)
    written: list[Decision] = field(default_factory=list)
    verdicts: dict[tuple[str, int], str] = field(default_factory=dict)

    def known(self) -> Known:
        """What a store would tell a launch that begins now."""
        known = Known(self.judged.pruning.worst)
        for one in self.done:
            ended = self.status.get(one)
            if ended is not None and ended != "pruned":
                known.ended[one] = ended
            self.read(known, [one])
        return known

    def read(self, known: Known, ids: Collection[str]) -> None:
        for one in ids:
            values, done = self.truth.values[one], self.done[one] - self.lost.get(one, 0)
            badly = known.ended.get(one) == "diverged"
            for rung in self.judged.rungs:
                if rung <= done and not (badly and rung == done):
                    known.values.setdefault(one, {}).setdefault(rung, values[rung - 1])
            if known.ended.get(one) in ("done", "stopped"):
                known.last[one] = values[done - 1]

    def rule(self) -> Rule:
        known = self.known()
        kind = Halving if self.judged.pruning.rule == "halving" else Asynchronous
        return kind(self.judged, known, list(self.written), lambda ids: self.read(known, ids))

    def run(self, rng: random.Random, restart: float) -> None:
        """Trains all, one event after another, in an order that `rng` draws."""
        rule, waiting = self.rule(), dict[str, int]()
        while True:
            if rng.random() < restart:
                if rng.random() < 0.5:  # killed after its decisions were written, or before
                    self._take(rule, waiting)
                # A worker dies that has not yet published a running trial's last epoch.
                running = [i for i in self.done if i not in self.status]
                self.lost = {i: 1 for i in running if rng.random() < 0.3}
                rule, waiting = self.rule(), {}
            moving = [i for i in self.judged.epochs if i not in self.status and i not in waiting]
            if not moving:
                assert not waiting, "trials wait for nobody"
                return
            one = rng.choice(moving)
            self._move(rule, one, waiting)
            all_wait = all(i in self.status or i in waiting for i in self.judged.epochs)
            if all_wait or rng.random() < 0.7:  # several events may come in one message
                self._take(rule, waiting)

    def _move(self, rule: Rule, one: str, waiting: dict[str, int]) -> None:
        done, length = self.done.get(one, 0), len(self.truth.values[one])
        rungs = [r for r in rungs_of(rule, one) if r > done or (r == done and done)]
        rungs = [r for r in rungs if (one, r) not in self.verdicts]
        goes = min([*rungs, length]) if rungs else length
        self.done[one] = max(done, goes)
        self.lost.pop(one, None)
        if goes == length and self.truth.ends[one] != "go":
            self.status[one] = self.truth.ends[one]
            rule.ended(one, self.truth.ends[one])
        else:
            waiting[one] = goes
            rule.hear(Reached(one, goes, self.truth.values[one][goes - 1]))

    def _take(self, rule: Rule, waiting: dict[str, int]) -> None:
        self.written += rule.taken
        rule.taken.clear()
        for one, rung in list(waiting.items()):
            verdict = rule.verdict(one, rung)
            if verdict is not None:
                assert self.verdicts.setdefault((one, rung), verdict) == verdict
                del waiting[one]
                if verdict == "prune":
                    self.status[one] = "pruned"


def made_up(rng: random.Random, rule: str, seeds: int = 1, **options: Any) -> tuple[Judged, Truth]:
    """Trials of a few cells: some stop early, diverge or fail, some are shorter than others."""
    pruning = Pruning(rule, **{"grace": 2, "factor": rng.choice([2, 3]), **options})
    epochs, ends, values, cells = {}, {}, {}, {}
    for cell in range(rng.randint(1, 9)):
        ids = [f"{cell}-{seed}" for seed in range(seeds)]
        rng.shuffle(ids)
        cells[min(ids)] = tuple(ids)
        for one in ids:
            epochs[one] = rng.choice([3, 11, 20])
            ends[one] = rng.choice(["done"] * 4 + ["stopped", "diverged", "failed"])
            length = epochs[one] if ends[one] == "done" else rng.randint(1, epochs[one])
            values[one] = [rng.choice([math.nan, *range(6)]) + 0.0 for _ in range(length)]
    cell_of = {i: name for name, ids in cells.items() for i in ids}
    group_of = dict.fromkeys(cells, "")
    return Judged("s/a", pruning, epochs, cell_of, cells, group_of), Truth(values, ends)


def survivors(judged: Judged, truth: Truth) -> list[set[str]]:
    """The cells that each rung lets through, by the definition and nothing else."""
    cohort, found = set(judged.cells), []
    sign = 1 if judged.pruning.mode == "min" else -1

    def score(cell: str, rung: int) -> tuple[bool, float, str]:
        numbers = []
        for one in sorted(judged.cells[cell]):
            values, end = truth.values[one], truth.ends[one]
            # One that ends badly in an epoch is not judged after it.
            if rung < len(values) or (rung == len(values) and end != "diverged"):
                numbers.append(values[rung - 1])
            elif end == "diverged":
                numbers.append(math.nan)
            elif end != "failed":
                numbers.append(values[-1])
        signed = sorted(math.inf if math.isnan(one) else sign * one for one in numbers)
        middle = signed[(len(signed) - 1) // 2 : len(signed) // 2 + 1] or [math.inf]
        median = sum(middle) / len(middle)
        return math.isinf(median), 0.0 if math.isinf(median) else median, cell

    for rung in judged.rungs:
        ranked = sorted(score(cell, rung) for cell in cohort)
        cohort = {cell for *_, cell in ranked[: max(1, len(ranked) // judged.pruning.factor)]}
        found.append(cohort)
    return found


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.2]), st.sampled_from([1, 2, 3]))
def test_halving_has_the_survivors_of_the_closed_form(
    seed: int, restart: float, seeds: int
) -> None:
    rng = random.Random(seed)
    judged, truth = made_up(rng, "halving", seeds, mode=rng.choice(["min", "max"]))
    sweep = Sweep(judged, truth)
    sweep.run(rng, restart)
    through = survivors(judged, truth)
    for (one, rung), verdict in sweep.verdicts.items():
        kept = judged.cell_of[one] in through[judged.rungs.index(rung)]
        assert verdict == ("go" if kept else "prune")
    for one, status in sweep.status.items():
        assert status in ("pruned", truth.ends[one])


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6))
def test_halving_s_decisions_are_those_of_a_launch_without_kills(seed: int) -> None:
    made = made_up(random.Random(seed), "halving", 2)
    sweeps = [Sweep(*made), Sweep(*made)]
    for sweep, restart in zip(sweeps, (0.0, 0.3), strict=True):
        sweep.run(random.Random(seed + 1), restart)
    plain, killed = ({repr(one) for one in sweep.written} for sweep in sweeps)
    assert plain == killed
    assert len(sweeps[1].written) == len(killed)  # none of them twice


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from(["asha", "hyperband", "median"]))
def test_optuna_s_rules_take_no_decision_twice_or_differently(seed: int, rule: str) -> None:
    rng = random.Random(seed)
    judged, truth = made_up(rng, rule, rng.choice([1, 2]))
    sweep = Sweep(judged, truth)
    sweep.run(rng, 0.2)  # which holds each verdict against that of later launches
    keys = [(one.trial_id, one.rung) for one in sweep.written]
    assert len(keys) == len(set(keys))
    written = {(one.trial_id, one.epochs): one.verdict for one in sweep.written}
    assert sweep.verdicts.items() <= written.items()
