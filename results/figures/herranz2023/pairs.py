"""Paired comparisons of starts: trials that differ in nothing but what they started from."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results.figures.herranz2023.starts import Outcome, in_order, told_by_start


@dataclass(frozen=True)
class Comparison:
    """How often `first` beat `second` over matched trials.

    Attributes:
      ties: pairs of equal values, or of two trials without a finite epoch.
      missing: pairs of which one trial, or both, has no result in the store.
    """

    first: str
    second: str
    wins: int
    ties: int
    losses: int
    missing: int

    @property
    def pairs(self) -> int:
        return self.wins + self.ties + self.losses

    @property
    def win_percent(self) -> float | None:
        """Wins in percent of all pairs compared, ties included; None without a pair."""
        return 100.0 * self.wins / self.pairs if self.pairs else None


Key = tuple[Any, ...]


def matched(outcomes: Sequence[Outcome], swept: Sequence[str]) -> dict[Key, dict[str, Outcome]]:
    """Outcomes by the swept keys that do not tell starts apart, then by start."""
    keys = [key for key in swept if not told_by_start(key)]
    found: dict[Key, dict[str, Outcome]] = {}
    for outcome in outcomes:
        key = tuple(outcome.key(name) for name in keys)
        found.setdefault(key, {})[outcome.start] = outcome
    return found


def comparisons(
    groups: Mapping[Key, Mapping[str, Outcome]],
    keep: Callable[[Outcome], bool] = lambda outcome: True,
) -> list[Comparison]:
    """Every pair of starts, over the groups whose trials `keep` accepts."""
    kept = [group for group in groups.values() if all(keep(one) for one in group.values())]
    starts = in_order([start for group in groups.values() for start in group])
    return [_compared(kept, *pair) for pair in itertools.combinations(_preferred(starts), 2)]


def _preferred(starts: Sequence[str]) -> list[str]:
    """The start whose wins are counted comes first: smaller targets, then target 1, then none."""
    pretrained = [start for start in starts if start.startswith("LSC")]
    plain = [start for start in starts if not start.startswith("LSC")]
    return [*reversed(pretrained), *plain]


def _compared(groups: Sequence[Mapping[str, Outcome]], first: str, second: str) -> Comparison:
    wins = ties = losses = missing = 0
    for group in groups:
        if first not in group or second not in group:
            missing += first in group or second in group
            continue
        better = _better(group[first], group[second])
        wins, ties, losses = wins + (better > 0), ties + (better == 0), losses + (better < 0)
    return Comparison(first, second, wins, ties, losses, missing)


def _better(one: Outcome, other: Outcome) -> int:
    """1 if `one` is better, -1 if worse, 0 if equal; a trial without a finite epoch is worst."""
    if one.value is None or other.value is None:
        return (one.value is not None) - (other.value is not None)
    if one.value == other.value:
        return 0
    return 1 if (one.value < other.value) is one.lower_is_better else -1
