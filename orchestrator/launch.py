"""`launch`: runs what a plan says is missing, under Ray Tune."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator import notebook
from orchestrator.datasets import loader
from orchestrator.errors import RequestError
from orchestrator.machine.resources import check_amounts, find_room
from orchestrator.machine.scratch import launch_folder
from orchestrator.option_checks import number_problems, require, span_problems
from orchestrator.plan.code.study_sources import StudySource, is_module
from orchestrator.plan.overrides import typed, with_key
from orchestrator.plan.packs import Context
from orchestrator.plan.plan import SpacePlan, open_or_none, plan
from orchestrator.plan.space_record import space_json, with_trials
from orchestrator.plan.store_state import drop_finished_checkpoints, newest_attempts
from orchestrator.plan.studies import catalogue
from orchestrator.pruning.launch_judge import judge_for
from orchestrator.pruning.options import asked_pruning
from orchestrator.pruning.standing import pruned_trials
from orchestrator.queue.lease import Lease, check_free
from orchestrator.ray_backend.cluster import cluster_ray, cluster_resources, in_job
from orchestrator.ray_backend.code_bundle import carried_study
from orchestrator.ray_backend.jobs import run_job, runs_as_job, words_of
from orchestrator.ray_backend.local import local_ray
from orchestrator.ray_backend.study_object import sends_objects
from orchestrator.ray_backend.tune_run import drive
from orchestrator.ray_backend.watch import RayWatch
from orchestrator.stopping import Stopping, status_of
from orchestrator.store_queue import end_running, store_queue
from orchestrator.terminal import out
from orchestrator.units import seconds_of
from orchestrator.worker.provenance import versions
from results import Store, StoreError, create_store
from search_spaces import Study

TIME_UP = 124
"""The exit status of `timeout`."""


@dataclass
class LaunchResult:
    """What a launch brought.

    Attributes:
      counts: by final status, over every trial of the plan.
      compiles: how many epoch programs its workers compiled or took from the compile cache.
      slots: epochs that its packs' slots could train while trials waited (`all`) and did (`used`).
      reasons: why a trial failed or did not pass, by its id.
      untried: how many trials failed without a try, since another of their program had, by reason.
      signal: what stopped it. time_up: its time budget did, before all trials had ended.
      stuck: a call to a dead Ray never came back, so this process has to end.
      job: id of a job. job_status: its exit status, unless it was left alone.
    """

    store: str
    plans: list[SpacePlan]
    ran: int = 0
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    compiles: Counter[str] = field(default_factory=Counter)
    slots: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    untried: dict[str, int] = field(default_factory=dict)
    signal: int | None = None
    time_up: bool = False
    stuck: bool = False
    error: str | None = None
    job: str | None = None
    job_status: int | None = None

    def __repr__(self) -> str:
        return f"LaunchResult({notebook.launch_title(self)})"

    def _repr_html_(self) -> str:
        return notebook.launch_html(self)

    @property
    def exit_status(self) -> int:
        """0: every trial has a result (diverged is one); 1: some failed, are blocked or left; 2:
        the store could not be written, or Ray died; 124: the time budget is used up; 130, 143 or
        129: Ctrl-C, SIGTERM or the end of its terminal stopped it."""
        if self.error:
            return 2
        if self.signal is not None:
            return status_of(self.signal)
        if self.job_status is not None:
            return self.job_status
        if self.time_up:
            return TIME_UP
        bad = self.counts["failed"] + self.counts["blocked"] + self.counts["missing"]
        return 1 if bad else 0

    @property
    def slots_busy(self) -> float | None:
        """Share of its packs' slots that trained while trials waited; None if none waited."""
        return self.slots["used"] / self.slots["all"] if self.slots["all"] else None

    @property
    def interrupted(self) -> bool:
        """Whether a signal stopped it."""
        return self.signal is not None


