"""Running one pack: epochs, rows, ends of trials, checkpoints. The same code under Ray and in
`debug`; needs JAX, knows nothing of Ray."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

import numpy as np

from orchestrator.datasets import loader
from orchestrator.machine.resources import memory_free
from orchestrator.plan.metric_checks import require_names, require_watched
from orchestrator.plan.packs import Context, PackSpec, has_any, signature_text
from orchestrator.pruning.judge import Reached
from orchestrator.units import counted
from orchestrator.user_code import guarded
from orchestrator.worker import compile_cache
from orchestrator.worker.lane_strategy import strategy_here
from orchestrator.worker.last_words import LastWords
from orchestrator.worker.provenance import metric_columns, signature, trial_columns
from orchestrator.worker.recorder import Recorder
from orchestrator.worker.stop_rules import Endings
from orchestrator.worker.traced_values import traced_values_named
from orchestrator.worker.watchdog import Watchdog
from orchestrator.worker.weight_keeper import Keeper, save_name
from results import Store
from trainables.core.hparams import init_constants, lane_values
from trainables.core.lanes import Strategy
from trainables.core.stepwise import stepwise
from trainables.declarations import PartError, Registry, Scalar, Trial
from trainables.declarations.probes.base import is_due
from trainables.packs.pack import EpochResult, Pack
from trainables.packs.programs import check_start


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


class PackRun:
    """One pack on this process's device.

    `start`, then `step` until it reports `done`; `interrupt` at any time between steps keeps
    everything for a resume. Without a store nothing is written.
    """

    def __init__(
        self,
        spec: PackSpec,
        registry: Registry,
        store: Store | None,
        context: Context,
        guard: Callable[[], None] = lambda: None,
        parents: Mapping[str, Mapping[str, np.ndarray]] | None = None,
        words: LastWords | None = None,
    ):
        """`parents`: weights by trial id that take the place of the store's artifacts. `words`:
        where this process says what it does, for whoever finds it dead."""
        self.spec = spec
        self._parent_weights = parents or {}
        self.store = store
        self.context = context
        self.trials = [_checked(registry, lane.trial_id, lane.config) for lane in spec.lanes]
        probes = {
            name: [vars(column) for column in probe.columns]
            for name, probe in registry.probes.items()
        }
        self.recorder = Recorder(
            store,
            spec.trial_ids,
            [lane.attempt for lane in spec.lanes],
            guard,
            probes,
            context.launch_id,
        )
        self.epoch = spec.lanes[0].first_epoch
        self.last: EpochResult | None = None
        self.pack: Pack
        self._making: Literal["", "program", "states", "epoch", "data"] = ""
        self._guard = guard
        self._endings = Endings(self.trials)
        self._keeper = Keeper(spec, self.trials, store, guard, context.launch_id)
        self._seconds = np.zeros(len(spec.lanes))
        self._epoch_seconds = 0.0
        self._compile_seconds = 0.0
        self._words = words
        limit = context.trial_seconds
        self._watchdog = Watchdog(limit, self._late, words) if limit else None
        self._spent = 0.0
        self._interrupted = False
        self._checkpoints: list[str] = []
        self._started = datetime.now(UTC)

    @property
    def lanes(self) -> range:
        return range(len(self.spec.lanes))

    def _limited(self, doing: str, share: int = 1) -> AbstractContextManager[None]:
        """`doing` this ends the process where a trial takes longer than it may, `share` of them in
        turn."""
        if self._watchdog is None:
            return contextlib.nullcontext()
        return self._watchdog.within(doing, (self._watchdog.limit - self._spent) * share)

    def _late(self, reason: str, stacks: str) -> None:
        self.fail(stacks, reason)

    def start(self) -> None:
        """Loads data, builds the pack, restores parents and checkpoints, publishes the start.

        Raises:
          MemoryError: an epoch would take more than is free.
          DataError: a data set is missing, or corrupt, or could not be fetched.
          StoreError: an artifact or checkpoint cannot be read.
        """
        if self.context.fetch and self.trials[0].dataset:
            loader.fetch_once(self.trials[0].dataset)
        self._arrays, self._checksum = load_arrays(self.trials[0])
        parents = self._parents()
        compile_cache.watch()
        with (
            compile_cache.once_per_node(f"{self.spec.program}-{self.spec.width}"),
            traced_values_named(self.trials[0], self._arrays),
        ):
            begun = time.monotonic()
            strategy = strategy_here(self.spec.strategy)
            self.signature = signature(strategy, self.spec.width, self.context.threads)
            with self._making_it("program", "building model and data", begun):
                self.pack = Pack(self.trials, self._arrays, width=self.spec.width, lanes=strategy)
            with self._making_it("states", "initialising", begun):
                self.pack.init(parents)
            with self._making_it("epoch", "compiling", begun), compile_cache.kept():
                self.pack.compile([name for name in self.trials[0].probes if self._measures(name)])
                if not stepwise():  # where it is unknown before an epoch has run
                    require_names(self.trials[0], self.pack.metrics)
            self._making = ""
            for trial in self.trials if not stepwise() else ():
                require_watched(trial, (*self.pack.columns, *self.pack.metrics))
            self._require_memory()
            self._compile_seconds = self._spent = time.monotonic() - begun
        for lane in self.lanes:
            slot = self.spec.lanes[lane]
            if slot.checkpoint and self.store is not None:
                self.pack.load(lane, self.store.load_lane(slot.checkpoint, slot.checkpoint_lane))
                self.recorder.counts[lane].update(slot.memo["rows"])
                self._endings.recall(lane, slot.memo)
                if slot.memo.get("best") is not None:
                    self._keeper.best[lane] = slot.memo["best"]
        self._checkpointed_at = time.monotonic()
        self.recorder.add_trials([self._row(lane, 0, "running") for lane in self.lanes])
        self.recorder.flush()

    @contextlib.contextmanager
    def _making_it(
        self, what: Literal["program", "states", "epoch"], doing: str, begun: float
    ) -> Iterator[None]:
        self._making, self._spent = what, time.monotonic() - begun
        with self._limited(doing):
            yield

    def _require_memory(self) -> None:
        """A pack that would not fit is refused before an epoch that the system would kill."""
        stats = self.pack.device.memory_stats()
        free = stats["bytes_limit"] - stats["bytes_in_use"] if stats else memory_free()
        needed = self.pack.rise_bytes()
        if needed > free:
            raise MemoryError(
                f"an epoch of {counted(self.spec.width, 'lane')} takes {needed / 1e9:.2f} GB and "
                f"{free / 1e9:.2f} GB are free; --width gives packs fewer lanes"
            )

    def _parents(self) -> dict[int, Mapping[str, np.ndarray]]:
        found = {}
        for lane, slot in enumerate(self.spec.lanes):
            if slot.parent_id is None:
                continue
            if slot.parent_id in self._parent_weights:
                found[lane] = self._parent_weights[slot.parent_id]
            elif self.store is not None:
                found[lane] = self.store.weights(slot.parent_id)
        return found

    def step(self) -> Progress:
        """Trains every active lane one epoch and records it; where data stream, some steps of an
        epoch.

        Raises:
          StoreError: the store cannot be written. SupersededError: the guard said so.
        """
        epoch = self.epoch
        active = np.flatnonzero(self.pack.active[: len(self.lanes)])
        # Lanes in sequence take their turns; a vmap advances all of them at once.
        turns = 1 if self.signature["strategy"] == "vmap" else max(len(active), 1)
        begun = time.monotonic()
        with self._limited(f"training epoch {epoch}", turns):
            result = self._advanced(epoch)
        seconds = time.monotonic() - begun
        self._spent += seconds / turns
        self._seconds[active] += seconds / max(len(active), 1)
        self._epoch_seconds += seconds
        if result is None:
            if time.monotonic() - self._checkpointed_at >= self.context.checkpoint_s:
                self.checkpoint()
            return Progress(epoch - 1, signature=self.signature, partial=True)
        self.last = result
        seconds, self._epoch_seconds = self._epoch_seconds, 0.0
        rows, steps = self.pack.layer_rows, self.pack.steps
        broken = self._broken_inputs(epoch, active, result)
        for lane, reason in broken.items():  # no result, so nothing of the epoch is kept
            self.pack.freeze(lane)
            self.recorder.add_trials([self._row(lane, 1, "failed", reason)])
        active = np.array([lane for lane in active if lane not in broken], int)
        if len(active):
            self.recorder.add_epoch(epoch, result, rows, active, steps, seconds)
        ends = {int(lane): self._endings.after_epoch(int(lane), epoch, result) for lane in active}
        ended = {lane: end for lane, end in ends.items() if end is not None}
        with self._limited(f"measuring after epoch {epoch}", turns):
            if len(active):
                self._record_probes(epoch, active, set(ended), result)
        self._keeper.after_epoch(epoch, [int(lane) for lane in active], self.pack, result)
        for lane, (status, _) in ended.items():
            self.pack.freeze(lane)
            self._keeper.at_end(lane, epoch, status, self.pack)
        self._keeper.save()
        self.epoch += 1
        self.recorder.add_trials(
            [self._row(lane, 1, status, reason, result) for lane, (status, reason) in ended.items()]
        )
        ended |= {lane: ("failed", reason) for lane, reason in broken.items()}
        remaining = int(np.sum(self.pack.active[: len(self.lanes)]))
        if self.recorder.due() or not remaining:
            self.recorder.flush()
        if remaining and time.monotonic() - self._checkpointed_at >= self.context.checkpoint_s:
            self.checkpoint()
        if not remaining:
            self._drop_checkpoints(keep=0)
            self.close()
        ids = self.spec.trial_ids
        return Progress(
            epoch,
            {ids[lane]: status for lane, (status, _) in ended.items()},
            {ids[lane]: reason for lane, (_, reason) in ended.items() if reason},
            self.signature,
            done=not remaining,
        )

    def _advanced(self, epoch: int) -> EpochResult | None:
        try:
            return self.pack.advance(epoch)
        except PartError:  # samples that stream, which all trials of the program read
            self._making = "data"
            raise

    def _broken_inputs(self, epoch: int, active: np.ndarray, result: EpochResult) -> dict[int, str]:
        """Of each lane whose bad step came from its input, a sentence that says which."""
        bad = {int(lane): int(result.bad_step[lane]) for lane in active}
        said = {
            lane: self.pack.broken_input(lane, epoch, step)
            for lane, step in bad.items()
            if step >= 0
        }
        return {lane: text for lane, text in said.items() if text}

    def _record_probes(
        self, epoch: int, active: np.ndarray, ended: set[int], result: EpochResult
    ) -> None:
        """Rows of probes: those the epoch brought, and those whose cadence or end it is."""
        for name, columns in result.probes.items():
            self.recorder.add_probe(name, epoch, active, columns)
        for name in self.trials[0].probes:
            cadence = f"{name}_every"
            probed = [
                lane
                for lane in active
                if cadence in self.trials[lane].config
                and is_due(self.trials[lane].config[cadence], epoch, lane in ended)
            ]
            columns = self.pack.probe(name) if probed else None
            if columns is not None:
                self.recorder.add_probe(name, epoch, np.asarray(probed), columns)

    def _measures(self, probe: str) -> bool:
        """Whether any lane asks for this probe."""
        return any(trial.config.get(f"{probe}_every") is not None for trial in self.trials)

    def checkpoint(self) -> None:
        """Publishes what is gathered, then a resume point at the coming epoch, or within the one
        that is under way."""
        self.recorder.flush()
        if self.store is None:
            return
        active = np.flatnonzero(self.pack.active[: len(self.lanes)])
        lanes = [
            {
                "trial_id": self.spec.lanes[lane].trial_id,
                "attempt": self.spec.lanes[lane].attempt,
                "launch_id": self.context.launch_id or None,
                "epoch": self.epoch,
                **({"step": self.pack.position} if self.pack.position else {}),
                "rows": dict(self.recorder.counts[lane]),
                **self._endings.memo(int(lane)),
                "best": self._keeper.best.get(int(lane)),
            }
            for lane in active
        ]
        self._keeper.save(with_best=True)
        leaves = {name: values[active] for name, values in self.pack.state().items()}
        name = f"{save_name(self.spec, self.context.launch_id)}-{self.epoch:06d}"
        if self.pack.position:
            name += f"-{self.pack.position:09d}"
        self._guard()
        path = self.store.save_weights("checkpoints", name, leaves, {"lanes": lanes})
        if path not in self._checkpoints:  # an interrupt may follow a resume point at once
            self._checkpoints.append(path)
        self._drop_checkpoints(keep=1)
        self._checkpointed_at = time.monotonic()

    def change_segment(self, wanted: Mapping[str, Any]) -> None:
        """Goes on under another signature's width and strategy, states carried over."""
        leaves = self.pack.state()
        width = int(wanted["width"])
        strategy: Strategy = "vmap" if wanted["strategy"] == "vmap" else "sequential"
        self.pack = Pack(self.trials, self._arrays, width=width, lanes=strategy)
        for lane in self.lanes:
            self.pack.load(lane, {name: values[lane] for name, values in leaves.items()})
        self.signature = signature(strategy, width, self.context.threads)

    def _drop_checkpoints(self, keep: int) -> None:
        if self.store is not None:
            while len(self._checkpoints) > keep:
                self.store.drop(self._checkpoints.pop(0))

    def interrupt(self, why: str = "the launch was stopped") -> None:
        """Keeps everything and says so: rows out, checkpoint written, attempts interrupted."""
        active = np.flatnonzero(self.pack.active[: len(self.lanes)])
        # Asked twice (by the driver, then by Tune's clean-up), the second time changes nothing.
        if len(active) and not self._interrupted:
            self._interrupted = True
            self.checkpoint()
            self.recorder.add_trials(
                [self._row(int(lane), 1, "interrupted", why) for lane in active]
            )
            self.recorder.flush()

    def close(self) -> None:
        """Nobody watches it any more, and it leaves nothing for whoever finds it dead."""
        if self._watchdog is not None:
            self._watchdog.close()
            self._watchdog = None
        if self._words is not None:
            self._words.close()
            self._words = None

    def unmakeable(self) -> list[dict[str, Scalar]] | None:
        """After `start` has raised: which trials of this program cannot be made, as values of init
        keys (an empty one means all trials), whatever their other values are. None where the
        fault may be one trial's alone."""
        if not self._making:
            return None
        if self._making == "data":
            return [{}]
        if self._making == "program":
            alone = [_fails(partial(lane_values, trial)) for trial in self.trials]
            if any(alone):  # a learning rate, say, that its schedule refuses
                return [{}] if all(alone) and len(alone) > 1 else None
        kinds = {repr(init_constants(trial)): trial for trial in self.trials}.values()
        bad = [
            init_constants(trial)
            for trial in kinds
            if _fails(partial(check_start, trial, self._arrays))
        ]
        # First states may also be a parent's weights, which are one trial's.
        return bad or (None if self._making == "states" else [{}])

    def fail(self, error: str, reason: str, of: Sequence[Mapping[str, Scalar]] = ({},)) -> None:
        """Publishes what is gathered and ends the active lanes as failed.

        Args:
          error: the traceback. reason: the exception in one line.
          of: ends only lanes whose config has any of these values.
        """
        active = self.lanes
        if hasattr(self, "pack"):
            active = [int(lane) for lane in np.flatnonzero(self.pack.active[: len(self.lanes)])]
        active = [lane for lane in active if has_any(self.spec.lanes[lane].config, of)]
        self.recorder.add_trials(
            [self._row(lane, 1, "failed", reason, error=error) for lane in active]
        )
        self.recorder.flush()

    def _row(
        self,
        lane: int,
        event: int,
        status: str,
        reason: str | None = None,
        result: EpochResult | None = None,
        error: str | None = None,
    ) -> dict[str, Any]:
        bad = int(result.bad_step[lane]) if result is not None else -1
        built = hasattr(self, "pack")
        return {
            **trial_columns(self.trials[lane], self.spec, lane),
            "event": event,
            "status": status,
            "reason": reason,
            "error": error,
            "epochs_done": self.epoch,
            "bad_epoch": self.epoch - 1 if bad >= 0 else None,
            "bad_step": bad if bad >= 0 else None,
            "parameters": self.pack.parameter_count if built else None,
            "rows": json.dumps(dict(self.recorder.counts[lane])) if event else None,
            "started": self._started,
            "ended": datetime.now(UTC) if event else None,
            "seconds": float(self._seconds[lane]) if event else None,
            "compile_seconds": self._compile_seconds,
            "device": self.signature["device"] if built else None,
            "signature": signature_text(self.signature) if built else None,
            "launch_id": self.context.launch_id,
            "metric_columns": metric_columns(self.trials[lane], self._metrics()) if built else None,
            "data_checksum": self._checksum if built else None,
            "space": self.context.space,
        }

    def _metrics(self) -> list[str]:
        """Names of the metrics that epochs have, as far as they are known."""
        seen = self.last.metrics if self.last is not None else {}
        return list(dict.fromkeys([*getattr(self.pack, "metrics", ()), *seen]))


def _fails(make: Callable[[], object]) -> bool:
    try:
        with guarded():
            make()
    except Exception:
        return True
    return False


def _checked(registry: Registry, trial_id: str, config: Mapping[str, Any]) -> Trial:
    """The trial of a config that travelled here; its id must be the driver's."""
    trial = registry.resolve(config)
    if trial.id != trial_id:
        raise RuntimeError(
            f"trial {trial_id} has id {trial.id} here: this process runs another version of the "
            "code or of the study file than the driver; install the same one everywhere"
        )
    return trial


def load_arrays(trial: Trial) -> tuple[dict[str, np.ndarray], str]:
    """(arrays, checksum) of the trial's data set; nothing for a task that makes its own."""
    name = trial.dataset
    if name is None:
        return {}, ""
    loaded = loader.load(name)
    return dict(loaded.arrays), loaded.checksum


def stop_on_sigterm(stop: Callable[[], None]) -> None:
    """Runs `stop` when this process is asked to end (a spot machine's notice)."""
    signal.signal(signal.SIGTERM, lambda *_: stop())
    # A local Ray is deaf to it, but what a user's code starts here must not be.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
