"""Trials that go on from a shorter one, equal in all but its length, that the store has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.plan.packs import Lane
from orchestrator.plan.store_state import lacking_recordings, saved_states
from results import Store
from trainables.declarations import HostTrainable, Trial
from trainables.declarations.training.length_readers import declared_readers, traced_parts

STATE = "state"
"""The value of `keep_weights` that keeps what a longer trial goes on from."""
_OF_THE_END = ("none", "last", STATE)
"""Values of `keep_weights` that ask for nothing of the epochs before the last."""


@dataclass
class Lengthened:
    """What the shorter trials of a store are good for.

    Attributes:
      lanes: trial id -> where it goes on, as the shorter trial left it.
      anew: why trials cannot go on, in a sentence -> epochs that are trained again, by trial id.
    """

    lanes: dict[str, Lane] = field(default_factory=dict)
    anew: dict[str, dict[str, int]] = field(default_factory=dict)


def keeping_problems(trial: Trial) -> list[str]:
    """Says that a trial's state is not ours to keep, where it asks for that."""
    if trial.config["keep_weights"] != STATE or not isinstance(trial.stage, HostTrainable):
        return []
    whose = f"stage {trial.stage.name} is a host trainable, which alone knows its state"
    return [f"keep_weights={STATE}: {whose}; give keep_weights=last, or none"]


def lengthened(
    store: Store | None, trials: Sequence[Trial], fresh: Collection[str] = ()
) -> Lengthened:
    """Of each trial, where it goes on from the shorter one that has come furthest.

    Args:
      fresh: shorter ones that are to start over, of which nothing counts.
    """
    result = Lengthened()
    if store is None or not trials:
        return result
    shorter = _shorter(store, trials, fresh)
    attempts = _attempts(store, {one.id for found in shorter.values() for one in found})
    shorter = {i: [s for s in found if s.id in attempts] for i, found in shorter.items()}
    states = saved_states(store, {one.id for found in shorter.values() for one in found})
    for trial in trials:
        known = shorter.get(trial.id)
        if not known:
            continue
        why, lane = _reason(trial, known, attempts), None
        for short in known if why is None else ():
            lane = _usable(store, short, states.get(short.id, ()), lane)
        if lane is not None:
            result.lanes[trial.id] = lane
            continue
        why = why or _without_state(known, attempts)
        lost = max(int(attempts[one.id]["epochs_done"] or 0) for one in known)
        result.anew.setdefault(why, {})[trial.id] = lost
    return result


def _attempts(store: Store, trials: Collection[str]) -> dict[str, dict[str, Any]]:
    """The newest attempt of each of these trials that trained an epoch."""
    if not trials:
        return {}
    rows = store.sql(
        "SELECT trial_id, status, config, epochs_done, length_readers FROM attempts "
        "WHERE newest AND epochs_done > 0 AND trial_id IN (SELECT unnest($ids))",
        {"ids": sorted(trials)},
    ).arrow()
    return {row["trial_id"]: row for row in rows.to_pylist()}


def _shorter(
    store: Store, trials: Sequence[Trial], fresh: Collection[str]
) -> dict[str, list[Trial]]:
    """The same trials of lengths that the store has and that are shorter, the longest first."""
    known = store.sql(
        "SELECT DISTINCT stage, epochs_planned FROM attempts WHERE epochs_planned IS NOT NULL"
    ).fetchall()
    lengths: dict[str, set[int]] = defaultdict(set)
    for stage, epochs in known:
        lengths[stage].add(int(epochs))
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        key = trial.stage.epochs_key
        # Of a stage whose parent has the same length, the parent is another one too.
        if key is None or key in trial.structure.above:
            continue
        for epochs in sorted(lengths[trial.stage.name], reverse=True):
            if not 0 < epochs < trial.epochs:
                continue
            short = replace(trial, config={**trial.config, key: epochs})
            if short.id not in fresh:
                found.setdefault(trial.id, []).append(short)
    return found


def _reason(
    trial: Trial, known: Sequence[Trial], attempts: Mapping[str, Mapping[str, Any]]
) -> str | None:
    """Why a trial cannot go on from any shorter one; None where it can from one whose state there
    is."""
    short = known[0]
    row = attempts[short.id]
    recorded = row.get("length_readers")
    readers = declared_readers(trial)
    readers += [one for one in (recorded or "").split("; ") if one and one not in readers]
    if "task" in trial.parts and (trial.sizes, trial.dataset) != (short.sizes, short.dataset):
        readers.append(f"task {trial.task.name}")
    if readers:
        verb = "reads" if len(readers) == 1 else "read"
        return f"{' and '.join(readers)} {verb} the total of epochs"
    parts = traced_parts(trial)
    if recorded is None and parts:
        return f"no launch has noted whether {' or '.join(parts)} reads the total of epochs"
    keep = str(trial.config["keep_weights"])
    if keep not in _OF_THE_END:
        return f"keep_weights={keep} wants weights of epochs that are done"
    asked = replace(trial, config={**trial.config, "keep_weights": "none"})
    lacking = lacking_recordings(asked, row)
    if lacking:
        return f"the shorter trials did not record {', '.join(lacking)}"
    return None


def _usable(store: Store, short: Trial, states: Sequence[Lane], best: Lane | None) -> Lane | None:
    """The furthest of a shorter trial's states and `best` that is whole, and its rows too."""
    for lane in sorted(states, key=lambda one: one.resumes_at, reverse=True):
        if lane.first_epoch > short.epochs or lane.resumes_at == (0, 0):
            continue
        if best is not None and best.resumes_at >= lane.resumes_at:
            return best
        rows = lane.memo["rows"]
        if store.weights_intact(str(lane.checkpoint)) and store.rows_intact(
            short.id, lane.first_epoch, rows
        ):
            return replace(lane, continues=short.id)
    return best


def _without_state(known: Sequence[Trial], attempts: Mapping[str, Mapping[str, Any]]) -> str:
    row = attempts[known[0].id]
    early = row["status"] in ("stopped", "diverged", "gate_failed") or (
        row["status"] == "done" and (row["epochs_done"] or 0) < known[0].epochs
    )
    if early:
        return "the shorter trials ended before their length was up"
    return (
        "the shorter trials' states were not kept or are damaged (--keep-weights state keeps them)"
    )
