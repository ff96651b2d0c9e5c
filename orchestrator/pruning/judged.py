"""What is judged of a space, and what is known of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from orchestrator.pruning.options import Pruning
from results import Store
from results.store.metric_columns import measured
from trainables.declarations import Trial

ENDED_WELL = frozenset({"done", "stopped"})
ENDED_BADLY = frozenset({"diverged", "gate_failed", "blocked"})
"""Results that are worse than any number. One that `failed` is none, and is left out."""


@dataclass(frozen=True)
class Judged:
    """The trials of a space that a rule compares, in cells: those of one cell differ only in the
    keys of `Pruning.over`, and share their verdicts. Without such keys a cell is one trial.

    Attributes:
      epochs: by trial, of the space's last stage, in the plan's order.
      cell_of: name of a trial's cell, which is the least id of its trials.
      cells: ids by name, in the plan's order.
      group_of: by cell, what it is compared within: equal values of the keys of `Pruning.within`.
      blocked: trials that cannot start.
    """

    space: str
    pruning: Pruning
    epochs: Mapping[str, int]
    cell_of: Mapping[str, str]
    cells: Mapping[str, tuple[str, ...]]
    group_of: Mapping[str, str]
    blocked: Collection[str] = ()

    @cached_property
    def rungs(self) -> list[int]:
        """Of its longest trial."""
        return self.pruning.rungs(max(self.epochs.values(), default=0))

    def groups(self) -> list[Judged]:
        """Its trials in groups, each with cells that are compared with one another alone."""
        members: dict[str, list[str]] = {}
        for cell in self.cells:
            members.setdefault(self.group_of[cell], []).append(cell)
        if len(members) < 2:
            return [self]
        return [self._of(cells) for cells in members.values()]

    def _of(self, cells: Sequence[str]) -> Judged:
        ids = {one: cell for cell in cells for one in self.cells[cell]}
        return Judged(
            self.space,
            self.pruning,
            {one: self.epochs[one] for one in ids},
            ids,
            {cell: self.cells[cell] for cell in cells},
            {cell: self.group_of[cell] for cell in cells},
            self.blocked,
        )


def judged_of(
    space: str, pruning: Pruning, trials: Sequence[Trial], blocked: Collection[str] = ()
) -> Judged:
    """Puts trials into their cells."""
    by_rest: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for trial in trials:
        rest = [(n, repr(v)) for n, v in trial.config.items() if n not in pruning.over]
        by_rest.setdefault(tuple(sorted(rest)) if pruning.over else ((trial.id, ""),), []).append(
            trial.id
        )
    cells = {min(ids): tuple(ids) for ids in by_rest.values()}
    cell_of = {i: name for name, ids in cells.items() for i in ids}
    shared = {t.id: repr([t.config.get(key) for key in pruning.within]) for t in trials}
    group_of = {cell: shared[cell] for cell in cells}
    epochs = {t.id: t.epochs for t in trials}
    return Judged(space, pruning, epochs, cell_of, cells, group_of, blocked)


@dataclass
class Known:
    """Facts about trials.

    Attributes:
      values: of the metric, by trial and count of done epochs, at rungs; NaN where it is no number.
      last: of trials that have ended, in their last epoch.
      ended: status of those that need no verdict.
      worst: what the worst trial would have, infinite; by the better end of the metric.
    """

    worst: float = math.inf
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)

    def reached(self, trial_id: str, epochs: int) -> bool:
        """Whether the trial has a value after that many epochs."""
        return epochs in self.values.get(trial_id, ())

    def arrived(self, members: Iterable[str], epochs: int) -> bool:
        """Whether nothing more is to come of these trials before they have been judged there."""
        return all(i in self.ended or self.reached(i, epochs) for i in members)

    def value(self, members: Iterable[str], epochs: int) -> float:
        """What a cell is judged by: the median over its trials of their value after that many
        epochs, or of their last one where they ended before. One that ended badly, or has no
        number, counts as the worst; those that failed before are left out. NaN, which is worst of
        all, where the median is of the worst, and where all failed."""
        found = []
        for one in members:
            if self.reached(one, epochs):
                found.append(self.values[one][epochs])
            elif self.ended.get(one) in ENDED_BADLY:
                found.append(math.nan)
            elif self.ended.get(one) != "failed":
                found.append(self.last.get(one, math.nan))
        if not found:
            return math.nan
        median = statistics.median(self.worst if math.isnan(one) else one for one in found)
        return median if math.isfinite(median) else math.nan


def known_of(store: Store | None, judged: Judged) -> Known:
    """What a store knows of the trials, as of now."""
    known = Known(judged.pruning.worst, ended=dict.fromkeys(judged.blocked, "blocked"))
    if store is None:
        return known
    newest = store.sql(
        "SELECT trial_id, status FROM attempts WHERE newest AND trial_id IN (SELECT unnest($ids))",
        {"ids": list(judged.epochs)},
    )
    final = ENDED_WELL | ENDED_BADLY | {"failed"}
    known.ended |= {i: status for i, status in newest.fetchall() if status in final}
    read_values(store, judged, known, list(judged.epochs))
    return known


def read_values(store: Store, judged: Judged, known: Known, ids: Collection[str]) -> None:
    """Adds to `known` the values of these trials that the store shows and it has not yet."""
    rungs = judged.rungs
    rows = store.sql(
        f"SELECT trial_id, epoch + 1, {measured(judged.pruning.metric)}, "
        "row_number() OVER (PARTITION BY trial_id ORDER BY epoch DESC) = 1 FROM all_epochs "
        "WHERE trial_id IN (SELECT unnest($ids)) "
        "QUALIFY epoch + 1 IN (SELECT unnest($rungs)) OR "
        "row_number() OVER (PARTITION BY trial_id ORDER BY epoch DESC) = 1",
        {"ids": list(ids), "rungs": rungs},
    )
    for trial_id, epochs, value, last in rows.fetchall():
        number = math.nan if value is None else float(value)
        status = known.ended.get(trial_id)
        # The epoch that ended it badly is no value of a rung: nothing was judged then.
        if epochs in rungs and not (last and status in ENDED_BADLY):
            known.values.setdefault(trial_id, {}).setdefault(epochs, number)
        if last and status in ENDED_WELL:
            known.last[trial_id] = number
