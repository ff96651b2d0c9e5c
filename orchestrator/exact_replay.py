"""How a trial ran, so that `debug --exact` runs it again to the bit: segment after segment, each
under the signature that the store recorded. Epochs that it has of a shorter trial ran as that one's
did."""

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
    found: list[Segment] = []
    for first, text in [] if store is None else _attempts(store, trial.id):
        signature = json.loads(text)
        found = [s for s in found if s.from_epoch < first]
        if not found or found[-1].signature != signature:
            found.append(Segment(first, signature))
    if not found:
        raise RequestError(
            f"--exact replays what a store recorded, and it holds no attempt of {trial.id}; leave "
            "--exact out, or give the --store of the launch"
        )
    return found


def _attempts(store: Store, trial_id: str) -> list[tuple[int, str]]:
    """First epoch and signature of each attempt whose rows show for the trial, earliest first."""
    store.refresh()
    rows = store.sql(
        """
        SELECT a.first_epoch, a.signature
        FROM visible v JOIN attempts a ON a.trial_id = v.source_id
            AND a.attempt = v.source_attempt AND a.launch_id IS NOT DISTINCT FROM v.launch_id
        WHERE v.trial_id = $id AND a.signature IS NOT NULL AND a.first_epoch < v.until_epoch
        ORDER BY a.first_epoch, a.attempt
        """,
        {"id": trial_id},
    )
    return rows.fetchall()


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
