"""How a trial ran, so that `debug --exact` runs it again to the bit: segment after segment, each
under the signature that the store recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import RequestError
from results import Store
from trainables.declarations import Trial


@dataclass(frozen=True)
class Segment:
    """Epochs of a trial that ran under one signature."""

    from_epoch: int
    signature: Mapping[str, Any]


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


def on_gpu(segment: Segment) -> bool:
    """Whether it ran on a GPU."""
    return not str(segment.signature["device"]).startswith("cpu")


def require_rebuildable(plan: Sequence[Segment]) -> None:
    """Raises RequestError that names all of the signatures which this process cannot rebuild."""
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
