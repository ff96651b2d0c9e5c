"""The command that replays a plan on a cluster: simulate."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.app import (
    JsonOption,
    LanesOption,
    LimitOption,
    RerunOption,
    SetOption,
    SmokeOption,
    SpaceArgument,
    StoreOption,
    StudyOption,
    WidthOption,
    app,
    dump,
    out,
)
from orchestrator.cli.plan import check_lanes
from orchestrator.simulate.cluster import Cluster


@app.command()
def simulate(
    space: SpaceArgument,
    store: StoreOption = "./store",
    set: SetOption = None,
    smoke: SmokeOption = False,
    limit: LimitOption = None,
    rerun: RerunOption = None,
    study: StudyOption = None,
    lanes: LanesOption = "auto",
    width: WidthOption = None,
    nodes: Annotated[int, typer.Option(min=1, help="Machines.")] = Cluster.nodes,
    gpus_per_node: Annotated[
        int | None,
        typer.Option(min=1, help="GPUs of each: as many packs at once; on CPUs if left out."),
    ] = None,
    cpus: Annotated[
        int | None,
        typer.Option(min=1, help="CPUs of each: as many packs at once; as here if left out."),
    ] = None,
    preempt_rate: Annotated[
        float, typer.Option(min=0, help="Preemptions per node and hour.")
    ] = Cluster.preempt_rate,
    restart_seconds: Annotated[
        float, typer.Option(min=0, help="Until a preempted node is replaced.")
    ] = Cluster.restart_s,
    startup_seconds: Annotated[
        float, typer.Option(min=0, help="Of Ray and the workers on a new node.")
    ] = Cluster.startup_s,
    checkpoint_seconds: Annotated[
        float, typer.Option(min=0, help="Seconds between resume points.")
    ] = Cluster.checkpoint_s,
    seconds_per_epoch: Annotated[
        float | None,
        typer.Option(min=1e-6, help="Of a pack whose program no attempt in the store has timed."),
    ] = None,
    compile_seconds: Annotated[
        float | None,
        typer.Option(min=0, help="Of such a pack to start and compile; 30 if left out."),
    ] = None,
    shared_cache: Annotated[
        bool, typer.Option("--shared-cache", help="The nodes share one compile cache.")
    ] = Cluster.shared_cache,
    seed: Annotated[int, typer.Option(help="Of the preemptions.")] = Cluster.seed,
    json: JsonOption = False,
) -> None:
    """What a launch would take on a cluster: hours, device-hours, lost work, rows, files.

    Nothing is run or written, and the cluster need not exist. How long epochs take is read from
    past attempts in the store, so launch a few trials first (gradsweep launch SPACE --limit 16), or
    give --seconds-per-epoch. Then: gradsweep simulate SPACE --nodes 4 --gpus-per-node 8
    """
    from orchestrator.cli.plan_text import plan_lines
    from orchestrator.machine.resources import cpus_here
    from orchestrator.simulate import simulate as simulation

    # Each pack takes a GPU, where there are any, and a CPU.
    slots = min(n for n in (gpus_per_node, cpus or gpus_per_node or cpus_here()) if n)
    cluster = Cluster(
        nodes=nodes,
        slots=slots,
        preempt_rate=preempt_rate,
        restart_s=restart_seconds,
        startup_s=startup_seconds,
        checkpoint_s=checkpoint_seconds,
        shared_cache=shared_cache,
        seed=seed,
    )
    found = simulation.simulate(
        space,
        cluster,
        gpu=gpus_per_node is not None,
        seconds_per_epoch=seconds_per_epoch,
        compile_s=compile_seconds,
        store=store,
        set=set or [],
        smoke=smoke,
        limit=limit,
        rerun=rerun or [],
        study=study,
        lanes=check_lanes(lanes),
        width=width,
    )
    if json:
        dump(found.to_json())
        return
    for one in found.plans:
        out("\n".join(plan_lines(one, 0)))
    out("\n".join(simulation.simulation_lines(found)))
