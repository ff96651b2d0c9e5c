"""When a lane's trial ends, and how: budget, stop rules, non-finite steps, gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.units import counted
from orchestrator.worker.monitors import Monitor, value_of
from results.config_values import value_text
from trainables.declarations import HostTrainable, Trial
from trainables.packs.pack import EpochResult

End = tuple[str, str | None]
"""Status of an ended trial, and the reason where there is one to give."""


class Endings:
    """The stop rules of a pack's lanes, and what they remember from epoch to epoch."""

    def __init__(self, trials: Sequence[Trial]):
        self._trials: dict[int, Trial] = {}
        self._below: dict[int, int] = {}
        self._stale: dict[int, int] = {}
        self._monitors: dict[int, Monitor] = {}
        self._best: dict[int, float] = {}
        for lane, trial in enumerate(trials):
            self.place(lane, trial)

    def place(self, lane: int, trial: Trial) -> None:
        """The lane is another trial's from now on, of which nothing is remembered."""
        self._trials[lane], self._below[lane], self._stale[lane] = trial, 0, 0
        self._monitors[lane] = Monitor(trial)
        self._best[lane] = self._monitors[lane].worst

    def memo(self, lane: int) -> dict[str, Any]:
        """What a resume point must hold of a lane; plain JSON."""
        best = self._best[lane]
        return {
            "patience": self._below[lane],
            "stale": self._stale[lane],
            "best_val": best if np.isfinite(best) else None,
        }

    def recall(self, lane: int, memo: Mapping[str, Any]) -> None:
        """Takes in what `memo` gave."""
        self._below[lane] = memo.get("patience", 0)
        self._stale[lane] = memo.get("stale", 0)
        best = memo.get("best_val")
        self._best[lane] = self._monitors[lane].worst if best is None else best

    def after_epoch(self, lane: int, epoch: int, result: EpochResult) -> End | None:
        """Status and reason if the lane's trial ends with this epoch."""
        trial = self._trials[lane]
        if result.bad_step[lane] >= 0:
            reason = f"non-finite at epoch {epoch}, step {result.bad_step[lane]}"
            return _judged(trial, lane, result, "diverged", reason)
        if isinstance(trial.stage, HostTrainable) and (bad := non_finite(lane, result)):
            return _judged(trial, lane, result, "diverged", f"{bad} at epoch {epoch}")
        above = self._above(lane, epoch, result)
        if above:
            return _judged(trial, lane, result, "diverged", above)
        if result.finished[lane]:
            return _judged(trial, lane, result, "done", None)
        stopped = self._below_threshold(lane, result) or self._no_better(lane, result)
        if stopped:
            return _judged(trial, lane, result, "stopped", stopped)
        if epoch + 1 >= trial.epochs and _length_known(trial):
            return _judged(trial, lane, result, "done", None)
        return None

    def _below_threshold(self, lane: int, result: EpochResult) -> str | None:
        config = self._trials[lane].config
        below = config.get("stop_below")
        if below is None:
            return None
        name = str(config["stop_on"])
        value = value_of(self._trials[lane], result, name, lane)
        self._below[lane] = self._below[lane] + 1 if value < float(below) else 0
        if self._below[lane] < int(config["stop_patience"] or 1):
            return None
        times = counted(self._below[lane], "epoch")
        mean = "mean " if name in ("grad_norm", "grad_norm_smallest") else ""
        return f"{mean}{name} below {value_text(below)} for {times} in a row"

    def _above(self, lane: int, epoch: int, result: EpochResult) -> str | None:
        """Judged on the epoch's last step: a loss that came down again within it is no end."""
        ceiling = self._trials[lane].config.get("diverge_above")
        column = result.epochs.get("loss_last", result.epochs.get("loss"))
        if ceiling is None or column is None:
            return None
        loss = float(column[lane])
        if not loss > float(ceiling):
            return None
        most = value_text(ceiling)
        return f"loss {loss:.3g} at the end of epoch {epoch}, above diverge_above={most}"

    def _no_better(self, lane: int, result: EpochResult) -> str | None:
        patience = self._trials[lane].config.get("early_stopping")
        if patience is None:
            return None
        monitor = self._monitors[lane]
        value = monitor.value(result, lane)
        if monitor.is_better(value, self._best[lane]):
            self._best[lane], self._stale[lane] = value, 0
            return None
        self._stale[lane] += 1
        if self._stale[lane] < int(patience):
            return None
        stale = counted(self._stale[lane], "epoch")
        return f"{monitor.name} no better than {self._best[lane]:.4g} for {stale}"


def non_finite(lane: int, result: EpochResult) -> str | None:
    """The first number of a reported epoch that must be finite and is not, in words."""
    layers = (value for name, value in result.layers.items() if name.endswith("norm"))
    norms = (*(result.epochs[name] for name in ("grad_norm",) if name in result.epochs), *layers)
    loss = float(result.epochs["loss"][lane]) if "loss" in result.epochs else 0.0
    if not np.isfinite(loss):
        return f"loss is {loss}"
    return "a norm is not finite" if any(not np.isfinite(v[lane]).all() for v in norms) else None


def _length_known(trial: Trial) -> bool:
    key = trial.stage.epochs_key
    return key is None or trial.config[key] is not None


def _judged(trial: Trial, lane: int, result: EpochResult, status: str, reason: str | None) -> End:
    """A stage's gate on the final row turns any end into gate_failed."""
    if trial.stage.gate is None:
        return status, reason
    row: dict[str, Any] = {name: float(values[lane]) for name, values in result.epochs.items()}
    row["metrics"] = {name: float(values[lane]) for name, values in result.metrics.items()}
    why = trial.stage.gate(trial.config, row)
    if why is None and status == "diverged":
        why = reason
    return ("gate_failed", why) if why else (status, reason)
