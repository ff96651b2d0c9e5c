"""Running one trial of a host trainable: a user's function in a separate process, or in this one
for `debug`. Rows, stop rules, weights and resume points are those of every pack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from orchestrator.plan.packs import Context, PackSpec
from orchestrator.worker.host.pack import COLUMNS, HostPack
from orchestrator.worker.host.process import HostError, HostProcess, Returned, with_remedy
from orchestrator.worker.host.report import Message, Report, TrialStopped
from orchestrator.worker.last_words import LastWords
from orchestrator.worker.pack_run import PackRun
from orchestrator.worker.provenance import host_signature
from orchestrator.worker.run_progress import Progress
from orchestrator.worker.stop_rules import non_finite
from results import Store
from trainables.declarations import HostTrainable, Registry, Scalar
from trainables.declarations.core.parts import loaded
from trainables.packs.pack import EpochResult


def run_of(
    spec: PackSpec,
    registry: Registry,
    store: Store | None,
    context: Context,
    guard: Callable[[], None] = lambda: None,
    parents: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    words: LastWords | None = None,
    study: Any = None,
    start: Any = None,
) -> PackRun:
    """The run of a pack: of a program's lanes, or of a host trainable's function.

    Args:
      study, start: what `catalogue` needs to find the study again, in a function's process.
    """
    stage = registry.find("stage", str(spec.lanes[0].config.get("stage", "train")))
    if isinstance(stage, HostTrainable):
        return HostRun(spec, registry, store, context, guard, words, study, start)
    return PackRun(spec, registry, store, context, guard, parents, words)


class HostRun(PackRun):
    """One trial of a host trainable."""

    pack: HostPack

    def __init__(
        self,
        spec: PackSpec,
        registry: Registry,
        store: Store | None,
        context: Context,
        guard: Callable[[], None] = lambda: None,
        words: LastWords | None = None,
        study: Any = None,
        start: Any = None,
    ):
        super().__init__(spec, registry, store, context, guard, words=words)
        stage: Any = self.trials[0].stage
        self.stage: HostTrainable = stage
        self._study, self._start = study, start
        self._state = b""
        self._missing = False
        self._point: dict[str, Any] | None = None

    def start(self, here: bool = False) -> None:
        """Publishes the start and starts the function's process, which loads the study.

        Args:
          here: there is no such process; `run_here` runs the function in this one.

        Raises:
          StoreError: the resume point cannot be read.
        """
        (trial,), (slot,) = self.trials, self.spec.lanes
        self._checksum = ""
        self.signature = host_signature(self.stage.run, self.context.threads)
        if slot.checkpoint and self.store is not None:
            leaves = self.store.load_lane(slot.checkpoint, slot.checkpoint_lane)
            self._state = leaves["state"].tobytes()
            self.recorder.counts[0].update(slot.memo["rows"])
            self._endings.recall(0, slot.memo)
            if slot.memo.get("best") is not None:
                self._keeper.best[0] = slot.memo["best"]
        job = {
            "study": self._study,
            "start": self._start,
            "stage": trial.stage.name,
            "config": trial.config,
            "columns": COLUMNS,
            "epoch": slot.first_epoch,
            "artifact": slot.artifact,
        }
        process = None if here else HostProcess(job, self._state, self.context.threads)
        self.pack = HostPack(trial, process)
        self._points.restart()
        self.recorder.add_trials([self._row(0, 0, "running")])
        self.recorder.flush()

    def free(self) -> list[int]:
        """None: the next trial has another process, which another pack starts."""
        return []

    def step(self) -> Progress:
        """Waits for the function's next report and records it; at its end, ends the trial.

        Raises:
          HostError: the function raised, or its process ended.
          StoreError: the store cannot be written. SupersededError: the guard said so.
        """
        try:
            try:
                progress = super().step()
            except Returned:
                progress = self._returned()
            self._note_point()
        except BaseException as error:
            self._missing = getattr(error, "missing", False) and not self.pack.reported
            self.pack.end()
            raise
        if progress.done:
            (status,) = progress.ended.values()
            self.pack.end(progress.reasons.get(self.trials[0].id) or status)
        return progress

    def run_here(
        self, watch: Callable[[HostRun, int], None], epochs: int | None = None
    ) -> Progress | None:
        """Runs the function in this process, after `start(here=True)`.

        Args:
          watch: called after each epoch. epochs: ends the function after so many.

        Returns:
          The last step's progress; None where `epochs` ended it before it was done.

        Raises:
          HostError: it reported nothing. What the function raises, it raises here.
        """
        last: list[Progress] = []

        def talk(message: Message) -> Mapping[str, Any]:
            if last and last[-1].done:  # after the last report of a trial of known length
                return {"stop": "done"}
            self.pack.put(message)
            progress = PackRun.step(self)
            self._note_point()
            last.append(progress)
            watch(self, progress.epoch)
            status = progress.ended.get(self.trials[0].id)
            if status is not None and status != "done":
                return {"stop": progress.reasons.get(self.trials[0].id) or status}
            return {"stop": "--epochs"} if epochs is not None and self.epoch >= epochs else {}

        slot = self.spec.lanes[0]
        report = Report(
            self.trials[0].config, talk, COLUMNS, slot.first_epoch, self._state, slot.artifact
        )
        try:
            loaded(self.stage.run)(dict(self.trials[0].config), report)
        except TrialStopped:
            if not last[-1].done:
                return None
        except ImportError as error:
            with_remedy(error)
            raise
        return last[-1] if last and last[-1].done else self._returned()

    def _returned(self) -> Progress:
        """The end of a function that returned before the last epoch that it could have reported."""
        (trial,) = self.trials
        if not self.recorder.counts[0].get("epochs") and not self.pack.reported:
            raise HostError(
                f"{self.stage.name} reported nothing: its function returned without a call of "
                "report"
            )
        reason = None
        if trial.config.get("epochs") is not None and self.epoch < trial.epochs:
            reason = f"returned after {self.epoch} of {trial.epochs} epochs"
        epoch = self.epoch - 1
        self.pack.freeze(0)
        self._keeper.at_end(0, epoch, "done", self.pack)  # pyright: ignore[reportArgumentType]
        self._keeper.save()
        self.recorder.add_trials([self._row(0, 1, "done", reason)])
        self.recorder.flush()
        self._points.drop()
        self.close()
        reasons = {trial.id: reason} if reason else {}
        return Progress(epoch, {trial.id: "done"}, reasons, self.signature, done=True)

    def _note_point(self) -> None:
        """Remembers what a resume point of the newest state must say."""
        if not self.pack.fresh:
            return
        self.pack.fresh = False
        slot = self.spec.lanes[0]
        self._point = {
            "trial_id": slot.trial_id,
            "attempt": slot.attempt,
            "launch_id": self.context.launch_id or None,
            "epoch": self.epoch,
            "rows": dict(self.recorder.counts[0]),
            **self._endings.memo(0),
            "best": self._keeper.best.get(0),
        }

    def checkpoint(self) -> None:
        """Publishes what is gathered, then the newest state reported as a resume point."""
        self._note_point()
        self.recorder.flush()
        self._points.restart()
        if self.store is None or self._point is None:
            return
        self._keeper.save(with_best=True)
        leaves = {"state": np.frombuffer(self.pack.state, np.uint8)[None]}
        name = f"{self._point['epoch']:06d}"
        self._points.keep_newest(self._points.publish(name, leaves, {"lanes": [self._point]}))
        self._point = None

    def interrupt(self, why: str = "the launch was stopped") -> None:
        """As of every pack; the function's process ends, and goes on from its newest state."""
        try:
            super().interrupt(why)
        finally:
            self.pack.end()

    def fail(self, error: str, reason: str, of: Any = ({},)) -> None:
        """As of every pack; its newest state is kept, for a next attempt."""
        if hasattr(self, "pack"):
            self.pack.end()
            self.checkpoint()
        super().fail(error, reason, of)

    def _late(self, reason: str, stacks: str) -> None:
        """As of every pack, with the place and the stacks of the function's process."""
        if self.pack.process is not None:
            found = self.pack.process.abort()
            if found is not None:
                place = f" ({found.place})" if found.place else ""
                reason, stacks = f"{reason}{place}", found.text
        super()._late(reason, stacks)

    def unmakeable(self) -> list[dict[str, Scalar]] | None:
        """Every trial of the function, where it needs a module that is not installed."""
        return [{}] if self._missing else None

    def _row(
        self,
        lane: int,
        event: int,
        status: str,
        reason: str | None = None,
        result: EpochResult | None = None,
        error: str | None = None,
    ) -> dict[str, Any]:
        row = super()._row(lane, event, status, reason, result, error)
        if result is not None and non_finite(lane, result):
            row["bad_epoch"] = self.epoch - 1
        return row
