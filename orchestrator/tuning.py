"""Ray Tune's side of a launch: the class each worker runs, and the Searcher that feeds it."""

from __future__ import annotations

import contextlib
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.tune.search import Searcher

from orchestrator.queueing import REPORT_S, PackQueue

if TYPE_CHECKING:
    from orchestrator.running import PackRun, Progress


class PackTrainable(tune.Trainable):
    """One pack as one Tune trial. Every outcome is a result; only a dead process is an error."""

    def setup(self, config: dict[str, Any]) -> None:
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self._job = config
        self._run: PackRun | None = None
        self._asked_to_end = False

    def step(self) -> dict[str, Any]:
        # As text: Tune flattens nested dicts of a last result, and keeps all keys it has seen.
        report = self._guarded_step()
        return {"report": json.dumps(report), "done": report["done"]}

    def _guarded_step(self) -> dict[str, Any]:
        from orchestrator.lease import SupersededError
        from orchestrator.running import describe_error
        from results import StoreError

        try:
            return self._step()
        except SupersededError:
            return {"superseded": True, "done": True}
        except StoreError as error:
            # The store cannot be written or read: no other pack would fare better.
            return {"failure": "fatal", "error": str(error), "done": True}
        except Exception as error:
            text, reason = describe_error(error), f"{type(error).__name__}: {error}"
            memory = "RESOURCE_EXHAUSTED" in text or isinstance(error, MemoryError)
            if self._run is not None and not memory:
                with contextlib.suppress(SupersededError, StoreError):
                    self._run.fail(text, reason)
            kind = "memory" if memory else "error"
            return {"failure": kind, "error": text, "reason": reason, "done": True}

    def _step(self) -> dict[str, Any]:
        if self._run is None:
            self._run = self._start()
        begun = time.monotonic()
        progress = self._run.step()
        ended, reasons = dict(progress.ended), dict(progress.reasons)
        compiles = progress.compiles
        while not progress.done and time.monotonic() - begun < REPORT_S:
            progress = self._run.step()
            ended |= progress.ended
            reasons |= progress.reasons
        report = _report(progress, ended, reasons) | {"compiles": compiles}
        if not progress.done and (self._asked_to_end or self._stop_wanted()):
            self._run.interrupt()
            report |= {"interrupted": True, "done": True}
        return report

    def _start(self) -> PackRun:
        """The pack of this job, on this process's device."""
        from orchestrator.lease import passes
        from orchestrator.packing import PackSpec
        from orchestrator.running import Context, PackRun, stop_on_sigterm
        from orchestrator.studies import catalogue
        from results import open_store

        job = self._job
        context = Context(**job["context"])
        if context.gpu:
            _require_gpu()
        with contextlib.suppress(ValueError):  # not the main thread: Ray handles the signal itself
            stop_on_sigterm(self._end)
        spec = PackSpec.from_json(job["pack"])
        self._store = open_store(job["store"])
        guard = partial(passes, self._store, spec.id, spec.generation)
        run = PackRun(spec, catalogue(job["study"]).registry, self._store, context, guard)
        self._run = run
        run.start()
        return run

    def _end(self) -> None:
        self._asked_to_end = True

    def _stop_wanted(self) -> bool:
        from orchestrator.lease import stop_wanted

        return stop_wanted(self._store)

    def cleanup(self) -> None:
        """Tune is ending this process: nothing gathered may be lost."""
        if self._run is not None and hasattr(self._run, "pack"):
            with contextlib.suppress(Exception):
                self._run.interrupt()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}  # the resume point lives in the store

    def load_checkpoint(self, checkpoint: Any) -> None:
        return None


def _report(progress: Progress, ended: dict[str, str], reasons: dict[str, str]) -> dict[str, Any]:
    return {
        "epoch": progress.epoch,
        "ended": ended,
        "reasons": reasons,
        "signature": progress.signature,
        "done": progress.done,
    }


def _require_gpu() -> None:
    import jax

    if jax.default_backend() == "cpu":
        raise RuntimeError(
            "this pack was granted a GPU but JAX sees only a CPU here; install the cuda12 or "
            "cuda13 extra on this node"
        )


class PackSearcher(Searcher):
    """Hands packs to Tune as their parents pass, and takes their reports in."""

    def __init__(self, queue: PackQueue, job: dict[str, Any]):
        super().__init__()
        self.queue = queue
        self.job = job

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        pack = self.queue.next(trial_id)
        if pack is not None:
            return {**self.job, "pack": pack.to_json()}
        if self.queue.exhausted and not self.queue.running:
            return Searcher.FINISHED
        return None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.queue.report(trial_id, json.loads(result["report"]))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        report = None if error or not result else json.loads(result["report"])
        self.queue.complete(trial_id, report)

    # Tune saves its searcher for `Tuner.restore`; a launch resumes from the store instead.
    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "queue"}

    def save(self, checkpoint_path: str) -> None:
        return None

    def restore(self, checkpoint_path: str) -> None:
        return None
