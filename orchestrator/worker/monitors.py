"""What a trial watches: the column or metric that early stopping and `keep_weights=best` go by."""

from __future__ import annotations

import math

from orchestrator.plan.checks.metrics import DEFAULT_MONITOR, declared_end, require_watched
from trainables.declarations import Trial
from trainables.packs.pack import EpochResult


class Monitor:
    """A trial's watched number.

    Attributes:
      name: a column of `epochs`, or a metric.
      mode: "min" or "max", whichever end is better.
    """

    def __init__(self, trial: Trial):
        self.name = str(trial.config.get("monitor", DEFAULT_MONITOR))
        self.mode = better_end(trial, self.name)
        self._trial = trial

    @property
    def worst(self) -> float:
        """What every number is better than."""
        return math.inf if self.mode == "min" else -math.inf

    def value(self, result: EpochResult, lane: int) -> float:
        """The watched number of an epoch."""
        return value_of(self._trial, result, self.name, lane)

    def is_better(self, value: float, best: float) -> bool:
        """Whether a number is strictly better than another; what is not a number never is."""
        return value < best if self.mode == "min" else value > best


def better_end(trial: Trial, name: str) -> str:
    """Which end of a metric is better: what the trial's key says, else what its task declares, else
    "max" for an accuracy and "min" for anything else."""
    asked = str(trial.config.get("monitor_mode", "auto"))
    if asked != "auto":
        return asked
    return declared_end(trial, name) or ("max" if "accuracy" in name else "min")


def value_of(trial: Trial, result: EpochResult, name: str, lane: int) -> float:
    """A column of `epochs` or a metric of one lane.

    Raises:
      PartError: the epoch has neither.
    """
    for columns in (result.epochs, result.metrics):
        if name in columns:
            return float(columns[name][lane])
    require_watched(trial, [*result.epochs, *result.metrics])
    return math.nan
