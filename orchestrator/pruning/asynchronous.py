"""Optuna's pruners, asked about cells as they come to a rung.

Successive halving (ASHA) and the median rule are Optuna's as they are. Hyperband is several of its
successive halvings, the later ones with a longer grace, as Optuna's own Hyperband is. But a cell's
id fixes which of them it is in, where Optuna goes by the number of a trial: that number changes
with the grid.
"""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.pruning.decisions import Decision, against_text
from orchestrator.pruning.judge import Reached
from orchestrator.pruning.judged import ENDED_BADLY, ENDED_WELL, Judged, Known
from orchestrator.pruning.options import Pruning
from orchestrator.pruning.rule import Read, read_ended, rows_of_cell

if TYPE_CHECKING:
    import optuna

_FINAL = ENDED_WELL | ENDED_BADLY
"""Statuses of trials that no launch runs again."""


class Asynchronous:
    """The rule with what it knows; see `rule.Rule`. A cell has its verdict as soon as all of its
    trials have come that far or ended: no other cell is waited for."""

    def __init__(self, judged: Judged, known: Known, recorded: Sequence[Decision], read: Read):
        self.judged, self.known = judged, known
        self.taken: list[Decision] = []
        self._read = read
        self._rungs = judged.rungs
        shares = bracket_shares(judged.pruning, max(judged.epochs.values(), default=1))
        self._bracket = {cell: bracket_of(cell, shares) for cell in judged.cells}
        self._studies = _studies(judged.pruning, len(shares))
        self._asked: dict[str, optuna.Trial] = {}
        self._told: set[str] = set()
        self._waits: dict[str, set[int]] = defaultdict(set)  # rungs of a cell that wait for it
        self._said: dict[tuple[str, int], tuple[float, str, str]] = {}  # value, against, verdict
        self._verdicts: dict[tuple[str, int], str] = {}  # of a trial at a rung
        self._compared: dict[tuple[int, int], dict[str, float]] = defaultdict(dict)
        self._seed(recorded)

    def hear(self, reached: Reached) -> None:
        """A trial has come to a rung."""
        self.known.ended.pop(reached.trial_id, None)
        values = self.known.values.setdefault(reached.trial_id, {})
        values.setdefault(reached.epochs, reached.value)
        cell = self.judged.cell_of[reached.trial_id]
        if reached.epochs in self._rungs:
            self._waits[cell].add(self._rungs.index(reached.epochs))
            self._judge(cell)

    def ended(self, trial_id: str, status: str) -> None:
        """A trial has ended otherwise."""
        self.known.ended[trial_id] = status
        cell = self.judged.cell_of[trial_id]
        self._judge(cell)
        self._tell(cell)

    def verdict(self, trial_id: str, epochs: int) -> str | None:
        """The verdict on a trial that has come that far, go or prune; None while that is open."""
        if epochs not in self._rungs:
            return "go"
        return self._verdicts.get((trial_id, self._rungs.index(epochs)))

    def _seed(self, recorded: Sequence[Decision]) -> None:
        """Has Optuna know what the store holds: trials that ended without being judged, in the
        plan's order, then decisions in theirs. What they said stands, whatever Optuna says now."""
        judged = {self.judged.cell_of[one.trial_id] for one in recorded}
        for cell, members in self.judged.cells.items():
            if cell not in judged and all(self.known.ended.get(i) in _FINAL for i in members):
                self._feed(cell, len(self._rungs))
        for one in recorded:
            cell = self.judged.cell_of[one.trial_id]
            if (cell, one.rung) not in self._said:
                self._report(cell, one.rung, one.value)
                self._said[cell, one.rung] = one.value, one.against, one.verdict
            self._verdicts[one.trial_id, one.rung] = one.verdict
        for cell in self.judged.cells:
            self._tell(cell)

    def _judge(self, cell: str) -> None:
        """Decides on a cell at each rung where trials of it wait, once all of it is there."""
        members = self.judged.cells[cell]
        for rung in sorted(self._waits[cell]):
            if self.known.arrived(members, self._rungs[rung]):
                self._waits[cell].discard(rung)
                self._decide(cell, rung, members)

    def _decide(self, cell: str, rung: int, members: tuple[str, ...]) -> None:
        if (cell, rung) not in self._said:
            read_ended(self.known, members, self._rungs[rung], self._read)
            value = self.known.value(members, self._rungs[rung])
            self._feed(cell, rung)
            against = self._held_against(cell, rung)
            verdict = "prune" if self._report(cell, rung, value) else "go"
            self._said[cell, rung] = value, against, verdict
        for one in rows_of_cell(self, members, rung, *self._said[cell, rung]):
            if (one.trial_id, rung) not in self._verdicts:
                self._verdicts[one.trial_id, rung] = one.verdict
                self.taken.append(one)

    def _feed(self, cell: str, before: int) -> None:
        """Has Optuna know of rungs that a cell has passed without being judged."""
        members = self.judged.cells[cell]
        for rung, epochs in enumerate(self._rungs[:before]):
            there = any(self.known.reached(one, epochs) for one in members)
            if there and (cell, rung) not in self._said:
                value = self.known.value(members, epochs)
                self._report(cell, rung, value)
                self._said[cell, rung] = value, "{}", "go"

    def _report(self, cell: str, rung: int, value: float) -> bool:
        """Tells Optuna a cell's value at a rung; whether it says to prune the cell. What is no
        number is worse than all, and Optuna is not asked."""
        if math.isnan(value):
            return True
        trial = self._trial(cell)
        trial.report(value, self._rungs[rung])
        self._compared[self._bracket[cell], rung][cell] = value
        return trial.should_prune()

    def _trial(self, cell: str) -> optuna.Trial:
        """Optuna's trial of a cell, made when it first comes: Optuna looks through all it has."""
        if cell not in self._asked:
            self._asked[cell] = self._studies[self._bracket[cell]].ask()
        return self._asked[cell]

    def _held_against(self, cell: str, rung: int) -> str:
        values = self._compared[self._bracket[cell], rung]
        if self.judged.pruning.rule == "median":
            values = {one: value for one, value in values.items() if one in self._told}
            return against_text(self.judged, values, len(values) // 2)
        if rung < self._bracket[cell]:  # its bracket has a longer grace
            return "{}"
        return against_text(self.judged, values, len(values) // self.judged.pruning.factor)

    def _tell(self, cell: str) -> None:
        """Tells Optuna that a cell has ended well, if it has."""
        members = self.judged.cells[cell]
        if cell in self._told or any(self.known.ended.get(i) not in ENDED_WELL for i in members):
            return
        from optuna.trial import TrialState

        self._told.add(cell)
        # No pruner reads what it ended with: they compare values of equal epochs.
        self._studies[self._bracket[cell]].tell(self._trial(cell), 0.0, TrialState.COMPLETE)


def bracket_shares(pruning: Pruning, epochs: int) -> list[int]:
    """Of how many cells each bracket has its share, those with the shortest grace first: as in
    Optuna's Hyperband. Other rules have one bracket."""
    if pruning.rule != "hyperband":
        return [1]
    factor, count = pruning.factor, 1
    while pruning.grace * factor**count <= epochs:
        count += 1
    return [math.ceil(count * factor**s / (s + 1)) for s in reversed(range(count))]


def bracket_of(cell: str, shares: Sequence[int]) -> int:
    """The number of a cell's bracket, which is fixed by its id."""
    place = zlib.crc32(cell.encode()) % sum(shares)
    return next(i for i in range(len(shares)) if place < sum(shares[: i + 1]))


def _studies(pruning: Pruning, brackets: int) -> list[optuna.Study]:
    """A study in memory for each bracket."""
    import optuna

    said = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # not that a study has been made
    try:
        return [
            optuna.create_study(
                direction="minimize" if pruning.mode == "min" else "maximize",
                sampler=optuna.samplers.RandomSampler(0),
                pruner=optuna.pruners.MedianPruner()
                if pruning.rule == "median"
                else optuna.pruners.SuccessiveHalvingPruner(
                    pruning.grace, pruning.factor, min_early_stopping_rate=bracket
                ),
            )
            for bracket in range(brackets)
        ]
    finally:
        optuna.logging.set_verbosity(said)
