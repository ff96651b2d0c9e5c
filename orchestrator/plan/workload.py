"""What the plans of a launch hand to its queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.plan.packs import PackSpec
from orchestrator.plan.plan import SpacePlan


@dataclass
class Workload:
    """Packs to run and what is known of their trials.

    Attributes:
      epochs: by trial to run. passed: trials that have ended well before.
      outcomes, reasons: of trials that cannot start.
    """

    packs: list[PackSpec] = field(default_factory=list)
    epochs: dict[str, int] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)
    outcomes: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


def workload(plans: Sequence[SpacePlan]) -> Workload:
    """Of two spaces of a study that share a trial, the first runs it: packs lose other lanes."""
    work = Workload()
    claimed: set[str] = set()
    for one in plans:
        work.epochs |= {trial.id: trial.epochs for trial in one.to_run}
        work.passed |= one.done
        work.outcomes |= dict.fromkeys(one.blocked, "blocked")
        work.reasons |= one.blocked
        for pack in one.packs:
            pack.lanes = [lane for lane in pack.lanes if lane.trial_id not in claimed]
            claimed |= set(pack.trial_ids)
            if pack.lanes:
                work.packs.append(pack)
    return work
