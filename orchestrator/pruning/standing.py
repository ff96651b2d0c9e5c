"""Where the trials of a space stand by what a store holds; Optuna is not asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from orchestrator.pruning.decisions import Decision, decisions_of, recorded_decisions
from orchestrator.pruning.halving import Halving
from orchestrator.pruning.judged import ENDED_WELL, Judged, Known, known_of
from orchestrator.units import counted
from results import Store

_SAID = ("pruned", "failed")
"""Statuses of attempts after which a trial that was judged has nothing more to say."""


class Standing(Protocol):
    """Verdicts so far."""

    judged: Judged
    known: Known

    def verdict(self, trial_id: str, epochs: int) -> str | None:
        """The verdict on a trial that has come that far, go or prune; None while that is open."""
        ...

    def value(self, trial_id: str, epochs: int) -> float:
        """What a trial that has its verdict there was judged by."""
        ...


class _Recorded:
    """What decisions say, and nothing beyond."""

    def __init__(self, judged: Judged, known: Known, recorded: Sequence[Decision]):
        self.judged, self.known = judged, known
        self._said = {(one.trial_id, one.epochs): one for one in recorded}

    def verdict(self, trial_id: str, epochs: int) -> str | None:
        said = self._said.get((trial_id, epochs))
        return said and said.verdict

    def value(self, trial_id: str, epochs: int) -> float:
        return self._said[trial_id, epochs].value


def pruned_trials(store: Store | None, judged: Judged) -> dict[str, str]:
    """The trials of a space that are pruned, as of now, each with the reason.

    One whose worker was lost before it could say so is not among them: it has still to run as far
    as it was judged, and is pruned then.
    """
    if store is None:
        return {}
    known, recorded = known_of(store, judged), recorded_decisions(store, judged)
    newest = store.sql(
        "SELECT trial_id, status, epochs_done FROM attempts WHERE newest AND trial_id IN "
        "(SELECT unnest($ids))",
        {"ids": list(judged.epochs)},
    ).fetchall()
    said = {i: math.inf if status in _SAID else done or 0 for i, status, done in newest}
    found: dict[str, str] = {}
    for group in judged.groups():
        found |= _pruned(_standing(group, known, decisions_of(recorded, group)), said)
    return found


def _standing(judged: Judged, known: Known, recorded: Sequence[Decision]) -> Standing:
    if judged.pruning.rule == "halving":
        return Halving(judged, known, recorded, lambda ids: None)
    return _Recorded(judged, known, recorded)


def _pruned(standing: Standing, said: Mapping[str, float]) -> dict[str, str]:
    judged, known, found = standing.judged, standing.known, {}
    pruning = judged.pruning
    for trial_id, epochs in judged.epochs.items():
        if known.ended.get(trial_id) in ENDED_WELL:
            continue
        for rung in pruning.rungs(epochs):
            if standing.verdict(trial_id, rung) == "prune":
                if said.get(trial_id, 0) <= rung:
                    break
                value = standing.value(trial_id, rung)
                at = f"{counted(rung, 'epoch')}, with {pruning.metric} {value:.4g}"
                found[trial_id] = f"pruned by {pruning.rule} after {at}"
                break
    return found
