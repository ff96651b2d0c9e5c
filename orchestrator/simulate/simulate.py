"""What a plan would take on a cluster, replayed before any of it is paid for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from orchestrator.plan.estimate import estimated_bytes
from orchestrator.plan.plan import SpacePlan, open_or_none, plan
from orchestrator.plan.workload import workload
from orchestrator.simulate.cluster import Cluster
from orchestrator.simulate.pace import Pace, find_paces
from orchestrator.simulate.publishing import LaneWork, Tally, lane_work
from orchestrator.simulate.replay import Replay
from orchestrator.units import counted, duration, size_text

BYTES_PER_PART = {"trials": 16_000, "epochs": 14_500, "layers": 7_000, "steps": 4_200}
"""Bytes of a Parquet part beside its rows: mostly its schema, so by table; 3,000 for a probe."""

_MB = 2**20


@dataclass
class Simulation:
    """A plan on a cluster.

    Attributes:
      tally: what was counted. outcomes: trials by how they ended.
      paces: by program. bytes: of all parts as written, before `compact`.
      resident: bytes of the driver's process with plan and queue in memory; `held` of them these.
      plan_s, replay_s: real seconds that planning and replaying took.
      queue_s: of these, inside the queue that a real launch has too.
    """

    cluster: Cluster
    plans: list[SpacePlan]
    paces: dict[str, Pace]
    tally: Tally
    outcomes: Counter[str]
    bytes: int
    resident: int
    held: int
    plan_s: float
    replay_s: float
    queue_s: float

    @property
    def measured(self) -> int:
        """Programs whose pace past attempts gave."""
        return sum(pace.measured for pace in self.paces.values())

    @property
    def busy(self) -> float:
        """Share of the devices' time in which a pack was on them."""
        tally = self.tally
        return (tally.train_s + tally.start_s) / tally.paid_s if tally.paid_s else 0.0

    @property
    def useful(self) -> float:
        """Share of the devices' time spent on epochs that count."""
        tally = self.tally
        return (tally.train_s - tally.redone_s) / tally.paid_s if tally.paid_s else 0.0

    def to_json(self) -> dict[str, Any]:
        """For scripts; keys are only ever added."""
        tally, hour = self.tally, 3600
        return {
            "spaces": [one.name for one in self.plans],
            "cluster": vars(self.cluster),
            "to_run": sum(self.outcomes.values()),
            "outcomes": dict(self.outcomes),
            "programs": len(self.paces),
            "programs_measured": self.measured,
            "makespan_s": tally.makespan_s,
            "device_hours": tally.paid_s / hour,
            "training_hours": tally.train_s / hour,
            "starting_hours": tally.start_s / hour,
            "utilisation": self.busy,
            "useful": self.useful,
            "preemptions": tally.preemptions,
            "attempts": tally.attempts,
            "packs_lost": tally.lost_packs,
            "redone_epochs": tally.redone_epochs,
            "redone_hours": tally.redone_s / hour,
            "compiled": tally.compiled,
            "cached": tally.cached,
            "rows": {table: round(count) for table, count in sorted(tally.rows.items())},
            "rows_superseded": round(tally.redone_rows),
            "parts": dict(sorted(tally.parts.items())),
            "bytes": self.bytes,
            "saves": tally.saves,
            "resume_points": tally.resume_points,
            "reports": tally.reports,
            "driver_bytes": self.resident,
            "plan_and_queue_bytes": self.held,
            "plan_s": self.plan_s,
            "replay_s": self.replay_s,
            "queue_s": self.queue_s,
        }


