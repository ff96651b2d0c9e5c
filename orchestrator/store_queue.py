"""The queue of a launch with its store: what it reads there of packs that were lost, and what it
writes for workers that no longer can."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrator.machine.processes import killed_for_memory
from orchestrator.plan.packs import Context, Lane, PackSpec
from orchestrator.plan.plan import SpacePlan
from orchestrator.plan.store_state import newest_attempts, resume_points
from orchestrator.plan.workload import workload
from orchestrator.pruning.judge import AWAITS, Judge, Reached, rung_reason
from orchestrator.queue.lease import Lease
from orchestrator.queue.losses import Death
from orchestrator.queue.queue import PackQueue
from orchestrator.worker import last_words
from orchestrator.worker.provenance import trial_columns
from orchestrator.worker.watchdog import late_reason
from results import Store, StoreError
from results.schema import CENSORED, arrow_schema
from results.store.metric_columns import measured
from trainables.declarations import Trial


def store_queue(
    store: Store,
    plans: Sequence[SpacePlan],
    lease: Lease,
    context: Context,
    keep_going: bool,
    judge: Judge | None = None,
) -> PackQueue:
    """The packs of these plans.

    Args:
      context: what their workers are told. keep_going: as in `launch`.
      judge: of trials at rungs; None where every trial runs to its end.
    """
    work = workload(plans)
    trials = {trial.id: trial for one in plans for trial in one.trials}
    killed_before = killed_for_memory()

    def refresh(pack: PackSpec) -> tuple[list[Lane], dict[str, str]]:
        store.refresh()
        state = store.completeness(pack.trial_ids)
        left = [trials[lane.trial_id] for lane in pack.lanes if not state[lane.trial_id]["done"]]
        points = resume_points(store, left)
        by_id = {lane.trial_id: lane for lane in pack.lanes}
        lanes = []
        for trial in left:
            old, new = by_id[trial.id], points[trial.id]
            new.attempt = max(new.attempt, old.attempt + 1)
            new.config, new.parent_id, new.artifact = old.config, old.parent_id, old.artifact
            if old.continues and not new.checkpoint:  # it has left nothing to go on from yet
                new = replace(old, attempt=new.attempt, follows=new.follows)
            lanes.append(new)
        return lanes, {i: str(known["status"]) for i, known in state.items() if known["done"]}

    def post_mortem(pack: PackSpec) -> Death:
        return _post_mortem(store, pack, context, killed_for_memory() > killed_before)

    return PackQueue(
        work.packs,
        work.epochs,
        work.passed,
        lease.id,
        refresh,
        on_start=lambda pack: lease.raise_fence(pack.id, pack.generation),
        on_end=lambda pack: lease.drop_fence(pack.id),
        on_lost=lambda pack, why, error: _publish_failed(store, trials, pack, why, error, lease.id),
        post_mortem=post_mortem,
        keep_going=keep_going,
        outcomes=work.outcomes,
        reasons=work.reasons,
        judge=judge,
        reached=lambda lanes, rungs: _reached(store, lanes, rungs),
        on_pruned=lambda lanes, rows: _publish_pruned(store, lanes, rows),
    )


def _reached(
    store: Store, lanes: Sequence[Lane], rungs: Mapping[str, Sequence[int]]
) -> list[Reached]:
    """Those of the lanes that go on from one of their rungs, or were pruned or paused there, with
    their metric's value in the last epoch before."""
    store.refresh()
    newest = newest_attempts(store)
    at = {}
    for lane in lanes:
        row, mine = newest.get(lane.trial_id), rungs[lane.trial_id]
        if lane.first_epoch in mine:
            at[lane.trial_id] = lane.first_epoch
        elif row and row["status"] in CENSORED and row["epochs_done"] in mine:
            at[lane.trial_id] = row["epochs_done"]
    found = []
    for metric in {lane.metric for lane in lanes if lane.trial_id in at and lane.metric}:
        mine = [lane for lane in lanes if lane.metric == metric and lane.trial_id in at]
        rows = store.sql(
            f"SELECT own, epoch + 1, {measured(metric)} FROM epochs JOIN (SELECT unnest($ids) AS "
            "own, unnest($of) AS trial_id, unnest($at) - 1 AS epoch) USING (trial_id, epoch)",
            {
                "ids": [lane.trial_id for lane in mine],
                # A longer trial that has not begun has its shorter one's rows.
                "of": [lane.trial_id if lane.attempt else lane.continues for lane in mine],
                "at": [at[lane.trial_id] for lane in mine],
            },
        ).fetchall()
        found += [Reached(i, done, math.nan if value is None else value) for i, done, value in rows]
    return found


