"""Decisions: what a rule said of a trial at a rung, and the rows that say so."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from orchestrator.pruning.judged import Judged
from results import Store
from results.schema import arrow_schema

SHOWN = 64
"""Values that a row names of those that a trial was held against: where there are more, those
nearest to the value that decides."""


@dataclass(frozen=True)
class Decision:
    """A verdict, "go" or "prune", for one trial. `against` is JSON: values by cell."""

    trial_id: str
    rung: int
    epochs: int
    value: float
    against: str
    verdict: str


def same_decision(one: Decision | None, other: Decision) -> bool:
    """Whether two decisions on a trial at a rung are equal but for what they were held against."""
    if one is None or one.verdict != other.verdict:
        return False
    return one.value == other.value or (math.isnan(one.value) and math.isnan(other.value))


def against_text(judged: Judged, values: Mapping[str, float], kept: int) -> str:
    """The values by cell that a trial was held against, best first, as JSON; null for what is no
    number. Of more than `SHOWN` those about the last of the `kept` best, with counts of others."""
    ranked = sorted(values.items(), key=lambda one: rank_key(judged, *one))
    first = max(0, min(kept - SHOWN // 2, len(ranked) - SHOWN))
    some = ranked[first : first + SHOWN]
    shown: dict[str, float | str | None] = {
        cell: None if math.isnan(value) else value if math.isfinite(value) else str(value)
        for cell, value in some
    }
    if len(some) < len(ranked):
        shown |= {"better": first, "worse": len(ranked) - first - len(some)}
    return json.dumps(shown)


def rank_key(judged: Judged, cell: str, value: float) -> tuple[bool, float, str]:
    """Sorts cells, the best one first: what is no number last, equal values by id."""
    bad = math.isnan(value)
    return bad, 0.0 if bad else judged.pruning.signed(value), cell


def recorded_decisions(store: Store | None, judged: Judged) -> list[Decision]:
    """Decisions of this rule on these trials that a store holds, in the order they were taken: of
    the same space, rule, metric and rungs."""
    if store is None:
        return []
    pruning, rungs = judged.pruning, dict(enumerate(judged.rungs))
    return [
        Decision(
            row["trial_id"],
            row["rung"],
            row["epoch"],
            math.nan if row["value"] is None else row["value"],
            row["against"],
            row["verdict"],
        )
        for row in store.decisions(judged.space).to_pylist()
        if (row["rule"], row["metric"]) == (pruning.rule, pruning.metric)
        and row["trial_id"] in judged.epochs
        and rungs.get(row["rung"]) == row["epoch"]
    ]


def decisions_of(recorded: Sequence[Decision], group: Judged) -> list[Decision]:
    """Those of the decisions that are on trials of a group."""
    return [one for one in recorded if one.trial_id in group.epochs]


def publish(
    store: Store, taken: Sequence[tuple[Judged, Decision]], launch_id: str, after: datetime
) -> datetime:
    """Writes decisions as one part, in their order, each later than the one before.

    Args:
      after: when the last one before was taken.

    Returns:
      When the last of these was taken.

    Raises:
      StoreError: the store cannot be written.
    """
    at = max(datetime.now(UTC), after + timedelta(microseconds=1))
    rows = [
        {
            "space": judged.space,
            "rule": judged.pruning.rule,
            "trial_id": one.trial_id,
            "rung": one.rung,
            "epoch": one.epochs,
            "metric": judged.pruning.metric,
            "value": one.value,
            "against": one.against,
            "verdict": one.verdict,
            "launch_id": launch_id,
            "decided": at + timedelta(microseconds=number),
        }
        for number, (judged, one) in enumerate(taken)
    ]
    store.publish("decisions", pa.Table.from_pylist(rows, arrow_schema("decisions")))
    return rows[-1]["decided"]


def last_decided(store: Store) -> datetime:
    """When the store's newest decision was taken; the beginning of time where it has none."""
    taken = store.decisions()["decided"]  # in order
    return taken[-1].as_py() if len(taken) else datetime.fromtimestamp(0, UTC)
