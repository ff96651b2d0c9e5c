"""A trial that has left its slot at a rung, to wait for a verdict there."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

from orchestrator.plan.packs import Lane

_TIMES = ("started", "ended")


class PausedTrial(NamedTuple):
    """What is needed when the verdict comes, so that the store need not be read for it.

    Attributes:
      lane: its next attempt, from the resume point that its worker has written.
      row: of table `trials`, the end of the attempt that has paused.
    """

    lane: Lane
    row: dict[str, Any]

    def to_text(self) -> str:
        """One word, since Tune copies and flattens what a worker reports."""
        return json.dumps([self.lane.to_json(), self.row], default=datetime.isoformat)

    @staticmethod
    def from_text(text: str) -> PausedTrial:
        lane, row = json.loads(text)
        row |= {name: datetime.fromisoformat(row[name]) for name in _TIMES}
        return PausedTrial(Lane(**lane), row)