def simulate(
    space: str,
    cluster: Cluster,
    *,
    seconds_per_epoch: float | None = None,
    compile_s: float | None = None,
    gpu: bool = False,
    store: str | None = None,
    **options: Any,
) -> Simulation:
    """Plans a space or study and replays the plan on `cluster`; writes nothing.

    Args:
      seconds_per_epoch, compile_s: of a pack whose program no attempt in the store has measured.
      gpu: the cluster's packs run on GPUs, so only attempts on a GPU tell their pace.
      store, options: as in `plan`.

    Raises:
      RequestError: with everything wrong with the request.
    """
    process = psutil.Process()
    before, begun = process.memory_info().rss, time.perf_counter()
    opened = open_or_none(store)
    slots = cluster.nodes * cluster.slots
    plans = plan(space, store=opened, devices=slots, gpu=gpu, **options)
    planned = time.perf_counter()
    paces = find_paces(plans, opened, gpu, seconds_per_epoch, compile_s)
    work = workload(plans)
    replay = Replay(
        cluster, work.packs, lane_works(plans), paces,
        work.epochs, work.passed, work.outcomes, work.reasons,
    )  # fmt: skip
    resident = process.memory_info().rss
    tally = replay.run()
    return Simulation(
        cluster=cluster,
        plans=plans,
        paces=paces,
        tally=tally,
        outcomes=Counter(replay.queue.outcomes.get(name, "missing") for name in work.epochs),
        bytes=estimated_bytes({t: round(n) for t, n in tally.rows.items()})
        + sum(BYTES_PER_PART.get(table, 3_000) * count for table, count in tally.parts.items()),
        resident=resident,
        held=resident - before,
        plan_s=planned - begun,
        replay_s=time.perf_counter() - planned,
        queue_s=replay.queue_s,
    )


def lane_works(plans: Sequence[SpacePlan]) -> dict[str, LaneWork]:
    """`lane_work` by trial, made once for all that must agree in it: most differ in a seed only."""
    works: dict[str, LaneWork] = {}
    known: dict[Any, LaneWork] = {}
    for one in plans:
        trials = {trial.id: trial for trial in one.to_run}
        for pack in one.packs:
            for lane in pack.lanes:
                trial = trials[lane.trial_id]
                observed = tuple(sorted(trial.recordings().items()))
                key = (trial.program, trial.epochs, lane.artifact, observed)
                if key not in known:
                    known[key] = lane_work(trial, lane.artifact)
                works[trial.id] = known[key]
    return works


def simulation_lines(found: Simulation) -> list[str]:
    """The simulation as a few lines of text."""
    lines: list[str] = []
    out = lines.append
    tally, cluster = found.tally, found.cluster
    out(
        f"simulated on {counted(cluster.nodes, 'node')} with room for "
        f"{counted(cluster.slots, 'pack')} at once, "
        f"{cluster.preempt_rate:g} preemptions per node and hour, seed {cluster.seed}"
    )
    out(f"  pace of {counted(len(found.paces), 'program')}: {_sources(found)}")
    ends = ", ".join(f"{count:,} {status}" for status, count in sorted(found.outcomes.items()))
    out(f"  makespan {duration(tally.makespan_s)}: {ends or 'nothing to run'}")
    out(
        f"  device-hours {_hours(tally.paid_s)}: {found.busy:.1%} with a pack on the device, "
        f"{found.useful:.1%} in epochs that count"
    )
    out(
        f"  preemptions {tally.preemptions:,}, which lost {tally.lost_packs:,} of "
        f"{tally.attempts:,} packs started; redone {tally.redone_epochs:,} epochs of trials, "
        f"{_hours(tally.redone_s)} device-hours"
    )
    out(f"  compiles {tally.compiled:,}, starts from the compile cache {tally.cached:,}")
    rows, parts = round(sum(tally.rows.values())), sum(tally.parts.values())
    out(
        f"  rows {rows:,} in {parts:,} files, about {size_text(found.bytes)} before compact; "
        f"{round(tally.redone_rows):,} of them superseded"
    )
    out(
        f"  weights saved {tally.saves:,} times, resume points {tally.resume_points:,} times, "
        "two files each"
    )
    out(
        f"  driver {found.resident / _MB:,.0f} MiB, {found.held / _MB:,.0f} of them plan and "
        f"queue; {tally.reports:,} reports to it"
    )
    out(
        f"  planned in {found.plan_s:.1f} s, replayed in {found.replay_s:.1f} s, of which "
        f"{found.queue_s:.1f} s in the queue that a launch has too"
    )
    return lines


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.1f}" if hours >= 10 else f"{hours:.2g}"


def _sources(found: Simulation) -> str:
    given = [pace for pace in found.paces.values() if not pace.measured]
    sources = [f"{found.measured} from past attempts"] if found.measured else []
    if given:
        pace = given[0]
        sources.append(
            f"{len(given)} as given ({pace.pack_s:g} s an epoch of a pack, {pace.compile_s:g} s "
            f"for a start that compiles, {pace.cached_s:g} s for one that need not)"
        )
    return ", ".join(sources) or "none needed"
