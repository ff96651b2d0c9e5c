"""What a queue asks of a pruning rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from orchestrator.units import counted
from results.config_values import value_text

Verdict = Literal["go", "prune", "wait"]
"""Go on in the same slot; end as pruned; or leave the slot until others have come as far."""

AWAITS = ", until its rung is full"
"""How the reason of a trial ends that waits for its verdict."""


def rung_reason(metric: str | None, value: float, epochs: int) -> str:
    """Why a trial has left its slot at a rung."""
    return f"{metric} is {value_text(value)} after {counted(epochs, 'epoch')}"


@dataclass(frozen=True)
class Reached:
    """A trial that has come to a rung.

    Attributes:
      epochs: that it has done.
      value: of the metric in the last of them; NaN where it is not a number.
    """

    trial_id: str
    epochs: int
    value: float


class Judge(Protocol):
    """A pruning rule with what it knows of its trials. Decisions are in the store before they are
    returned. Called under the queue's lock, from one thread at a time."""

    def rungs(self, trial_id: str) -> list[int]:
        """Counts of done epochs after which the trial is judged, ascending; empty if it is not."""
        ...

    def metric(self, trial_id: str) -> str | None:
        """The column of `epochs`, or the metric, that the trial is judged by, if it is."""
        ...

    def ask(self, reached: Sequence[Reached]) -> dict[str, Verdict]:
        """A verdict for each of these trials. A decision in the store is not taken again.
        A value that the store had when the launch began counts, whatever is given here."""
        ...

    def ended(self, trial_id: str, status: str) -> None:
        """The trial has ended otherwise (done, diverged, stopped, failed, blocked, ...), so that no
        rung waits for it."""
        ...

    def settled(self) -> dict[str, Verdict]:
        """Verdicts (go or prune), since the last call, of trials that were told to wait."""
        ...
