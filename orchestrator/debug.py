"""`debug`: one trial in this process, without Ray; the same code a worker runs."""

from __future__ import annotations

import contextlib
import json
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator import notebook
from orchestrator.datasets import loader
from orchestrator.errors import RequestError
from orchestrator.machine.environment import LateEnvironmentError, has_gpu, prepare
from orchestrator.option_checks import count_problems, require
from orchestrator.plan.packs import Context, Lane, PackSpec
from orchestrator.plan.plan import open_or_none
from orchestrator.plan.store_state import resume_points
from orchestrator.plan.studies import Catalogue, StudyFileError, catalogue, of_a_study
from orchestrator.plan.trials import trials_of
from orchestrator.queue.lease import Lease
from orchestrator.user_code import UserExitError, described, guarded, raised_by_user
from results import Store, StoreError, create_store
from trainables.declarations import ConfigError, HostTrainable, PartError, Trial

if TYPE_CHECKING:
    import numpy as np

    from orchestrator.worker.pack_run import PackRun, Progress

Watch = Callable[["PackRun", int], None]
"""Called after each epoch with the run and the epoch's number."""


_HOW_IT_RAN = ("attempt", "launch_id", "seconds")


@dataclass
class DebugResult:
    """Rows of one trial as plain data, in the columns of the store."""

    trial: Trial
    status: str
    reason: str | None
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    culprit: str | None = None
    others: int = 0
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"DebugResult({notebook.debug_title(self)})"

    def _repr_html_(self) -> str:
        return notebook.debug_html(self)

    def to_json(self) -> dict[str, Any]:
        """`rows` without attempt, launch and wall-clock times: equal runs give equal JSON."""
        kept = {
            table: [{k: v for k, v in row.items() if k not in _HOW_IT_RAN} for row in rows]
            for table, rows in self.rows.items()
        }
        return {
            "trial_id": self.trial.id,
            "status": self.status,
            "reason": self.reason,
            "config": self.trial.config,
            **kept,
        }


@dataclass(frozen=True)
class Segment:
    """Epochs of a trial that ran under one signature."""

    from_epoch: int
    signature: Mapping[str, Any]


def debug(
    space: str | None = None,
    *,
    trial: str | None = None,
    store: str = "./store",
    set: Sequence[str] | Mapping[str, Any] = (),
    smoke: bool = False,
    study: str | None = None,
    epochs: int | None = None,
    check_nans: bool = False,
    profile: str | None = None,
    exact: bool = False,
    record: bool = False,
    watch: Watch = lambda run, epoch: None,
) -> DebugResult:
    """Runs one trial here.

    Args:
      space: a space, whose first trial after `set` is run; or
      trial: a trial id, or a unique prefix, from the store or from `space`.
      epochs: stop after that many.
      check_nans: name the first layer and step that went non-finite.
      profile: folder for a JAX profiler trace.
      exact: rebuild the recorded pack width and strategy, so that rows agree bit for bit.
      record: publish to the store; otherwise nothing is written.

    Raises:
      RequestError: the request is wrong, or `exact` or `record` cannot be had here; says why.
      StudyFileError: a user's study failed before the trial began.

    Warns:
      RuntimeWarning: JAX was imported first, so its settings are not those of a launch.
    """
    require(count_problems("epochs", epochs))
    with of_a_study():
        found = catalogue(study)
    opened = open_or_none(store)
    with of_a_study():
        chosen, others = choose(found, opened, space, trial, set, smoke)
        name = chosen.dataset
    damaged = loader.damage(name) if name else []
    if damaged:
        raise RequestError(damaged)
    plan = segments(opened, chosen) if exact else []
    notes = _host_notes(chosen, plan)
    if notes:
        _prepare_or_warn(record)
        plan = []
    elif exact:
        try:
            prepare(int(plan[0].signature["threads"]), gpu=_on_gpu(plan[0]))
        except LateEnvironmentError as error:
            raise RequestError(f"--exact cannot be had in this process: {error}") from error
        _check_rebuildable(plan)
    else:
        _prepare_or_warn(record)
    try:
        with _recording(store, record) as (target, launch_id), guarded():
            weights = _parent_weights(found, opened, chosen, exact, watch)
            result = _run(
                found, chosen, plan, target, launch_id, weights, epochs, profile, watch, check_nans
            )
    except StoreError as error:
        raise RequestError(str(error)) from error
    except ConfigError as error:
        raise RequestError(error.problems) from error
    except UserExitError as error:
        result = DebugResult(chosen, "failed", str(error))
    result.others, result.notes = others, notes
    return result


def _prepare_or_warn(record: bool) -> None:
    """Sets the environment that packs run in; warns where JAX was there first.

    Raises:
      RequestError: rows that are recorded say in which environment, and it is another.
    """
    try:
        prepare(1, gpu=has_gpu())
    except LateEnvironmentError as error:
        if record:
            raise RequestError(f"--record cannot be had in this process: {error}") from error
        warnings.warn(
            f"JAX was imported before {', '.join(error.names)} could be set: the last bits of "
            "numbers may differ from a launch's, and eigenvalues of many matrices may stall; for "
            "the same numbers start anew and call debug before importing jax",
            RuntimeWarning,
            stacklevel=3,
        )


