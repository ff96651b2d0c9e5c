"""What all rules share: facts come in, decisions are taken."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from orchestrator.pruning.decisions import Decision
from orchestrator.pruning.judge import Reached
from orchestrator.pruning.judged import ENDED_WELL, Judged, Known

Read = Callable[[Collection[str]], None]
"""Adds to a rule's facts what the store has of these trials, which have ended."""


_VALUED = ENDED_WELL | {"failed"}


class Rule(Protocol):
    """A rule with what it knows of one space's trials.

    Attributes:
      taken: decisions that nobody has written yet.
    """

    judged: Judged
    known: Known
    taken: list[Decision]

    def hear(self, reached: Reached) -> None:
        """A trial has come to a rung."""
        ...

    def ended(self, trial_id: str, status: str) -> None:
        """A trial has ended otherwise."""
        ...

    def verdict(self, trial_id: str, epochs: int) -> str | None:
        """The verdict on a trial that has come that far, go or prune; None while that is open."""
        ...


def rungs_of(rule: Rule, trial_id: str) -> list[int]:
    """Where a trial is judged; nowhere if it has ended well, since it is never pruned then."""
    if trial_id not in rule.judged.epochs or rule.known.ended.get(trial_id) in ENDED_WELL:
        return []
    return rule.judged.pruning.rungs(rule.judged.epochs[trial_id])


def rows_of_cell(
    rule: Rule, members: Sequence[str], rung: int, value: float, against: str, verdict: str
) -> list[Decision]:
    """A cell's verdict as a decision on each of its trials that waits for it."""
    epochs = rule.judged.rungs[rung]
    return [
        Decision(one, rung, epochs, value, against, verdict)
        for one in members
        if one not in rule.known.ended
        and rule.judged.epochs[one] > epochs
        and rule.known.reached(one, epochs)
    ]


def read_ended(known: Known, members: Iterable[str], epochs: int, read: Read) -> None:
    """Reads the values of those that have ended, but not badly, and have not come to that rung."""
    unread = [
        one
        for one in members
        if known.ended.get(one) in _VALUED
        and one not in known.last
        and not known.reached(one, epochs)
    ]
    if unread:
        read(unread)
