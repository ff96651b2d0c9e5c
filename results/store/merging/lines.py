"""Which attempts show of a trial that several stores have run, once these are copied into one.

Every store numbers its attempts from 0, so an attempt is its number and the launch that ran it.
Each says which attempts it follows, and which of these it goes on from: that makes lines of
attempts, which may share their beginning. One line shows, whole, by this rule:

1. a line whose newest attempt has ended with a result (`schema.FINISHED`) before one without;
2. of several with a result the one whose newest attempt started first; of several without, the one
   that has trained most epochs, and then the one that started first;
3. where even that is equal, the lesser launch id.

So a result that shows is replaced by no copy that started later. An attempt that follows all
others, as every attempt of one store does, shows whatever became of it, as if nothing had been
copied. Attempts of older versions do not say what they follow: it is taken to be those of lesser
numbers, and they go on from the one of their launch, else from the one that started last before
them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from results.schema import FINISHED

Key = tuple[int, str]
"""An attempt's number and its launch, '' for none."""

_NEVER = 2**63
"""Later than any time that is stored, in microseconds."""


def key_of(row: Mapping[str, Any]) -> Key:
    return row["attempt"], row["launch_id"] or ""


def followed_by(rows: Iterable[Mapping[str, Any]]) -> list[Key]:
    """What an attempt follows that comes after all of a trial's `rows`: the shown one, which it
    goes on from, and then those that nothing follows yet."""
    last = [row for row in rows if row["newest"] or not row["followed"]]
    return [key_of(row) for row in sorted(last, key=lambda r: (not r["newest"], key_of(r)))]


def chosen_lines(attempts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What is shown of the attempts of trials that several stores have run.

    Args:
      attempts: rows of the table `attempts`, with `started` in microseconds.

    Returns:
      For each row its trial_id, attempt and launch_id, and
      newest: it is the last attempt of the line that shows. shown: it is of that line.
      followed: another attempt follows it.
      until_epoch: from which on a later attempt of the shown line shows; of an attempt that is
      not shown, a later attempt of the same line. Null if none.
      spare_epoch: from which on its rows show in no line and may be dropped; null if none.
    """
    trials: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in attempts:
        trials[row["trial_id"]].append(row)
    return [found for rows in trials.values() for found in _of_trial(rows)]


class Lines:
    """The lines of one trial's attempts.

    Attributes:
      rows: attempts by key.
      followed: keys of those that another attempt follows.
      lasts: key of each line's newest attempt, that of the shown line first.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]]):
        self.rows = {key_of(row): row for row in rows}
        self._follows = {key: _followed(row, self.rows) for key, row in self.rows.items()}
        self.followed = {known for them in self._follows.values() for known in them}
        self.lasts = sorted(self.rows.keys() - self.followed, key=lambda key: _rank(self.rows[key]))

    def back_from(self, key: Key) -> Iterator[Key]:
        """An attempt, the one that it goes on from, and so on to the first of the line."""
        at: Key | None = key
        while at is not None:
            yield at
            at = next(iter(self._follows[at]), None)


def starts_at(row: Mapping[str, Any]) -> int:
    """The epoch from which on an attempt's rows stand in the place of those of the attempts before
    it: all of them where it goes on from a shorter trial, whose epochs are its own."""
    return 0 if row["continues"] else row["first_epoch"] or 0


def _of_trial(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    lines = Lines(rows)
    by_key, followed, lasts = lines.rows, lines.followed, lines.lasts
    until: dict[Key, int | None] = {}
    spare: dict[Key, int | None] = {}
    shown: set[Key] = set()
    for last in lasts:
        first: int | None = None
        for key in lines.back_from(last):
            until.setdefault(key, first)
            spare[key] = first if key not in spare else _later(spare[key], first)
            if last == lasts[0]:
                shown.add(key)
            own = starts_at(by_key[key])
            first = own if first is None else min(first, own)
    return [
        {
            "trial_id": row["trial_id"],
            "attempt": row["attempt"],
            "launch_id": row["launch_id"],
            "newest": key == lasts[0],
            "shown": key in shown,
            "followed": key in followed,
            "until_epoch": until.get(key),
            "spare_epoch": spare.get(key),
        }
        for key, row in by_key.items()
    ]


def _later(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else max(one, other)


def _followed(row: Mapping[str, Any], by_key: Mapping[Key, Mapping[str, Any]]) -> list[Key]:
    """Attempts that `row` follows, the one that it goes on from first. All have lesser numbers, so
    that no damaged record makes a circle."""
    lesser = [key for key in by_key if key[0] < row["attempt"]]
    said = _said(row["follows"])
    if said is not None:
        return [key for key in said if key in lesser]
    start = _started(row)

    def near(key: Key) -> tuple[Any, ...]:
        before = _started(by_key[key])
        return (key[0], key[1] == (row["launch_id"] or ""), before <= start,
                before if before <= start else _NEVER, key[1])  # fmt: skip

    return sorted(lesser, key=near, reverse=True)


def _said(text: str | None) -> list[Key] | None:
    """What an attempt says that it follows; None if it does not say, or nobody can read it."""
    try:
        pairs = json.loads(text or "null")
        return None if pairs is None else [(int(number), str(launch)) for number, launch in pairs]
    except (ValueError, TypeError, RecursionError, OverflowError):
        return None


def _started(row: Mapping[str, Any]) -> int:
    return _NEVER if row["started"] is None else row["started"]


def _rank(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """The line with the least of its newest attempts' ranks shows."""
    done = row["status"] in FINISHED
    epochs = 0 if done else -(row["epochs_done"] or 0)
    return not done, epochs, _started(row), row["launch_id"] or "", row["attempt"]