def choose(
    found: Catalogue,
    store: Store | None,
    space: str | None,
    trial: str | None,
    set_: Sequence[str] | Mapping[str, Any] = (),
    smoke: bool = False,
) -> tuple[Trial, int]:
    """The trial meant, and how many others the same words also mean."""
    if space is not None:
        name, _, entry = found.find(space)[0]
        targets = trials_of(found, entry, set_, smoke)
        every = {t.id: t for t in targets} | {t.parent.id: t.parent for t in targets if t.parent}
        if trial is None:
            return targets[0], len(targets) - 1
        matches = [t for trial_id, t in every.items() if trial_id.startswith(trial)]
        if len(matches) != 1:
            what = "is the start of several trials" if matches else "is no trial"
            raise RequestError(
                f"{trial!r} {what} of {name}; `gradsweep plan {name} --json` lists them"
            )
        return matches[0], 0
    if trial is None:
        raise RequestError("name a SPACE, or a trial with --trial ID")
    if set_:
        raise RequestError("--set changes a space's trial; with --trial alone name the SPACE too")
    if store is None:
        raise RequestError(f"there is no store to find trial {trial!r} in; give --store or a SPACE")
    try:
        trial_id = store.resolve(trial)
    except StoreError as error:
        raise RequestError(str(error)) from error
    row = next(r for r in store.attempts().to_pylist() if r["trial_id"] == trial_id)
    try:
        resolved = found.registry.resolve(json.loads(row["config"]))
    except ConfigError as error:
        hint = "; if it belongs to a study file of yours, give --study"
        raise RequestError([problem + hint for problem in error.problems]) from error
    if resolved.id != trial_id:
        raise RequestError(
            f"trial {trial_id} was run by another version of the code: the same config is now "
            f"{resolved.id}; `gradsweep launch --rerun stale` runs it anew"
        )
    return resolved, 0


def segments(store: Store | None, trial: Trial) -> list[Segment]:
    """Under which signatures the trial's visible epochs ran.

    Raises:
      RequestError: the store holds no attempt of it.
    """
    rows = (
        []
        if store is None
        else [r for r in store.attempts().to_pylist() if r["trial_id"] == trial.id and r["shown"]]
    )
    found: list[Segment] = []
    for row in rows:
        if row["signature"] is None:
            continue
        if row["until_epoch"] is not None and row["until_epoch"] <= row["first_epoch"]:
            continue
        signature = json.loads(row["signature"])
        found = [s for s in found if s.from_epoch < row["first_epoch"]]
        if not found or found[-1].signature != signature:
            found.append(Segment(row["first_epoch"], signature))
    if not found:
        raise RequestError(
            f"--exact replays what a store recorded, and it holds no attempt of {trial.id}; leave "
            "--exact out, or give the --store of the launch"
        )
    return found


def _host_notes(trial: Trial, plan: Sequence[Segment]) -> list[str]:
    """What `--exact` can promise of a host trainable; nothing where it promises bits."""
    stage = trial.stage
    if not plan or not isinstance(stage, HostTrainable):
        return []
    from orchestrator.worker.provenance import host_signature

    there = plan[-1].signature
    here = host_signature(stage.run, int(there["threads"]))
    was, now = there["versions"], here["versions"]
    other = [f"{n} was {was.get(n)}, here it is {now.get(n)}" for n in sorted({*was, *now})
             if was.get(n) != now.get(n)]  # fmt: skip
    differing = f"; {', '.join(other)}" if other else ""
    note = f"{stage.name} is a host trainable, of which no bits are promised: it is replayed from "
    return [f"{note}epoch 0 in this process with the recorded config{differing}"]


def _on_gpu(segment: Segment) -> bool:
    return not str(segment.signature["device"]).startswith("cpu")


def _check_rebuildable(plan: Sequence[Segment]) -> None:
    """Raises RequestError naming everything about the signatures this process cannot rebuild."""
    from orchestrator.worker.provenance import signature

    differing = []
    for segment in plan:
        there = segment.signature
        here = signature(there["strategy"], there["width"], there["threads"])
        differing += [
            f"{name} was {there[name]}, here it is {here.get(name)}"
            for name in sorted(there)
            if there[name] != here.get(name)
        ]
        if there["threads"] != plan[0].signature["threads"]:
            differing.append("segments ran with different numbers of threads")
    if differing:
        raise RequestError(
            [
                f"--exact cannot be had here: {what}; leave --exact out"
                for what in dict.fromkeys(differing)
            ]
        )


@contextlib.contextmanager
def _recording(store: str, record: bool) -> Iterator[tuple[Store | None, str]]:
    if not record:
        yield None, "debug"
        return
    opened = create_store(store)
    with Lease(opened) as lease:
        yield opened, lease.id


