"""Trials that go on from a shorter one: whose rows theirs are up to where they began.

A trial of 10 epochs that goes on from one of 5 has the other's first five epochs for its own. They
are stored once, and show under both ids. Which rows these are is fixed by the attempt whose state
it went on from: that one's, and those of the attempts that it went on from in turn. What becomes of
the shorter trial later changes nothing. The shorter one may itself go on from a still shorter one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results.store.merging.lines import Key, Lines, key_of, starts_at

NEVER = 2**31 - 1
"""An epoch that no trial comes to."""


@dataclass(frozen=True)
class Borrowed:
    """Rows of an attempt of another trial that are a trial's too.

    Attributes:
      trial_id: the longer trial. attempt: its attempt that goes on from the other trial.
      source_id, source: the other trial, and the key of its attempt that wrote them.
      until_epoch: the first epoch whose row is none of them.
      shown: the longer trial's line of attempts that begins with them shows.
    """

    trial_id: str
    attempt: int
    source_id: str
    source: Key
    until_epoch: int
    shown: bool


def borrowed(attempts: Sequence[Mapping[str, Any]]) -> list[Borrowed]:
    """What trials have of others.

    Args:
      attempts: rows of the table `attempts`, of all trials that go on from another and of those
        others, with `started` in microseconds.
    """
    trials: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in attempts:
        trials[row["trial_id"]].append(row)
    lines = {trial_id: Lines(rows) for trial_id, rows in trials.items()}
    shown = {row["trial_id"]: key_of(row) for row in attempts if row["newest"]}
    return [
        found
        for trial_id, own in lines.items()
        if any(row["continues"] for row in own.rows.values())
        for last in own.lasts
        for found in _of_line(trial_id, last, lines, shown)
    ]


def _of_line(
    trial_id: str, last: Key, lines: Mapping[str, Lines], shown: Mapping[str, Key]
) -> Iterable[Borrowed]:
    until, seen = NEVER, {trial_id}
    at: tuple[str, Key] | None = (trial_id, last)
    attempt: int | None = None
    while at is not None:
        source_id, key = at
        at = None
        for one in lines[source_id].back_from(key):
            row = lines[source_id].rows[one]
            if attempt is not None and until > 0:
                yield Borrowed(trial_id, attempt, source_id, one, until, shown[trial_id] == last)
            source = row["continues"]
            if source and source in lines and source not in seen:
                until = min(until, row["first_epoch"] or 0)
                attempt = row["attempt"] if attempt is None else attempt
                seen.add(source)
                at = source, _state(row, lines[source], shown[source])
                break
            until = min(until, starts_at(row))


def _state(row: Mapping[str, Any], of: Lines, newest: Key) -> Key:
    """The attempt whose state `row` goes on from; where that is not known, the one that shows."""
    try:
        attempt, launch_id = json.loads(row["continues_attempt"] or "")
        key = int(attempt), str(launch_id or "")
    except (ValueError, TypeError, RecursionError, OverflowError):
        return newest
    return key if key in of.rows else newest
