"""What the worker of a pack tells its driver, and what it does with the answers. No Ray here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.plan.packs import Lane
from orchestrator.queue.queue import REPORT_S

if TYPE_CHECKING:
    from orchestrator.pruning.judge import Reached
    from orchestrator.worker.pack_run import PackRun
    from orchestrator.worker.run_progress import Progress


class PackTalk:
    """Trains a pack and says when the driver must hear of it.

    It speaks once in `REPORT_S`, and at once where a trial is held at a rung or has left a slot
    that another may take. A trial at a rung of which the answer says nothing leaves its slot too.
    """

    def __init__(self, run: PackRun):
        self.run = run
        self.stop = False
        """Whether the driver has said that the launch is stopping."""
        self._answer: dict[str, Any] | None = None
        self._held: list[Reached] = []
        self._more = True
        self._free = 0
        self._ended: dict[str, str] = {}
        self._reasons: dict[str, str] = {}
        self._paused: dict[str, str] = {}
        self._unmakeable: list[tuple[str, list[dict[str, Any]]]] = []
        self._trained = self._slots = 0

    def hear(self, answer: dict[str, Any]) -> None:
        """The driver's answer to the last report, which comes before the next `train`."""
        self._answer = answer

    def begin(self) -> dict[str, Any]:
        """Starts the pack and says so at once, since packs of its program may be waiting for the
        strategy that it settled."""
        self.run.start()
        from orchestrator.worker import compile_cache  # imports JAX

        return self._report(done=False) | {"compiles": compile_cache.counted()}

    def train(self, leaves: Callable[[], bool]) -> dict[str, Any]:
        """Does what was answered and trains until there is something to say.

        Args:
          leaves: whether this worker is to end.
        """
        self._obey()
        if self.stop:
            return self._report(done=False)
        begun = time.monotonic()
        if self.run.idle:
            return self._report(done=True)
        while True:
            progress = self.run.step()
            self._note(progress)
            self._narrow()
            free = len(self.run.free())
            speaks = self._held or (self._more and free > self._free)
            late = time.monotonic() - begun >= REPORT_S
            if self.run.idle or speaks or late or leaves():
                return self._report(done=self.run.idle and not (self._more and free))

    def _narrow(self) -> None:
        """Goes on with few trials in fewer slots where no other trial comes."""
        if self._more or self._held:
            return
        from orchestrator.worker import narrowing  # imports JAX

        if narrowing.pays(self.run):
            self.run = narrowing.narrowed(self.run)

    def _note(self, progress: Progress) -> None:
        self._ended |= progress.ended
        self._reasons |= progress.reasons
        self._trained += progress.trained
        self._slots += 0 if progress.partial else self.run.spec.width
        self._held = list(progress.at_rung)

    def _obey(self) -> None:
        answer, self._answer = self._answer, None
        answer = answer or {"verdicts": {}, "lanes": [], "more": False, "stop": False}
        self.stop, self._more = answer["stop"], answer["more"]
        if self.stop:
            return
        if self._held:
            verdicts = {
                one.trial_id: answer["verdicts"].get(one.trial_id, "wait") for one in self._held
            }
            paused = self.run.settle(verdicts)
            self._paused |= {trial_id: one.to_text() for trial_id, one in paused.items()}
            pruned = [trial_id for trial_id, verdict in verdicts.items() if verdict == "prune"]
            self._ended |= dict.fromkeys(pruned, "pruned")
            self._held = []
        if answer["lanes"]:
            failed = self.run.take([Lane(**lane) for lane in answer["lanes"]])
            if failed:
                self.run.recorder.flush()
            self._ended |= dict.fromkeys(failed, "failed")
            self._reasons |= {trial_id: failure.reason for trial_id, failure in failed.items()}
            self._unmakeable += [(one.reason, one.of) for one in failed.values() if one.of]
        self._free = len(self.run.free())

    def _report(self, done: bool) -> dict[str, Any]:
        run = self.run
        free = run.free()
        report = {
            "ended": self._ended,
            "reasons": self._reasons,
            "paused": self._paused,
            "unmakeable": self._unmakeable,
            "signature": run.signature,
            "epochs": {
                lane.trial_id: int(run.epochs[slot])
                for slot, lane in enumerate(run.spec.lanes)
                if slot not in free
            },
            "trained": self._trained,
            "slots": self._slots,
            "at_rung": [[one.trial_id, one.epochs, one.value] for one in self._held],
            "free": len(free),
            "done": done,
        }
        self._ended, self._reasons, self._paused, self._unmakeable = {}, {}, {}, []
        self._trained = self._slots = 0
        return report