def _parent_weights(
    found: Catalogue, store: Store | None, trial: Trial, exact: bool, watch: Watch
) -> dict[str, Mapping[str, np.ndarray]]:
    """The parent's weights: from the store, or by running it here."""
    parent = trial.parent
    if parent is None:
        return {}
    if store is not None:
        with contextlib.suppress(StoreError):
            return {parent.id: store.weights(parent.id)}
    plan = segments(store, parent) if exact else []
    before = _parent_weights(found, store, parent, exact, watch)
    run = _started(found, parent, plan[0].signature if plan else None, None, "debug", before)
    progress = _train(run, watch)
    assert progress is not None
    if progress.ended[parent.id] in ("gate_failed", "diverged", "failed"):
        raise RequestError(
            f"its {parent.stage.name} {parent.id} {progress.ended[parent.id]}: "
            f"{progress.reasons.get(parent.id, 'no reason given')}; `gradsweep debug --trial "
            f"{parent.id}` looks at that"
        )
    return {parent.id: run.pack.weights(0)}


def _train(
    run: PackRun, watch: Watch, epochs: int | None = None, later: Sequence[Segment] = ()
) -> Progress | None:
    """Runs it to its end, or until it has done `epochs`: then None. `later`: segments to come."""
    from orchestrator.worker.host_run import HostRun

    if isinstance(run, HostRun):
        return run.run_here(watch, epochs)
    coming = list(later)
    while epochs is None or run.epoch < epochs:
        if coming and (run.epoch, run.pack.position) == (coming[0].from_epoch, 0):
            run.change_segment(coming.pop(0).signature)
        progress = run.step()
        if not progress.partial:
            watch(run, progress.epoch)
        if progress.done:
            return progress
    return None


def _started(
    found: Catalogue,
    trial: Trial,
    signature: Mapping[str, Any] | None,
    store: Store | None,
    launch_id: str,
    parents: Mapping[str, Mapping[str, np.ndarray]],
) -> PackRun:
    from orchestrator.worker.host_run import HostRun, run_of

    lane = Lane(trial.id, dict(trial.config), trial.parent.id if trial.parent else None)
    start = resume_points(store, [trial], [trial.id]).get(trial.id, lane)
    lane.attempt, lane.follows = start.attempt, start.follows
    width = int(signature["width"]) if signature else 1
    strategy = str(signature["strategy"]) if signature else "default"
    threads = int(signature["threads"]) if signature else 1
    spec = PackSpec(f"debug-{trial.id}-{lane.attempt}", trial.program, [lane], width, strategy)
    context = Context(launch_id=launch_id, space="debug", threads=threads)
    run = run_of(spec, found.registry, store, context, parents=parents)
    with _failing(run, found):
        try:
            run.start(here=True) if isinstance(run, HostRun) else run.start()
        except (MemoryError, PartError) as error:
            raise RequestError(str(error)) from error
    return run


@contextlib.contextmanager
def _failing(run: PackRun, found: Catalogue) -> Iterator[None]:
    """Publishes that the trial has failed where it raises; without a store nothing.

    Raises:
      StudyFileError: its program cannot be made of what a study's parts give.
    """
    try:
        with guarded():
            yield
    except Exception as error:
        if isinstance(error, (RequestError, StoreError)):
            raise
        run.fail("".join(traceback.format_exception(error)), described(error))
        theirs = found.from_studies(run.trials[0])
        if not theirs or isinstance(error, UserExitError) or raised_by_user(error):
            raise
        if not run.unmakeable():
            raise
        what = " or ".join(f"{part.role} {part.name}" for part in theirs)
        raise StudyFileError(
            f"no program can be made with {what} of the study: {described(error)}"
        ) from error


def _run(
    found: Catalogue,
    trial: Trial,
    plan: Sequence[Segment],
    target: Store | None,
    launch_id: str,
    weights: Mapping[str, Mapping[str, np.ndarray]],
    epochs: int | None,
    profile: str | None,
    watch: Watch,
    check_nans: bool,
) -> DebugResult:
    run = _started(found, trial, plan[0].signature if plan else None, target, launch_id, weights)
    result = DebugResult(trial, "stopped here", None)
    with _profiled(profile), _failing(run, found):
        progress = _train(run, watch, epochs, plan[1:])
        if progress is not None:
            result.status = progress.ended[trial.id]
            result.reason = progress.reasons.get(trial.id)
        else:
            run.recorder.flush()
            if target is not None:
                run.interrupt()
    if check_nans and run.last is not None and run.last.bad_step[0] >= 0:
        result.culprit = run.pack.blame(0, run.epoch - 1, int(run.last.bad_step[0]))
    elif check_nans and result.status == "diverged":
        result.culprit = result.reason
    import pyarrow as pa

    result.rows = {
        table: pa.concat_tables(parts).drop_columns(["trial_id"]).to_pylist()
        for table, parts in sorted(run.recorder.kept.items())
    }
    return result


@contextlib.contextmanager
def _profiled(folder: str | None) -> Iterator[None]:
    if folder is None:
        yield
        return
    import jax

    with jax.profiler.trace(folder):
        yield
