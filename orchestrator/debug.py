"""`debug`: one trial in this process, without Ray; the same code a worker runs."""

from __future__ import annotations

import contextlib
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator import notebook
from orchestrator.datasets import loader
from orchestrator.errors import RequestError
from orchestrator.exact_replay import Segment, on_gpu, require_rebuildable, segments
from orchestrator.machine.environment import LateEnvironmentError, has_gpu, prepare
from orchestrator.option_checks import count_problems, require
from orchestrator.plan.code.study_sources import StudySource, asked
from orchestrator.plan.imported_weights import imported_weights, missing
from orchestrator.plan.packs import Context, Lane, PackSpec
from orchestrator.plan.plan import open_or_none
from orchestrator.plan.store_state import resume_points
from orchestrator.plan.studies import Catalogue, StudyFileError, catalogue, of_a_study
from orchestrator.queue.lease import Lease
from orchestrator.trial_choice import choose
from orchestrator.user_code import UserExitError, described, guarded, raised_by_user
from results import Store, StoreError, create_store
from search_spaces import Study
from trainables.declarations import ConfigError, HostTrainable, PartError, Trial

if TYPE_CHECKING:
    import numpy as np

    from orchestrator.worker.pack_run import PackRun
    from orchestrator.worker.run_progress import Progress

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


def debug(
    space: str | Study | None = None,
    *,
    trial: str | None = None,
    store: str = "./store",
    set: Sequence[str] | Mapping[str, Any] = (),
    smoke: bool = False,
    study: StudySource | None = None,
    epochs: int | None = None,
    check_nans: bool = False,
    profile: str | None = None,
    exact: bool = False,
    record: bool = False,
    no_jit: bool = False,
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
      no_jit: compile nothing, so that what the model prints and where a `breakpoint()` in it stops
        are numbers: under a gradient as `primal`. Some hundred times slower, and equal but for
        rounding.

    Raises:
      RequestError: the request is wrong, or `exact` or `record` cannot be had here; says why.
      StudyFileError: a user's study failed before the trial began.

    Warns:
      RuntimeWarning: JAX was imported first, so its settings are not those of a launch.
    """
    wanted, study = (None, study) if space is None else asked(space, study)
    require(count_problems("epochs", epochs), _no_jit_problems(no_jit, exact, record))
    with of_a_study():
        found = catalogue(study)
    opened = open_or_none(store)
    with of_a_study():
        chosen, others = choose(found, opened, wanted, trial, set, smoke)
        name = chosen.dataset
    damaged = [*(loader.damage(name) if name else []), *missing([chosen], opened)]
    if damaged:
        raise RequestError(damaged)
    plan = segments(opened, chosen) if exact else []
    notes = _host_notes(chosen, plan)
    if notes:
        _prepare_or_warn(record)
        plan = []
    elif exact:
        try:
            prepare(int(plan[0].signature["threads"]), gpu=on_gpu(plan[0]))
        except LateEnvironmentError as error:
            raise RequestError(f"--exact cannot be had in this process: {error}") from error
        require_rebuildable(plan)
    else:
        _prepare_or_warn(record)
    try:
        with _recording(store, record) as (target, launch_id), guarded(), _stepwise(no_jit):
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


def _no_jit_problems(no_jit: bool, exact: bool, record: bool) -> list[str]:
    given = [name for name, on in (("--exact", exact), ("--record", record)) if on and no_jit]
    return [
        f"{name} wants the numbers of a launch, and those of --no-jit are rounded otherwise; leave "
        "one of the two out"
        for name in given
    ]


@contextlib.contextmanager
def _stepwise(no_jit: bool) -> Iterator[None]:
    if not no_jit:
        yield
        return
    from trainables.core.stepwise import step_by_step  # imports JAX

    with step_by_step():
        yield


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
        name = trial.config.get("weights_from")
        found_weights = imported_weights(store, str(name)) if name else None
        return {} if found_weights is None else {str(name): found_weights}
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
    from orchestrator.worker.host.run import HostRun

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
    from orchestrator.worker.host.run import HostRun, run_of

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
