"""Ray Tune's side of a launch: the class each worker runs."""

from __future__ import annotations

import contextlib
import json
import platform
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import get_runtime_context, tune

from orchestrator.errors import NodeError
from orchestrator.machine.environment import prepare
from orchestrator.plan.packs import Context, PackSpec
from orchestrator.ray_backend.pack_talk import PackTalk
from orchestrator.user_code import described, guarded
from orchestrator.worker.provenance import versions

OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory", "bad_alloc", "Cannot allocate memory")
"""What XLA says, on one device or another, when a pack does not fit."""

if TYPE_CHECKING:
    from orchestrator.worker.pack_run import PackRun


class PackTrainable(tune.Trainable):
    """One pack as one Tune trial. Every outcome is a result; only a dead process is an error."""

    imported = False
    """Whether this process has said that it has imported what packs need."""

    def setup(self, config: dict[str, Any]) -> None:
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        if (before := getattr(self, "_run", None)) is not None:
            before.close()
        self._job = json.loads(config["job"])
        self._text = config["pack"]
        self._node = get_runtime_context().get_node_id()
        self._node_name = f"{platform.node()}, node {self._node[:12]}"
        self._run: PackRun | None = None
        self._begun = False
        self._asked_to_end = False

    def step(self) -> dict[str, Any]:
        # As text: Tune flattens nested dicts of a last result, and keeps all keys it has seen.
        report = self._guarded_step()
        return {"report": json.dumps(report), "done": report["done"]}

    def _guarded_step(self) -> dict[str, Any]:
        # Nothing here may import JAX: `_open` sets its environment first.
        from orchestrator.datasets.loader import DataError
        from orchestrator.queue.lease import SupersededError
        from results import StoreError

        try:
            with guarded():
                return self._step()
        except SupersededError:
            return {"superseded": True, "done": True}
        except StoreError as error:
            # The store cannot be written or read: no other pack would fare better.
            return {"failure": "fatal", "error": str(error), "done": True}
        except (NodeError, DataError) as error:
            reason = f"{error} (on {self._node_name})"
            return {"failure": "node", "reason": reason, "node": self._node, "done": True}
        except Exception as error:
            text = "".join(traceback.format_exception(error))
            memory = isinstance(error, MemoryError) or any(sign in text for sign in OUT_OF_MEMORY)
            if memory or self._run is None:
                kind = "memory" if memory else "error"
                return {"failure": kind, "error": text, "reason": described(error), "done": True}
            return self._failed(self._run, error, text)

    def _failed(self, run: PackRun, error: Exception, text: str) -> dict[str, Any]:
        """The report of a pack that raised; its rows, where it is known which lanes failed."""
        from orchestrator.queue.lease import SupersededError
        from results import StoreError

        reason, program = described(error), run.unmakeable()
        # What the file system or a network refuses now, it may grant the next time.
        certain = not isinstance(error, OSError)
        said = False
        # Of several lanes it is not known yet which one raised.
        if (program and certain) or len(run.lanes) == 1:
            with contextlib.suppress(SupersededError, StoreError):
                run.fail(text, reason, program or [{}])
                said = True
        report = {"failure": "error", "error": text, "reason": reason, "said": said}
        return {**report, "program": program, "certain": certain, "done": True}

    def _step(self) -> dict[str, Any]:
        if self._run is None:
            self._run = self._open()
            self._talk = PackTalk(self._run)
            if not PackTrainable.imported:
                PackTrainable.imported = True
                return {"imported": True, "done": False, "node": self._node}
        if not self._begun:
            self._begun = True
            return self._talk.begin() | {"node": self._node}
        try:
            report = self._talk.train(lambda: self._asked_to_end) | {"node": self._node}
        finally:
            self._run = self._talk.run
        if report["done"]:
            self._run.close()
        elif self._asked_to_end or self._talk.stop or self._stop_wanted():
            leaving = "its worker was told to leave"
            self._run.interrupt(leaving if self._asked_to_end else "the launch was stopped")
            report |= {"interrupted": True, "done": True}
        return report

    def hear(self, answer: str) -> None:
        """The driver's answer to the last report; see `pack_searcher.Answers`."""
        if self._run is not None:
            self._talk.hear(json.loads(answer))

    def _open(self) -> PackRun:
        """The pack of this job, on this process's device, not yet started."""
        job = self._job
        context = Context(**job["context"])
        prepare(context.threads, context.gpu)
        # Only now: these import JAX.
        from orchestrator.plan.studies import catalogue
        from orchestrator.queue.lease import passes
        from orchestrator.worker.host.run import run_of
        from orchestrator.worker.last_words import LastWords
        from orchestrator.worker.pack_run import stop_on_sigterm
        from results import StoreError, open_store

        _require_fit(context)
        with contextlib.suppress(ValueError):  # not the main thread: Ray handles the signal itself
            stop_on_sigterm(self._end)
        spec = PackSpec.from_text(self._text)
        try:
            self._store = open_store(job["store"])
        except StoreError as error:
            raise NodeError(str(error)) from error
        guard = partial(passes, self._store, spec.id, spec.generation)
        registry = catalogue(job["study"], job["start"]).registry
        words = None
        if context.words is not None:
            with contextlib.suppress(OSError):  # a full disk is met where rows are written
                words = LastWords(Path(context.words) / spec.id)
        place = {"study": job["study"], "start": job["start"]}
        return run_of(spec, registry, self._store, context, guard, words=words, **place)

    def _end(self) -> None:
        self._asked_to_end = True

    def _stop_wanted(self) -> bool:
        from orchestrator.queue.lease import stop_wanted

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


def _require_fit(context: Context) -> None:
    """Raises NodeError where this machine is not what the launch was made for."""
    here = versions()
    other = [f"{n} {here[n]} and not {v}" for n, v in context.versions.items() if here[n] != v]
    if other:
        raise NodeError(f"other versions than the launch's: {', '.join(other)}")
    if context.gpu:
        import jax

        if jax.default_backend() == "cpu":
            raise NodeError(
                "this pack was granted a GPU but JAX sees only a CPU here; install the cuda12 or "
                "cuda13 extra on this node"
            )
