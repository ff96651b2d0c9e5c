"""What a store already knows of trials to run: attempts, resume points, signatures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from orchestrator.plan.packs import NARROWED, Lane
from results import Store
from results.schema import FINISHED
from results.store.config_columns import json_object
from results.store.merging.lines import followed_by
from trainables.declarations import Trial
from trainables.declarations.probes.base import covers


def newest_attempts(store: Store | None) -> dict[str, dict[str, Any]]:
    """trial id -> the row of its newest attempt that shows."""
    rows = [] if store is None else store.attempts().to_pylist()
    return {row["trial_id"]: row for row in rows if row["newest"]}


def lacking_recordings(trial: Trial, row: Mapping[str, Any] | None) -> list[str]:
    """What the trial asks to be observed and its recorded run did not: probes, weights."""
    if row is None:
        return []
    recorded = json_object(row["config"])
    found = []
    for probe in trial.probes:
        cadence = f"{probe}_every"
        if cadence in trial.config and not covers(recorded.get(cadence), trial.config[cadence]):
            found.append(probe)
    points = recorded.get("timeline_points", 0)
    if not isinstance(points, int) or int(trial.config["timeline_points"] or 0) > points:
        found += ["timeline"] if "timeline" in trial.probes and "timeline" not in found else []
    keep = trial.config["keep_weights"]
    had = recorded.get("keep_weights")
    at_end = keep in ("last", "state") and row.get("status") not in FINISHED
    if keep not in ("none", had) and (keep, had) != ("last", "state") and not at_end:
        found.append("weights")
    return found


def saved_states(store: Store, trials: Collection[str]) -> dict[str, list[Lane]]:
    """The saved states of each of these trials, oldest first, each as a lane that starts there."""
    found: dict[str, list[Lane]] = {}
    for index in store.list_checkpoints() if trials else ():
        for position, entry in enumerate(index["lanes"]):
            trial_id, epoch = entry["trial_id"], entry.get("epoch")
            if trial_id not in trials or not store.stands(entry):
                continue
            if type(epoch) is not int or not isinstance(entry.get("rows"), dict):
                continue  # an index of somebody else
            if type(entry.get("step", 0)) is not int:
                continue
            lane = Lane(trial_id, {}, None, 0, epoch, index["path"], position, entry)
            found.setdefault(trial_id, []).append(lane)
    return found


def resume_points(
    store: Store | None, trials: Sequence[Trial], fresh: Collection[str] = ()
) -> dict[str, Lane]:
    """Where each trial starts: its next attempt's number and what that follows, and its newest
    checkpoint if its rows up to there are whole. Trials in `fresh` start over."""
    if store is None:
        return {}
    attempts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in store.attempts().to_pylist():
        attempts[row["trial_id"]].append(row)
    wanted = {trial.id: trial.epochs for trial in trials}
    saved = saved_states(store, wanted)
    lanes: dict[str, Lane] = {}
    for trial_id, epochs in wanted.items():
        # One of a trial that had all of its epochs is for longer ones.
        points = [lane for lane in saved.get(trial_id, ()) if lane.first_epoch < epochs]
        # The newest of those that have come furthest.
        lane = max(reversed(points), key=lambda one: one.resumes_at, default=None)
        # A checkpoint counts only while it is whole and every row before it is there.
        if (
            lane is None
            or trial_id in fresh
            or not store.weights_intact(str(lane.checkpoint))
            or not store.rows_intact(trial_id, lane.first_epoch, lane.memo["rows"])
        ):
            lane = Lane(trial_id, {})
        known = attempts.get(trial_id, [])
        lane.attempt = max((row["attempt"] + 1 for row in known), default=0)
        lane.follows = followed_by(known)
        lanes[trial_id] = lane
    return lanes


def recorded_signatures(store: Store | None, gpu: bool = False) -> dict[str, dict[str, Any]]:
    """program -> the signature its newest attempt ran under, on a GPU or on a CPU; bits differ
    between the two in any case, and the width and strategy that suit one are slow on the other."""
    found: dict[str, tuple[Any, dict[str, Any]]] = {}
    if store is not None:
        for row in store.attempts().to_pylist():
            narrow = NARROWED in str(row["pack"])  # the end of a wider pack
            if row["signature"] and row["started"] is not None and not narrow:
                known = found.get(row["program"])
                signature = json_object(row["signature"])
                fits = isinstance(signature.get("width", 1), int) and signature.get("width", 1) > 0
                there = not str(signature.get("device", "cpu")).startswith("cpu")
                if fits and there == gpu and (known is None or row["started"] > known[0]):
                    found[row["program"]] = (row["started"], signature)
    return {program: signature for program, (_, signature) in found.items()}


def drop_finished_checkpoints(store: Store) -> None:
    """Deletes resume points whose every trial has ended since, but for those that are kept for
    longer trials."""
    ended = {i for i, row in newest_attempts(store).items() if row["status"] in FINISHED}
    for index in store.list_checkpoints():
        if index.get("kept") is True:
            continue
        if all(entry["trial_id"] in ended for entry in index["lanes"]):
            store.drop(index["path"])