def _begun(store: Store, pack: PackSpec, launch_id: str) -> dict[str, dict[str, Any]]:
    """By trial of a pack, the newest attempt that its worker has begun: the lane's, or a later one
    in a narrower pack."""
    first = {lane.trial_id: lane.attempt for lane in pack.lanes}
    ours = [
        row
        for row in store.attempts().to_pylist()
        if row["launch_id"] == launch_id and row["attempt"] >= first.get(row["trial_id"], math.inf)
    ]
    return {row["trial_id"]: row for row in sorted(ours, key=lambda row: row["attempt"])}


def _post_mortem(store: Store, pack: PackSpec, context: Context, memory: bool) -> Death:
    """What a pack's dead worker has published or left behind.

    Args:
      memory: whether the system has killed processes for want of memory meanwhile.
    """
    known = _begun(store, pack, context.launch_id)
    # Its last act, since they took too long, or what raised.
    lost = [row for row in known.values() if row["status"] == "failed"]
    if lost:
        of = frozenset(row["trial_id"] for row in lost)
        return Death(str(lost[0]["reason"]), final=True, said=True, of=of)
    left = last_words.found(Path(context.words) / pack.id) if context.words else None
    if left is not None and left.late and context.trial_seconds:
        why = late_reason(left.doing, context.trial_seconds, left.place)
        return Death(why, final=True, stacks=left.text)
    if left is not None and left.fatal:
        return Death(left.fatal + (f" at {left.place}" if left.place else ""), stacks=left.text)
    return Death("killed while the system was out of memory") if memory else Death()


def end_running(store: Store, queue: PackQueue, lease: Lease) -> None:
    """Says of attempts whose workers were not waited for that they are interrupted."""
    with contextlib.suppress(StoreError, OSError):  # the store is what went wrong
        lanes = [lane.trial_id for pack in queue.running.values() for lane in pack.lanes]
        for pack in queue.running.values():
            lease.drop_fence(pack.id)  # nothing is published after that
        if lanes:
            store.refresh()
            newest = newest_attempts(store)
            running = [newest[i] for i in lanes if i in newest and newest[i]["status"] == "running"]
            _publish_ended(store, running, "interrupted", "the launch was stopped")


def _publish_failed(
    store: Store,
    trials: Mapping[str, Trial],
    pack: PackSpec,
    why: str,
    error: str | None,
    launch_id: str,
) -> None:
    """Ends the attempts of a pack's lanes, whose workers can no longer say so themselves."""
    known = _begun(store, pack, launch_id)
    rows = []
    for position, lane in enumerate(pack.lanes):
        # A worker that never came to say that it had started has left no row.
        row = known.get(lane.trial_id) or {
            **trial_columns(trials[lane.trial_id], pack, position),
            "epochs_done": lane.first_epoch,
            "launch_id": launch_id,
        }
        rows.append(row)
    _publish_ended(store, rows, "failed", why, error)


def _publish_pruned(
    store: Store, lanes: Sequence[Lane], known: Mapping[str, Mapping[str, Any]]
) -> None:
    """Says of trials without a slot that their newest attempts have ended as pruned.

    Args:
      known: rows of these attempts; of others the store is asked.
    """
    asked = [lane for lane in lanes if lane.trial_id not in known]
    newest, values = {}, {}
    if asked:
        store.refresh()
        newest = newest_attempts(store)
        starts = {lane.trial_id: [lane.first_epoch] for lane in asked}
        values = {one.trial_id: one.value for one in _reached(store, asked, starts)}
    rows = []
    for lane in lanes:
        row = known.get(lane.trial_id) or newest.get(lane.trial_id)
        if row is None or row["status"] == "pruned":
            continue
        row = {**row, "reason": (row["reason"] or "").removesuffix(AWAITS)}
        if row["status"] not in CENSORED:  # it ended at the rung before it could say so
            row |= {"epochs_done": lane.first_epoch, "rows": json.dumps(lane.memo["rows"])}
            row["reason"] = rung_reason(lane.metric, values[lane.trial_id], lane.first_epoch)
        rows.append(row)
    _publish_ended(store, rows, "pruned")


def _publish_ended(
    store: Store,
    attempts: Sequence[Mapping[str, Any]],
    status: str,
    why: str | None = None,
    error: str | None = None,
) -> None:
    """`why` is the reason of all; None leaves each its own."""
    schema = arrow_schema("trials")
    assert schema is not None
    rows = []
    for row in attempts:
        # Of one that waited for a verdict, an end is there already: the greatest event counts.
        ended = {"event": 1 + (row.get("event") or 0), "status": status}
        ended |= {} if why is None else {"reason": why}
        ended |= {"ended": row.get("ended") or datetime.now(UTC)}
        ended |= {"error": error} if error else {}
        rows.append({name: {**row, **ended}.get(name) for name in schema.names})
    if rows:
        store.publish("trials", pa.Table.from_pylist(rows, schema))