@sends_objects
def launch(
    space: str | Study,
    *,
    store: str = "./store",
    set: Sequence[str] | Mapping[str, Any] = (),
    smoke: bool = False,
    limit: int | None = None,
    rerun: Sequence[str] = (),
    study: StudySource | None = None,
    address: str | None = None,
    detach: bool = False,
    lanes: str = "auto",
    width: int | None = None,
    prune: str | Mapping[str, Any] | None = None,
    metric: str | None = None,
    mode: str | None = None,
    grace: int | None = None,
    factor: int | None = None,
    over: str | Sequence[str] | None = None,
    within: str | Sequence[str] | None = None,
    keep_pruned: bool = True,
    cpus_per_pack: int = 1,
    cpus: int | None = None,
    gpus: float | None = None,
    gpus_per_pack: float | None = None,
    checkpoint_seconds: float = 60.0,
    keep_weights: str | None = None,
    trial_timeout: float | str | None = None,
    time_budget: float | str | None = None,
    keep_going: bool = False,
    checkpoint_s: float | None = None,
    only: Sequence[str] = (),
    length: int | None = None,
    progress: str = "auto",
    say: Callable[[str], None] = out,
) -> LaunchResult:
    """Runs a space, or every space of a study; the same call again runs only what is missing.

        launch("vanishing/quickstart")
        launch(STUDY)                       # of a notebook's cell: sent to workers by value
        launch("mine/depth", study=STUDY)   # one space of it

    Args:
      space: `study/space`, or a study by its name or as an object of your own.
      store: URI; made if it does not exist.
      set, smoke, limit, rerun, study, lanes, width: as in `plan`.
      prune, metric, mode, grace, factor, over, within: how bad trials end early, as in `plan`. The
        same launch again takes no decision differently; one without `prune` trains pruned ones on.
      keep_pruned: keep the last state of a pruned trial, from which it goes on.
      address: of a running Ray cluster, or `http://...` of its job server; None starts and stops a
        local one.
      detach: leave a job to itself.
      cpus_per_pack: CPU threads of each worker; part of a pack's signature.
      cpus, gpus: how many to use; None for all there are. Of a cluster that grows, how many it may
        come to have.
      gpus_per_pack: 1 where there are any, or a fraction to share one.
      checkpoint_seconds: between resume points; `checkpoint_s` is its former name.
      keep_weights: none, last, best, state or every:K; a short word for that key in `set`.
      trial_timeout: seconds, or text such as "10m", after which a trial has failed; data and
        compiling count, and trials that a worker trains in turn share its time.
      time_budget: the same of the whole launch, which stops then as Ctrl-C stops it.
      keep_going: try each pack of a program that could not be made.
      only, length: as in `plan`; `promote` gives them.
      progress: auto, bar, plain, notebook or none. say: takes lines of text.

    Raises:
      RequestError: the request is wrong, a data set is missing, another driver holds the store, or
        Ray does not start.
      Stopped: a signal came before anything ran.
    """
    assert isinstance(space, str)  # by `sends_objects`; a study is then a path or a module
    study = None if study is None else str(study)
    begun = time.monotonic()
    if checkpoint_s is not None:
        checkpoint_seconds = checkpoint_s
    check_amounts(cpus_per_pack, cpus, gpus, gpus_per_pack)
    require(
        number_problems("checkpoint_seconds", checkpoint_seconds),
        span_problems("trial_timeout", trial_timeout),
        span_problems("time_budget", time_budget),
    )
    wanted = with_key(set, "keep_weights", keep_weights)
    pruning = asked_pruning(prune, metric, mode, grace, factor, over, within)
    if runs_as_job(address, detach):
        assert address is not None
        # Wrong requests end here.
        plan(space, store=None, set=wanted, smoke=smoke, study=study, prune=pruning)
        words = words_of({
            "set": typed(wanted), "smoke": smoke, "limit": limit, "rerun": rerun, "lanes": lanes,
            "width": width, "prune": pruning.pop("rule", None), **pruning,
            "no_keep_pruned": not keep_pruned,
            "cpus_per_pack": cpus_per_pack, "cpus": cpus, "gpus": gpus,
            "gpus_per_pack": gpus_per_pack, "checkpoint_seconds": checkpoint_seconds,
            "trial_timeout": trial_timeout, "time_budget": time_budget, "keep_going": keep_going,
        })  # fmt: skip
        job, status = run_job(address, space, store, words, study, detach, say)
        spent = time.monotonic() - begun
        return LaunchResult(store, [], seconds=spent, job=job, job_status=status)
    with Stopping() as stop, contextlib.ExitStack() as stack:
        watch: RayWatch | None = None
        if address is not None:
            say(f"connecting to Ray at {address}")
            watch = stack.enter_context(cluster_ray(address, cpus_per_pack, study))
        there = cluster_resources() if address is not None else None
        room = find_room(there, cpus_per_pack, cpus, gpus, gpus_per_pack)
        known = open_or_none(store)
        if known is not None:
            check_free(known)
        options: dict[str, Any] = {
            "set": wanted, "smoke": smoke, "limit": limit, "rerun": rerun, "study": study,
            "lanes": lanes, "width": width, "devices": room.packs,
            "gpu": bool(room.gpu), "only": only, "length": length, "prune": pruning,
        }  # fmt: skip
        plans = plan(space, store=known, **options)
        if address is None:  # the nodes of a cluster have their own files
            damaged = [line for name in _datasets(plans) for line in loader.damage(name)]
            if damaged:
                raise RequestError(damaged)
        found = catalogue(study)
        try:
            opened = known or create_store(store)
            with Lease(opened, say) as lease:
                stop.at_last.append(partial(lease.__exit__, None))
                # Again under the lease: another driver may have finished in the meantime.
                plans = plan(space, store=opened, **options)
                now = datetime.now(UTC).isoformat()
                before = opened.spaces()
                for one in plans:
                    record = space_json(one, found, before.get(one.name))
                    if only:
                        record = with_trials(before.get(one.name), record)
                    opened.write_space(one.name, {**record, "launched": now})
                for line in opened.warnings:
                    say(f"warning: {line}")
                result = LaunchResult(opened.uri, plans, sum(len(one.to_run) for one in plans))
                if result.ran:
                    if watch is None:
                        say("starting Ray")
                        if not room.gpu:
                            # With no more CPUs than packs: Ray starts a worker for each.
                            packs = min(room.packs, sum(len(one.packs) for one in plans))
                            room = replace(room, packs=packs)
                        watch = stack.enter_context(local_ray(room, cpus_per_pack, say))
                    context = Context(
                        lease.id, space, cpus_per_pack, checkpoint_seconds, room.gpu, versions(),
                        fetch=address is not None, keep_pruned=keep_pruned,
                        trial_seconds=None if trial_timeout is None else seconds_of(trial_timeout),
                        # The nodes of a cluster have their own folders.
                        words=None if address else str(stack.enter_context(launch_folder())),
                    )  # fmt: skip
                    job = _job(opened, study, context, travels=address is not None)
                    judge = judge_for(opened, plans, lease.id)
                    queue = store_queue(opened, plans, lease, context, keep_going, judge)
                    budget = None if time_budget is None else seconds_of(time_budget)
                    patient = address is not None
                    stop.gently(patient)
                    result.time_up = drive(
                        queue, job, lease, room.resources, room.packs, progress, say, stop, watch,
                        patient, None if budget is None else begun + budget,
                    )  # fmt: skip
                    stop.gently(patient=False)
                    end_running(opened, queue, lease)
                    result.signal, result.stuck = stop.number, watch.stuck
                    result.error = queue.fatal
                    result.compiles, result.untried = queue.compiles, dict(queue.untried)
                    result.slots = queue.slots
                    if lease.lost.is_set():
                        result.error = "another driver took over this store"
                    result.reasons |= queue.reasons
                if not result.error:
                    drop_finished_checkpoints(opened)
        except StoreError as error:
            raise RequestError(str(error)) from error
    _summarise(result, opened)
    result.seconds = time.monotonic() - begun
    return result


