"""The driver's side of a launch under Ray Tune: hands out packs, takes in and answers reports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.tune.search import Searcher

from orchestrator.queue.queue import PackQueue

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

    from orchestrator.ray_backend.cluster import RayMachines


class PackSearcher(Searcher):
    """Hands packs to Tune as long as any is ready, and hears of their ends."""

    def __init__(self, queue: PackQueue, job: dict[str, Any], nodes: RayMachines):
        super().__init__()
        self.queue = queue
        self.job = json.dumps(job)
        self.nodes = nodes

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        pack = self.queue.next(trial_id)
        if pack is not None:
            self.nodes.handed_out(trial_id)
            avoid = sorted(self.queue.avoid)
            return {"job": self.job, "pack": pack.to_text(), "avoid": avoid}
        if self.queue.exhausted and not self.queue.running:
            return Searcher.FINISHED
        return None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """`Answers` hears of it."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if not error and result:
            report = json.loads(result["report"])
        else:
            report = {"gone": True} if self.nodes.took(trial_id) else None
        self.queue.complete(trial_id, report)

    # Tune saves its searcher for `Tuner.restore`; a launch resumes from the store instead.
    def __getstate__(self) -> dict[str, Any]:
        return {n: value for n, value in vars(self).items() if n not in ("queue", "nodes")}

    def save(self, checkpoint_path: str) -> None:
        return None

    def restore(self, checkpoint_path: str) -> None:
        return None


class Answers(tune.Callback):
    """Answers the reports of packs that run.

    The way back is a call of the worker's actor (`PackTrainable.hear`). Tune calls `train` of it
    only after this, and an actor does what one caller asks in order, so that the worker knows the
    answer when it goes on. There is no process between the two that could die, and an answer is
    lost only with its worker, whose trials come again by what the store holds.
    """

    def __init__(self, queue: PackQueue, nodes: RayMachines):
        self.queue = queue
        self.nodes = nodes

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        if result["done"]:
            return  # the searcher hears of that
        report = json.loads(result["report"])
        self.nodes.seen(trial.trial_id, report.get("node"))
        answer = self.queue.talk(trial.trial_id, report)
        # Tune hands its actors to nobody else. Checked with Ray 2.60.0.
        actor: Any = trial.temporary_state.ray_actor
        if "free" in report and actor is not None:
            actor.hear.options(num_returns=0).remote(json.dumps(answer))

    # Tune saves its callbacks too.
    def __getstate__(self) -> dict[str, Any]:
        return {}
