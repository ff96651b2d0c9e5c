"""Synchronous successive halving: a function of what the store holds, and of nothing else.

This table is ours, since Optuna has no synchronous rule. At rung k the cohort is every cell that
rung k - 1 let through, or all. Once all of it has come that far or ended otherwise, the
max(1, floor(n / factor)) best of its n cells go on, equal values by id, and the others are pruned.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.pruning.decisions import Decision, against_text, rank_key, same_decision
from orchestrator.pruning.judge import Reached
from orchestrator.pruning.judged import Judged, Known
from orchestrator.pruning.rule import Read, read_ended, rows_of_cell


class Halving:
    """The rule with what it knows; see `rule.Rule`."""

    def __init__(self, judged: Judged, known: Known, recorded: Sequence[Decision], read: Read):
        self.judged, self.known = judged, known
        self.taken: list[Decision] = []
        self._written = {(one.trial_id, one.rung): one for one in recorded}
        self._past = self._recorded_values()
        self._read = read
        self._rungs = judged.rungs
        self._out: dict[str, int] = {}  # cell -> the rung that did not let it through
        self._values: list[dict[str, float]] = []  # by cell, of the rungs that are decided
        self._enter(list(judged.cells))

    def hear(self, reached: Reached) -> None:
        """A trial has come to a rung. One that had failed is compared as if it had come in time;
        the verdicts of others stand."""
        failed = self.known.ended.pop(reached.trial_id, None) is not None
        values = self.known.values.setdefault(reached.trial_id, {})
        values.setdefault(reached.epochs, reached.value)
        if reached.trial_id in self.judged.cell_of:
            if failed:
                self._readmit(self.judged.cell_of[reached.trial_id])
            self._arrived(reached.trial_id)

    def ended(self, trial_id: str, status: str) -> None:
        """A trial has ended otherwise."""
        self.known.ended[trial_id] = status
        self._arrived(trial_id)

    def verdict(self, trial_id: str, epochs: int) -> str | None:
        """The verdict on a trial that has come that far, go or prune; None while that is open."""
        if epochs not in self._rungs:
            return "go"
        rung = self._rungs.index(epochs)
        if self._out.get(self.judged.cell_of[trial_id], rung + 1) <= rung:
            return "prune"
        return "go" if rung < len(self._values) else None

    def value(self, trial_id: str, epochs: int) -> float:
        """What a trial that has its verdict there was judged by."""
        return self._values[self._rungs.index(epochs)][self.judged.cell_of[trial_id]]

    def _enter(self, cohort: list[str]) -> None:
        """Begins the next rung, and decides it if all have come that far."""
        self._cohort = cohort
        self._open = set(cohort)
        for cell in cohort:
            self._close(cell)
        self._decide()

    def _arrived(self, trial_id: str) -> None:
        if len(self._values) < len(self._rungs):
            self._close(self.judged.cell_of[trial_id])
            self._decide()

    def _close(self, cell: str) -> None:
        rung = len(self._values)
        done = rung == len(self._rungs)
        if not done and self._there(cell, rung):
            self._open.discard(cell)

    def _decide(self) -> None:
        rung = len(self._values)
        if self._open or rung == len(self._rungs):
            return
        epochs = self._rungs[rung]
        members = [one for cell in self._cohort for one in self.judged.cells[cell]]
        read_ended(self.known, members, epochs, self._read)
        values = {cell: self._value(cell, rung) for cell in self._cohort}
        keep = self._keep(len(values))
        ranked = sorted(values, key=lambda one: rank_key(self.judged, one, values[one]))
        kept = set(ranked[:keep])
        against = against_text(self.judged, values, keep)
        for cell, value in values.items():
            if cell not in kept:
                self._out[cell] = rung
            self._take(cell, rung, value, against, "go" if cell in kept else "prune")
        self._values.append(values)
        self._enter([cell for cell in self._cohort if cell in kept])

    def _recorded_values(self) -> dict[tuple[str, int], float]:
        """Values of cells that were judged before: a decision may be in the store while a worker
        that died has not published the epoch that it goes by."""
        found = {}
        for (trial_id, rung), one in self._written.items():
            cell = self.judged.cell_of[trial_id]
            members = self.judged.cells[cell]
            if all((i, rung) in self._written or i in self.known.ended for i in members):
                found[cell, rung] = one.value
        return found

    def _there(self, cell: str, rung: int) -> bool:
        arrived = self.known.arrived(self.judged.cells[cell], self._rungs[rung])
        return arrived or (cell, rung) in self._past

    def _value(self, cell: str, rung: int) -> float:
        members = self.judged.cells[cell]
        if self.known.arrived(members, self._rungs[rung]):
            return self.known.value(members, self._rungs[rung])
        return self._past[cell, rung]

    def _keep(self, count: int) -> int:
        return max(1, count // self.judged.pruning.factor)

    def _take(self, cell: str, rung: int, value: float, against: str, verdict: str) -> None:
        members = self.judged.cells[cell]
        for one in rows_of_cell(self, members, rung, value, against, verdict):
            if not same_decision(self._written.get((one.trial_id, rung)), one):
                self.taken.append(one)
                self._written[one.trial_id, rung] = one

    def _readmit(self, cell: str) -> None:
        """A cell was judged without a trial of its that had failed, which now comes to that rung
        after all."""
        rung = self._out.get(cell)
        if rung is None or not self._there(cell, rung):
            return
        values = self._values[rung]
        value = values[cell] = self._value(cell, rung)
        ranked = sorted(values, key=lambda one: rank_key(self.judged, one, values[one]))
        keep = self._keep(len(ranked))
        verdict = "go" if ranked.index(cell) < keep else "prune"
        if verdict == "go":
            # Where later rungs have been decided meanwhile, they let it through.
            del self._out[cell]
            self._cohort.append(cell)
            self._open.add(cell)
        self._take(cell, rung, value, against_text(self.judged, values, keep), verdict)
