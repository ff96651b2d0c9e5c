"""Commands that only plan: spaces, plan."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.app import (
    FactorOption,
    GraceOption,
    JsonOption,
    LanesOption,
    LimitOption,
    MetricOption,
    ModeOption,
    OverOption,
    PruneOption,
    RerunOption,
    SetOption,
    SmokeOption,
    SpaceArgument,
    StoreOption,
    StudyOption,
    WidthOption,
    WithinOption,
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
                "reproduces": space.reproduces,
                "stages": one.stages,
                "trials": len(one.trials),
                "done": len(one.done),
                "extension": space.extension,
            }
        )
    if json:
        dump(rows)
        return
    print_table(
        ["space", "trials", "done", "stages", "reproduces"],
        [
            [
                r["space"],
                r["trials"],
                r["done"],
                " > ".join(r["stages"]),
                r["reproduces"] + (" (extension)" if r["extension"] else ""),
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
    prune: PruneOption = None,
    metric: MetricOption = None,
    mode: ModeOption = None,
    grace: GraceOption = None,
    factor: FactorOption = None,
    over: OverOption = None,
    within: WithinOption = None,
    show: ShowTrials = 10,
    json: JsonOption = False,
) -> None:
    """What would run: trials, already done, packs, programs, widths, rows, bytes, time."""
    from orchestrator.cli.plan_text import plan_lines, shared_line
    from orchestrator.machine.resources import find_room
    from orchestrator.plan.plan import plan as make_plan
    from orchestrator.plan.state_size import state_bytes

    room = find_room()
    plans = make_plan(
        space,
        store=store,
        set=set or [],
        smoke=smoke,
        limit=limit,
        rerun=rerun or [],
        study=study,
        lanes=check_lanes(lanes),
        width=width,
        devices=room.packs,
        gpu=bool(room.gpu),
        prune=prune,
        metric=metric,
        mode=mode,
        grace=grace,
        factor=factor,
        over=over,
        within=within,
    )
    if json:
        documents = [
            one.to_json() | {"state_bytes": state_bytes(one.keeping_states)} for one in plans
        ]
        dump(documents[0] if len(documents) == 1 else documents)
        return
    for one in plans:
        out("\n".join(plan_lines(one, show)))
    if len(plans) > 1:
        out(shared_line(plans))


def check_lanes(lanes: str) -> str:
    """Raises RequestError for an unknown lane strategy."""
    if lanes not in ("auto", "vmap", "sequential"):
        raise RequestError(f"--lanes must be auto, vmap or sequential; got {lanes!r}")
    return lanes
