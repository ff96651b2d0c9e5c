"""Which weights of a pack are kept, and saving them: one file per pack and save."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from orchestrator.plan.packs import PackSpec
from orchestrator.worker.monitors import Monitor
from results import Store
from trainables.declarations import Trial
from trainables.declarations.training.base import kept_every
from trainables.packs.pack import EpochResult, Pack

Weights = dict[str, np.ndarray]


def save_name(spec: PackSpec, launch_id: str) -> str:
    """How the names of a pack's saves start: with its launch, since packs of the same attempts have
    one id in every store, and a copy of one store must overwrite nothing in another."""
    return f"{spec.id}-{launch_id[:12]}" if launch_id else spec.id


class Keeper:
    """Follows `keep_weights` (none, last, best, every:K, and state, whose weights are the last) of
    each lane; keeps what a child needs.

    `save` publishes what has been gathered since; without a store nothing is.
    """

    def __init__(
        self,
        spec: PackSpec,
        trials: Sequence[Trial],
        store: Store | None,
        guard: Callable[[], None],
        launch_id: str = "",
    ):
        self.spec = spec
        self.launch_id = launch_id
        self.best: dict[int, float] = {}
        """Best value so far of what each lane watches; part of a resume point."""
        self._rules: dict[int, str] = {}
        self._monitors: dict[int, Monitor] = {}
        self._store = store
        self._guard = guard
        self._best_weights: dict[int, tuple[int, Weights]] = {}
        self._gathered: list[tuple[int, int, Weights]] = []
        self._names: Counter[str] = Counter()
        for lane, trial in enumerate(trials):
            self.place(lane, trial)

    def place(self, lane: int, trial: Trial) -> None:
        """The lane is another trial's from now on; nothing of the one before may be unsaved."""
        self._rules[lane] = str(trial.config["keep_weights"])
        self._monitors[lane] = Monitor(trial)
        self.best.pop(lane, None)

    def after_epoch(
        self, epochs: int | np.ndarray, lanes: Sequence[int], pack: Pack, result: EpochResult
    ) -> None:
        """Takes the weights that `best` and `every:K` ask for, after which epoch of each lane."""
        for lane, epoch in zip(lanes, np.broadcast_to(epochs, len(lanes)).tolist(), strict=True):
            rule = self._rules[lane]
            if rule == "best":
                monitor = self._monitors[lane]
                value = monitor.value(result, lane)
                if monitor.is_better(value, self.best.get(lane, monitor.worst)):
                    self.best[lane] = value
                    self._best_weights[lane] = epoch, pack.weights(lane)
            elif (every := kept_every(rule)) and (epoch + 1) % every == 0:
                self._gathered.append((lane, epoch, pack.weights(lane)))

    def at_end(self, lane: int, epoch: int, status: str, pack: Pack) -> None:
        """Takes a lane's last weights where its rule or a child asks for them."""
        needed = self.spec.lanes[lane].artifact and status != "gate_failed"
        if self._rules[lane] in ("last", "state") or needed:
            self._gathered.append((lane, epoch, pack.weights(lane)))
        self._take_best(lane)

    def _take_best(self, lane: int) -> None:
        if lane in self._best_weights:
            epoch, weights = self._best_weights.pop(lane)
            self._gathered.append((lane, epoch, weights))

    def save(self, with_best: bool = False) -> None:
        """Publishes what is gathered; `with_best` also the best so far, which a later attempt could
        not know otherwise."""
        for lane in list(self._best_weights) if with_best else ():
            self._take_best(lane)
        if not self._gathered or self._store is None:
            self._gathered.clear()
            return
        entries: list[dict[str, Any]] = []
        for lane, epoch, _ in self._gathered:
            slot = self.spec.lanes[lane]
            entries.append(
                {
                    "trial_id": slot.trial_id,
                    "attempt": slot.attempt,
                    "launch_id": self.launch_id or None,
                    "epoch": epoch,
                }
            )
        stacked = {
            name: np.stack([weights[name] for *_, weights in self._gathered])
            for name in self._gathered[0][2]
        }
        newest = max(entry["epoch"] for entry in entries)
        lanes = "-".join(str(lane) for lane, *_ in self._gathered)
        name = f"{save_name(self.spec, self.launch_id)}-{newest:06d}-{lanes}"
        self._names[name] += 1  # two trials of one slot may end at the same epoch
        name += f"-again{self._names[name]}" * (self._names[name] > 1)
        self._guard()
        self._store.save_weights("artifacts", name, stacked, {"lanes": entries})
        self._gathered.clear()
