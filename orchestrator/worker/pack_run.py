"""Running one pack: epochs, rows, ends of trials, checkpoints. The same code under Ray and in
`debug`; needs JAX, knows nothing of Ray."""

from __future__ import annotations

import contextlib
import json
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from orchestrator.datasets import loader
from orchestrator.machine.resources import memory_free
from orchestrator.plan.checks.metrics import require_names, require_watched
from orchestrator.plan.packs import Context, Lane, PackSpec, has_any, signature_text
from orchestrator.plan.paused import PausedTrial
from orchestrator.pruning.judge import AWAITS, Reached, Verdict, rung_reason
from orchestrator.units import counted
from orchestrator.user_code import described, guarded
from orchestrator.worker import compile_cache
from orchestrator.worker.lane_strategy import strategy_here
from orchestrator.worker.last_words import LastWords
from orchestrator.worker.monitors import value_of
from orchestrator.worker.provenance import metric_columns, signature, trial_columns
from orchestrator.worker.recorder import Recorder
from orchestrator.worker.resume_points import ResumePoints
from orchestrator.worker.run_progress import Failure, Progress
from orchestrator.worker.stop_rules import Endings
from orchestrator.worker.traced_values import traced_values_named
from orchestrator.worker.unmakeable import Making, unmakeable, unmakeable_like
from orchestrator.worker.watchdog import Watchdog
from orchestrator.worker.weight_keeper import Keeper, save_name
from results import Store, StoreError
from trainables.core.lanes import Strategy
from trainables.core.stepwise import stepwise
from trainables.declarations import PartError, Registry, Scalar, Trial
from trainables.declarations.probes.base import is_due
from trainables.packs.pack import EpochResult, Pack


