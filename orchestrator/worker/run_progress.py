"""What a run of a pack tells whoever drives it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from orchestrator.pruning.judge import Reached
from trainables.declarations import Scalar


@dataclass
class Progress:
    """What one step of a pack brought.

    Attributes:
      epoch: the last one that is whole, of the lane that has come furthest.
      ended: status by trial id, of trials whose end has been published since the last step.
      trained: how many epochs of a trial this step trained, over all lanes.
      at_rung: trials that wait in their slots for a verdict (`PackRun.settle`).
      done: no lane is active and none waits for a verdict. A worker may still `take` more.
      partial: an epoch goes on, of data that stream: no epoch has ended with this step.
    """

    epoch: int
    ended: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    signature: dict[str, Any] = field(default_factory=dict)
    done: bool = False
    partial: bool = False
    trained: int = 0
    at_rung: list[Reached] = field(default_factory=list)


@dataclass(frozen=True)
class Failure:
    """Why a lane could not be made.

    Attributes:
      of: values of init keys with which no trial of the program can be made; None where the fault
        may be this trial's alone.
    """

    reason: str
    of: list[dict[str, Scalar]] | None
