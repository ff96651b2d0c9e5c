"""What a store already knows of trials to run: attempts, resume points, signatures."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from orchestrator.packing import Lane
from results import Store
from results.schema import FINISHED
from trainables.spec import Trial


def newest_attempts(store: Store | None) -> dict[str, dict[str, Any]]:
    """trial id -> its newest attempt's row."""
    newest: dict[str, dict[str, Any]] = {}
    if store is not None:
        for row in store.attempts().to_pylist():
            known = newest.get(row["trial_id"])
            if known is None or row["attempt"] > known["attempt"]:
                newest[row["trial_id"]] = row
    return newest


def resume_points(
    store: Store | None, trials: Sequence[Trial], fresh: Collection[str] = ()
) -> dict[str, Lane]:
    """Where each trial starts: its next attempt number, and its newest checkpoint if its rows up to
    there are whole. Trials in `fresh` start over."""
    if store is None:
        return {}
    attempts = newest_attempts(store)
    saved: dict[str, Lane] = {}
    for index in store.list_checkpoints():
        for position, entry in enumerate(index["lanes"]):
            trial_id, epoch = entry["trial_id"], entry["epoch"]
            known = saved.get(trial_id)
            if known is None or epoch >= known.first_epoch:
                saved[trial_id] = Lane(trial_id, {}, None, 0, epoch, index["path"], position, entry)
    wanted = {trial.id for trial in trials}
    whole = _whole_up_to(store, [lane for trial_id, lane in saved.items() if trial_id in wanted])
    lanes: dict[str, Lane] = {}
    for trial_id in wanted:
        row = attempts.get(trial_id)
        usable = trial_id in whole and trial_id not in fresh
        lane = saved[trial_id] if usable else Lane(trial_id, {})
        lane.attempt = row["attempt"] + 1 if row else 0
        lanes[trial_id] = lane
    return lanes


def _whole_up_to(store: Store, lanes: Sequence[Lane]) -> set[str]:
    """Trials whose visible rows before their checkpoint are as many as it recorded."""
    epochs = {lane.trial_id: lane.first_epoch for lane in lanes}
    held: dict[str, dict[str, int]] = {trial_id: {} for trial_id in epochs}
    for table in {table for lane in lanes for table in lane.memo["rows"]}:
        if not store.has(table):
            continue
        found = store.sql(
            f'SELECT r.trial_id, count(*) FROM "all_{table}" r '
            "JOIN (SELECT unnest($ids) AS trial_id, unnest($epochs) AS epoch) c "
            "ON r.trial_id = c.trial_id AND r.epoch < c.epoch GROUP BY r.trial_id",
            {"ids": list(epochs), "epochs": list(epochs.values())},
        )
        for trial_id, count in found.fetchall():
            held[trial_id][table] = count
    return {lane.trial_id for lane in lanes if held[lane.trial_id] == lane.memo["rows"]}


def recorded_signatures(store: Store | None) -> dict[str, dict[str, Any]]:
    """program -> the signature its newest attempt ran under."""
    found: dict[str, tuple[Any, dict[str, Any]]] = {}
    if store is not None:
        for row in store.attempts().to_pylist():
            if row["signature"] and row["started"] is not None:
                known = found.get(row["program"])
                if known is None or row["started"] > known[0]:
                    found[row["program"]] = (row["started"], json.loads(row["signature"]))
    return {program: signature for program, (_, signature) in found.items()}


def drop_finished_checkpoints(store: Store) -> None:
    """Deletes resume points whose every trial has ended since."""
    ended = {i for i, row in newest_attempts(store).items() if row["status"] in FINISHED}
    for index in store.list_checkpoints():
        if all(entry["trial_id"] in ended for entry in index["lanes"]):
            store.drop(index["path"])