class PackRun:
    """One pack on this process's device: slots, each with a trial and an epoch.

    `start`, then `step` until it reports `done`; between steps `settle` says what becomes of trials
    at a rung, and `take` puts waiting trials into free slots. `interrupt` at any time between steps
    keeps everything for a resume. Without a store nothing is written.

    Attributes:
      epochs: the coming epoch of each slot's trial, (width,).
      compile_seconds, epoch_seconds: of the start, and of the last epoch of all lanes.
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
        states: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    ):
        """`parents`: weights by trial id that take the place of the store's artifacts. `words`:
        where this process says what it does, for whoever finds it dead. `states`: by trial id, as
        a resume point has them, in the place of the store's."""
        self.spec = spec
        self._states = states or {}
        self._registry = registry
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
        self.epochs = np.zeros(spec.width, np.int32)
        self.epochs[: len(spec.lanes)] = [lane.first_epoch for lane in spec.lanes]
        self.last: EpochResult | None = None
        self.pack: Pack
        self._making: Making = ""
        self._guard = guard
        self._endings = Endings(self.trials)
        self._keeper = Keeper(spec, self.trials, store, guard, context.launch_id)
        self._seconds = np.zeros(spec.width)
        self._spent = np.zeros(spec.width)
        self._timed: Sequence[int] = ()
        self._epoch_seconds = self.epoch_seconds = 0.0
        self.compile_seconds = 0.0
        self._words = words
        limit = context.trial_seconds
        self._watchdog = Watchdog(limit, self._late, words) if limit else None
        self._interrupted = False
        self._points = ResumePoints(
            store, save_name(spec, context.launch_id), context.checkpoint_s, guard
        )
        self._turn = self.epoch
        self._at_rung: dict[int, Reached] = {}
        self._ended: dict[str, tuple[str, str | None]] = {}
        self._started = [datetime.now(UTC)] * spec.width

    @property
    def lanes(self) -> range:
        """Slots that have, or have had, a trial."""
        return range(len(self.spec.lanes))

    @property
    def epoch(self) -> int:
        """The coming epoch of the lane that has come furthest."""
        return int(self.epochs[: len(self.lanes)].max())

    @property
    def idle(self) -> bool:
        """Whether no slot has a trial that trains or waits for a verdict."""
        return not self.active_lanes()

    def active_lanes(self) -> list[int]:
        """Slots whose trial trains or waits for a verdict."""
        return [int(lane) for lane in np.flatnonzero(self.pack.active[: len(self.lanes)])]

    def _limited(
        self, doing: str, lanes: Sequence[int], share: int = 1
    ) -> AbstractContextManager[None]:
        """`doing` this ends the process where one of these trials takes longer than it may, `share`
        of them in turn."""
        if self._watchdog is None or not lanes:
            return contextlib.nullcontext()
        self._timed = lanes
        left = self._watchdog.limit - max(self._spent[lane] for lane in lanes)
        return self._watchdog.within(doing, left * share)

    def _late(self, reason: str, stacks: str) -> None:
        """Ends those that have taken longest as failed; the others may go on elsewhere."""
        timed = self._timed or self.active_lanes()
        longest = max(self._spent[lane] for lane in timed)
        late = [lane for lane in timed if self._spent[lane] == longest]
        self._fail(late, stacks, reason)

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
            self.compile_seconds = time.monotonic() - begun
            self._spent[:] = self.compile_seconds
        for lane in self.lanes:
            self._resume(lane)
        self._points.restart()
        self.recorder.add_trials([self._row(lane, 0, "running") for lane in self.lanes])
        self.recorder.flush()

    def _resume(self, lane: int) -> None:
        """Takes up a lane's resume point, where it has one."""
        slot = self.spec.lanes[lane]
        leaves = self._states.get(slot.trial_id)
        if leaves is None and slot.checkpoint and self.store is not None:
            leaves = self.store.load_lane(slot.checkpoint, slot.checkpoint_lane)
        if leaves is not None:
            self.pack.load(lane, leaves)
            self.recorder.counts[lane].update(slot.memo["rows"])
            self._endings.recall(lane, slot.memo)
            if slot.memo.get("best") is not None:
                self._keeper.best[lane] = slot.memo["best"]

    def free(self) -> list[int]:
        """Slots without a trial; none within an epoch of data that stream."""
        if self.pack.position:
            return []
        ended = [lane for lane in self.lanes if not self.pack.active[lane]]
        return [*ended, *range(len(self.lanes), self.spec.width)]

    def take(self, lanes: Sequence[Lane]) -> dict[str, Failure]:
        """Puts trials of the pack's group into free slots, fresh, from a parent's weights or from a
        resume point, and publishes that they have started.

        Returns:
          By trial id, why a trial could not be made; it has failed then.

        Raises:
          StoreError: an artifact or a resume point cannot be read.
          ValueError: there are more trials than free slots.
        """
        failed: dict[str, Failure] = {}
        rows = []
        for slot, lane in zip(self.free(), lanes, strict=False):
            self._seat(slot, lane)
            begun = time.monotonic()
            try:
                with guarded(), self._limited("initialising", [slot]):
                    self.pack.place(slot, self.trials[slot], self._parent(lane))
                    self._resume(slot)
            except StoreError:
                raise
            except Exception as error:
                self.pack.freeze(slot)
                text = "".join(traceback.format_exception(error))
                failed[lane.trial_id] = Failure(
                    described(error), unmakeable_like(self.trials[slot], self._arrays)
                )
                rows.append(self._row(slot, 1, "failed", described(error), error=text))
                continue
            self._spent[slot] = time.monotonic() - begun
            rows.append(self._row(slot, 0, "running"))
        if len(rows) < len(lanes):
            raise ValueError(f"{len(lanes)} trials for {counted(len(rows), 'free slot')}")
        self.recorder.add_trials(rows)
        return failed

    def _seat(self, slot: int, lane: Lane) -> None:
        """The slot is this trial's from now on."""
        trial = _checked(self._registry, lane.trial_id, lane.config)
        if slot == len(self.lanes):
            self.spec.lanes.append(lane)
            self.trials.append(trial)
        self.spec.lanes[slot], self.trials[slot] = lane, trial
        self._started[slot] = datetime.now(UTC)
        self.epochs[slot] = lane.first_epoch
        self._seconds[slot] = self._spent[slot] = 0.0
        self.recorder.place(slot, lane.trial_id, lane.attempt)
        self._endings.place(slot, trial)
        self._keeper.place(slot, trial)

    def settle(self, verdicts: Mapping[str, Verdict]) -> dict[str, PausedTrial]:
        """What becomes of trials that `step` has left at a rung; those that are not named wait.

        "go" trains on. Of "prune" and "wait" the state is kept as a resume point that outlives this
        run, the attempt ends as pruned or paused, and the slot is free.

        Returns:
          By trial id, those that wait.
        """
        told = {lane: verdicts.get(one.trial_id, "wait") for lane, one in self._at_rung.items()}
        leaving = {lane: word for lane, word in told.items() if word != "go"}
        kept = [
            lane for lane, word in leaving.items() if word == "wait" or self.context.keep_pruned
        ]
        path = self._save_point(kept, f"{self._turn:06d}-rung") if kept else ""
        rows = []
        paused: dict[str, PausedTrial] = {}
        for lane, word in leaving.items():
            # Of one that waits too, since it may be pruned when it has no slot.
            self._keeper.at_end(lane, int(self.epochs[lane]) - 1, "pruned", self.pack)
            self.pack.freeze(lane)
            one = self._at_rung[lane]
            why = rung_reason(self.spec.lanes[lane].metric, one.value, one.epochs)
            status, more = ("pruned", "") if word == "prune" else ("paused", AWAITS)
            rows.append(self._row(lane, 1, status, why + more))
            if status == "paused":
                point = {"checkpoint": path, "checkpoint_lane": kept.index(lane)}
                paused[one.trial_id] = PausedTrial(self._next_attempt(lane, **point), rows[-1])
        self._keeper.save()
        self.recorder.add_trials(rows)
        self._at_rung.clear()
        if rows:
            self.recorder.flush()
        return paused

    @contextlib.contextmanager
    def _making_it(
        self, what: Literal["program", "states", "epoch"], doing: str, begun: float
    ) -> Iterator[None]:
        self._making = what
        self._spent[:] = time.monotonic() - begun
        with self._limited(doing, self.lanes):
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
        found = {lane: self._parent(slot) for lane, slot in enumerate(self.spec.lanes)}
        return {lane: weights for lane, weights in found.items() if weights is not None}

    def _parent(self, slot: Lane) -> Mapping[str, np.ndarray] | None:
        """The weights that a lane starts from, if another trial's or imported ones."""
        imported = slot.config.get("weights_from")
        name = slot.parent_id or imported
        if name is None:
            return None
        if name in self._parent_weights:
            return self._parent_weights[name]
        if self.store is None:
            return None
        return (
            self.store.load_lane(f"artifacts/{name}", 0) if imported else self.store.weights(name)
        )

    def step(self) -> Progress:
        """Trains every active lane one epoch and records it; where data stream, some steps of an
        epoch.

        Raises:
          StoreError: the store cannot be written. SupersededError: the guard said so.
          RuntimeError: trials at a rung have no verdict yet.
        """
        if self._at_rung:
            raise RuntimeError("trials wait for a verdict; call settle() first")
        active = np.array(self.active_lanes(), int)
        epoch = int(self.epochs[active].max()) if len(active) else self.epoch
        # Lanes in sequence take their turns; a vmap advances all of them at once.
        turns = 1 if self.signature["strategy"] == "vmap" else max(len(active), 1)
        begun = time.monotonic()
        with self._limited(f"training epoch {epoch}", active.tolist(), turns):
            result = self._advanced()
        seconds = time.monotonic() - begun
        self._spent[active] += seconds / turns
        self._seconds[active] += seconds / max(len(active), 1)
        self._epoch_seconds += seconds
        if result is None:
            if self._points.due:
                self.checkpoint()
            return Progress(epoch - 1, signature=self.signature, partial=True)
        self.last = result
        seconds, self._epoch_seconds = self._epoch_seconds, 0.0
        self.epoch_seconds = seconds
        rows, steps = self.pack.layer_rows, self.pack.steps
        broken = self._broken_inputs(active, result)
        for lane, reason in broken.items():  # no result, so nothing of the epoch is kept
            self.pack.freeze(lane)
            self.recorder.add_trials([self._row(lane, 1, "failed", reason)])
        active = np.array([lane for lane in active if lane not in broken], int)
        epochs = self.epochs[active]
        if len(active):
            self.recorder.add_epoch(epochs, result, rows, active, steps, seconds)
        of = dict(zip(active.tolist(), epochs.tolist(), strict=True))
        ends = {lane: self._endings.after_epoch(lane, epoch, result) for lane, epoch in of.items()}
        ended = {lane: end for lane, end in ends.items() if end is not None}
        with self._limited(f"measuring after epoch {epoch}", active.tolist(), turns):
            if len(active):
                self._record_probes(active, set(ended), result)
        self._keeper.after_epoch(epochs, active.tolist(), self.pack, result)
        for lane, (status, _) in ended.items():
            self.pack.freeze(lane)
            self._keeper.at_end(lane, of[lane], status, self.pack)
        self._keeper.save()
        self.epochs[active] += 1
        self._turn += 1
        self._keep_states([lane for lane, (status, _) in ended.items() if status == "done"])
        self.recorder.add_trials(
            [self._row(lane, 1, status, reason, result) for lane, (status, reason) in ended.items()]
        )
        ended |= {lane: ("failed", reason) for lane, reason in broken.items()}
        ids = self.spec.trial_ids
        self._ended |= {ids[lane]: end for lane, end in ended.items()}
        self._reach_rungs(result)
        remaining = len(self.active_lanes())
        awaited = any(self.spec.lanes[lane].artifact for lane in ended)
        if self.recorder.due() or awaited or not remaining:
            self.recorder.flush()
        if remaining and self._points.due:
            self.checkpoint()
        if not remaining:
            self._points.drop()
        return self._progress(epoch, len(of), done=not remaining)

    def _reach_rungs(self, result: EpochResult) -> None:
        """Notes which lanes have come to a rung with the epoch that has just ended."""
        for lane in self.active_lanes():
            slot, done = self.spec.lanes[lane], int(self.epochs[lane])
            if done in slot.rungs:
                value = value_of(self.trials[lane], result, str(slot.metric), lane)
                self._at_rung[lane] = Reached(slot.trial_id, done, value)

    def _progress(self, epoch: int, trained: int, done: bool) -> Progress:
        """What the step brought; ends of trials once they are published."""
        ended: dict[str, tuple[str, str | None]] = {}
        if not self.recorder.ends_waiting:
            ended, self._ended = self._ended, {}
        return Progress(
            epoch,
            {trial_id: status for trial_id, (status, _) in ended.items()},
            {trial_id: reason for trial_id, (_, reason) in ended.items() if reason},
            self.signature,
            done=done,
            trained=trained,
            at_rung=list(self._at_rung.values()),
        )

    def _advanced(self) -> EpochResult | None:
        try:
            return self.pack.advance(self.epochs)
        except PartError:  # samples that stream, which all trials of the program read
            self._making = "data"
            raise

    def _broken_inputs(self, active: np.ndarray, result: EpochResult) -> dict[int, str]:
        """Of each lane whose bad step came from its input, a sentence that says which."""
        bad = {int(lane): int(result.bad_step[lane]) for lane in active}
        said = {
            lane: self.pack.broken_input(lane, int(self.epochs[lane]), step)
            for lane, step in bad.items()
            if step >= 0
        }
        return {lane: text for lane, text in said.items() if text}

    def _record_probes(self, active: np.ndarray, ended: set[int], result: EpochResult) -> None:
        """Rows of probes: those the epoch brought, and those whose cadence or end it is."""
        for name, columns in result.probes.items():
            self.recorder.add_probe(name, self.epochs[active], active, columns)
        for name in self.trials[0].probes:
            cadence = f"{name}_every"
            probed = [
                lane
                for lane in active
                if cadence in self.trials[lane].config
                and is_due(self.trials[lane].config[cadence], int(self.epochs[lane]), lane in ended)
            ]
            columns = self.pack.probe(name) if probed else None
            if columns is not None:
                at = np.asarray(probed)
                self.recorder.add_probe(name, self.epochs[at], at, columns)

    def _measures(self, probe: str) -> bool:
        """Whether any lane asks for this probe."""
        return any(trial.config.get(f"{probe}_every") is not None for trial in self.trials)

    def checkpoint(self) -> None:
        """Publishes what is gathered, then a resume point at the coming epoch, or within the one
        that is under way."""
        self.recorder.flush()
        if self.store is None:
            return
        name = f"{self._turn:06d}"
        if self.pack.position:
            name += f"-{self.pack.position:09d}"
        self._points.keep_newest(self._save_point(self.active_lanes(), name))

    def _keep_states(self, done: Sequence[int]) -> None:
        """Keeps what a longer trial goes on from, of trials that ask for it and have come to their
        length."""
        kept = [
            lane
            for lane in done
            if self.trials[lane].config["keep_weights"] == "state"
            and self.epochs[lane] == self.trials[lane].epochs
        ]
        if kept:
            self._save_point(kept, f"{self._turn:06d}-state", kept=True)

    def _save_point(self, lanes: Sequence[int], name: str, kept: bool = False) -> str:
        """Publishes what is gathered, then a resume point of these lanes; returns its path.

        Args:
          kept: the lanes have ended, and others may go on from them.
        """
        self.recorder.flush()
        if self.store is None:
            return ""
        entries = [
            {
                "trial_id": self.spec.lanes[lane].trial_id,
                "attempt": self.spec.lanes[lane].attempt,
                "launch_id": self.context.launch_id or None,
                "epoch": int(self.epochs[lane]),
                **({"step": self.pack.position} if self.pack.position else {}),
                **self._memo(lane),
            }
            for lane in lanes
        ]
        self._keeper.save(with_best=not kept)
        leaves = {path: values[list(lanes)] for path, values in self.pack.state().items()}
        index: dict[str, Any] = {"lanes": entries}
        if kept:
            leaves["alive"] = np.ones_like(leaves["alive"])
            index["kept"] = True
        return self._points.publish(name, leaves, index)

    def _memo(self, lane: int) -> dict[str, Any]:
        """What a resume point must hold of a lane beside its state; plain JSON."""
        return {
            "rows": dict(self.recorder.counts[lane]),
            **self._endings.memo(lane),
            "best": self._keeper.best.get(lane),
        }

    def leave(self, why: str) -> tuple[list[Lane], dict[str, dict[str, np.ndarray]]]:
        """Ends the attempts at all active trials as interrupted, between two epochs.

        Returns:
          Lanes of their next attempts, and their states by trial id.
        """
        active, leaves = self.active_lanes(), self.pack.state()
        self._keeper.save(with_best=True)
        self.recorder.add_trials([self._row(lane, 1, "interrupted", why) for lane in active])
        self.recorder.flush()
        lanes, states = [], {}
        for lane in active:
            slot = self.spec.lanes[lane]
            states[slot.trial_id] = {path: values[lane] for path, values in leaves.items()}
            lanes.append(self._next_attempt(lane, checkpoint=None))
        self._interrupted = True
        return lanes, states

    def _next_attempt(self, lane: int, **point: Any) -> Lane:
        """The next attempt at a lane's trial, from its state as it is.

        Args:
          point: where that is kept, `checkpoint` and `checkpoint_lane`.
        """
        slot, epoch = self.spec.lanes[lane], int(self.epochs[lane])
        return replace(
            slot,
            attempt=slot.attempt + 1,
            first_epoch=epoch,
            follows=[(slot.attempt, self.context.launch_id)],
            continues=None,
            memo=self._memo(lane),
            rungs=[rung for rung in slot.rungs if rung > epoch],
            **point,
        )

    def like(self, spec: PackSpec, states: Mapping[str, Mapping[str, np.ndarray]]) -> PackRun:
        """A run of another pack by the same worker, which says what this one has not said yet."""
        words, self._words = self._words, None
        new = PackRun(
            spec, self._registry, self.store, self.context, self._guard, None, words, states
        )
        new._ended, self._ended = self._ended, {}
        return new

    def drop_points(self) -> None:
        """Nothing goes on from this run's resume points any more."""
        self._points.drop()

    def change_segment(self, wanted: Mapping[str, Any]) -> None:
        """Goes on under another signature's width and strategy, states carried over."""
        leaves = self.pack.state()
        width = int(wanted["width"])
        strategy: Strategy = "vmap" if wanted["strategy"] == "vmap" else "sequential"
        self.pack = Pack(self.trials, self._arrays, width=width, lanes=strategy)
        for lane in self.lanes:
            self.pack.load(lane, {name: values[lane] for name, values in leaves.items()})
        epochs = self.epochs[: len(self.lanes)]
        self.epochs = np.zeros(width, np.int32)
        self.epochs[: len(epochs)] = epochs
        self.signature = signature(strategy, width, self.context.threads)

    def interrupt(self, why: str = "the launch was stopped") -> None:
        """Keeps everything and says so: rows out, checkpoint written, attempts interrupted."""
        active = self.active_lanes()
        # Asked twice (by the driver, then by Tune's clean-up), the second time changes nothing.
        if not self._interrupted and (active or self.recorder.ends_waiting):
            self._interrupted = True
            if active:
                self.checkpoint()
            self.recorder.add_trials([self._row(lane, 1, "interrupted", why) for lane in active])
            self.recorder.flush()

    def close(self) -> None:
        """Nobody watches it any more, and it leaves nothing for whoever finds it dead; nor resume
        points, where all trials have ended."""
        if hasattr(self, "pack") and self.idle and not self._interrupted:
            self._points.drop()
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
        return unmakeable(self.trials, self._arrays, self._making)

    def fail(self, error: str, reason: str, of: Sequence[Mapping[str, Scalar]] = ({},)) -> None:
        """Publishes what is gathered and ends the active lanes as failed.

        Args:
          error: the traceback. reason: the exception in one line.
          of: ends only lanes whose config has any of these values.
        """
        running = self.active_lanes() if hasattr(self, "pack") else self.lanes
        lost = [lane for lane in running if has_any(self.spec.lanes[lane].config, of)]
        self._fail(lost, error, reason)

    def _fail(self, lanes: Sequence[int], error: str, reason: str) -> None:
        self.recorder.add_trials(
            [self._row(lane, 1, "failed", reason, error=error) for lane in lanes]
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
            "epochs_done": int(self.epochs[lane]),
            "bad_epoch": int(self.epochs[lane]) - 1 if bad >= 0 else None,
            "bad_step": bad if bad >= 0 else None,
            "parameters": self.pack.parameter_count if built else None,
            "length_readers": "; ".join(self.pack.length_readers(lane)) if built else None,
            "rows": json.dumps(dict(self.recorder.counts[lane])) if event else None,
            "started": self._started[lane],
            "ended": datetime.now(UTC) if event else None,
            "seconds": float(self._seconds[lane]) if event else None,
            "compile_seconds": self.compile_seconds,
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
