"""Commands that only plan: spaces, plan."""

from __future__ import annotations

from typing import Annotated, Any

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
    print_table,
)
from orchestrator.errors import RequestError

ShowTrials = Annotated[
    int, typer.Option("--show", min=0, help="List this many programs, and trials to run.")
]


@app.command()
def spaces(
    store: StoreOption = "./store", study: StudyOption = None, json: JsonOption = False
) -> None:
    """Every study and space: trials, stages, done so far."""
    from orchestrator.plan.plan import plan
    from orchestrator.plan.studies import catalogue

    found = catalogue(study)
    rows = []
    for name, owner, space in found.spaces():
        one = plan(name, store=store, study=study)[0]
        rows.append(
            {
                "space": name,
                "study": owner.name,
                "feeds": space.feeds,
                "stages": one.stages,
                "trials": len(one.trials),
                "done": len(one.done),
                "ours": space.ours,
            }
        )
    if json:
        dump(rows)
        return
    print_table(
        ["space", "trials", "done", "stages", "feeds"],
        [
            [
                r["space"],
                r["trials"],
                r["done"],
                " > ".join(r["stages"]),
                r["feeds"] + (" (ours)" if r["ours"] else ""),
            ]
            for r in rows
        ],
    )
    out("next: gradsweep plan SPACE")


@app.command()
def plan(
    space: SpaceArgument,
    store: StoreOption = "./store",
    set: SetOption = None,
    smoke: SmokeOption = False,
    limit: LimitOption = None,
    rerun: RerunOption = None,
    study: StudyOption = None,
    lanes: LanesOption = "auto",
    width: WidthOption = None,
    show: ShowTrials = 10,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Replay the plan on the cluster given below.")
    ] = False,
    nodes: Annotated[int | None, typer.Option(min=1, help="Machines; 1 if left out.")] = None,
    gpus_per_node: Annotated[
        int | None, typer.Option(min=1, help="GPUs of each: as many packs at once.")
    ] = None,
    cpus: Annotated[
        int | None,
        typer.Option(min=1, help="CPUs of each: as many packs at once; as here if left out."),
    ] = None,
    preempt_rate: Annotated[
        float | None, typer.Option(min=0, help="Preemptions per node and hour; 0 if left out.")
    ] = None,
    restart_seconds: Annotated[
        float | None, typer.Option(min=0, help="Until a preempted node is replaced; 120.")
    ] = None,
    startup_seconds: Annotated[
        float | None, typer.Option(min=0, help="Of Ray and the workers on a new node; 15.")
    ] = None,
    checkpoint_seconds: Annotated[
        float | None, typer.Option(min=0, help="Between resume points; 60.")
    ] = None,
    seconds_per_epoch: Annotated[
        float | None,
        typer.Option(min=1e-6, help="Of a pack whose program no attempt in the store has timed."),
    ] = None,
    compile_seconds: Annotated[
        float | None, typer.Option(min=0, help="Of such a pack to start and compile; 30.")
    ] = None,
    shared_cache: Annotated[
        bool, typer.Option("--shared-cache", help="The nodes share one compile cache.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Of the preemptions; 0 if left out.")] = None,
    json: JsonOption = False,
) -> None:
    """What would run: trials, already done, packs, programs, widths, rows, bytes, time; with
    --simulate, what it would take on a cluster."""
    from orchestrator.cli.plan_text import plan_lines, shared_line
    from orchestrator.machine.resources import cpus_here, find_room
    from orchestrator.plan.plan import plan as make_plan

    options: dict[str, Any] = {
        "store": store, "set": set or [], "smoke": smoke, "limit": limit, "rerun": rerun or [],
        "study": study, "lanes": check_lanes(lanes), "width": width,
    }  # fmt: skip
    of_cluster = {
        "nodes": nodes, "preempt_rate": preempt_rate, "restart_s": restart_seconds,
        "startup_s": startup_seconds, "checkpoint_s": checkpoint_seconds,
        "shared_cache": shared_cache or None, "seed": seed,
    }  # fmt: skip
    of_cluster = {name: value for name, value in of_cluster.items() if value is not None}
    others = (gpus_per_node, cpus, seconds_per_epoch, compile_seconds)
    if not simulate:
        if of_cluster or any(value is not None for value in others):
            raise RequestError("--nodes and the other options of a cluster need --simulate")
        room = find_room()
        plans = make_plan(space, devices=room.packs, gpu=bool(room.gpu), **options)
        if json:
            documents = [one.to_json() for one in plans]
            dump(documents[0] if len(documents) == 1 else documents)
            return
        for one in plans:
            out("\n".join(plan_lines(one, show)))
        if len(plans) > 1:
            out(shared_line(plans))
        return

    from orchestrator.simulate import simulate as simulation
    from orchestrator.simulate.cluster import Cluster

    # Each pack takes a GPU, where there are any, and a CPU.
    slots = min(n for n in (gpus_per_node, cpus or gpus_per_node or cpus_here()) if n)
    found = simulation.simulate(
        space,
        Cluster(slots=slots, **of_cluster),
        gpu=gpus_per_node is not None,
        seconds_per_epoch=seconds_per_epoch,
        compile_s=compile_seconds,
        **options,
    )
    if json:
        dump(found.to_json())
        return
    for one in found.plans:
        out("\n".join(plan_lines(one, 0)))
    out("\n".join(simulation.simulation_lines(found)))


def check_lanes(lanes: str) -> str:
    """Raises RequestError for an unknown lane strategy."""
    if lanes not in ("auto", "vmap", "sequential"):
        raise RequestError(f"--lanes must be auto, vmap or sequential; got {lanes!r}")
    return lanes