def _datasets(plans: Sequence[SpacePlan]) -> list[str]:
    return sorted({name for one in plans for name in one.datasets})


def _job(store: Store, study: str | None, context: Context, travels: bool) -> dict[str, Any]:
    """What every worker is told beside its pack. A study file that travels lies in the folder in
    which workers start."""
    local = "://" not in store.uri
    if study and not travels and not is_module(study):
        study = str(Path(study).resolve())
    elif (
        study and travels and not in_job()
    ):  # a job names its own from the folder in which workers start
        study = carried_study(study)
    return {
        "store": str(Path(store.uri).resolve()) if local else store.uri,
        "study": study,
        "start": None if travels else str(Path.cwd()),
        "context": asdict(context),
    }


def _summarise(result: LaunchResult, store: Store) -> None:
    """Final status of every trial, read back from the store."""
    state = store.completeness([t.id for one in result.plans for t in one.trials])
    blocked = {trial_id for one in result.plans for trial_id in one.blocked}
    judged = [one.judged for one in result.plans if one.judged]
    pruned = {trial_id for one in judged for trial_id in pruned_trials(store, one)}
    counts: Counter[str] = Counter()
    reasons = {i: row["reason"] for i, row in newest_attempts(store).items()}
    for trial_id, known in state.items():
        if known["done"] or (
            known["status"] in ("failed", "interrupted") and trial_id not in pruned
        ):
            counts[str(known["status"])] += 1
            if known["status"] in ("failed", "gate_failed") and reasons.get(trial_id):
                result.reasons[trial_id] = reasons[trial_id]
        elif trial_id in pruned:
            counts["pruned"] += 1
        elif trial_id in blocked or result.reasons.get(trial_id, "").startswith("parent "):
            counts["blocked"] += 1
        elif any(trial_id in one.stale for one in result.plans):
            counts["stale"] += 1
        else:
            counts["missing"] += 1
    result.counts = counts
    result.time_up &= bool(counts["interrupted"] + counts["missing"])


def resume_command(argv: Sequence[str] | None = None) -> str:
    """The command that finishes an interrupted launch: the same one."""
    words = list(sys.argv if argv is None else argv)
    return " ".join(["gradsweep", *words[1:]])
