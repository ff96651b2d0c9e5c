"""The command that measures a trained model by a probe, at weights that were kept."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.app import JsonOption, SetOption, StoreOption, StudyOption, app, dump
from orchestrator.cli.app import print_table as table


@app.command()
def measure(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="Its id, or a unique prefix.")],
    probe: Annotated[str, typer.Argument(metavar="PROBE", help="Such as hessian or sharpness.")],
    epoch: Annotated[
        int | None, typer.Option("--epoch", help="After which epoch; the last kept if left out.")
    ] = None,
    set: SetOption = None,
    store: StoreOption = "./store",
    study: StudyOption = None,
    json: JsonOption = False,
) -> None:
    """A probe of a trained model at the weights that were kept: hessian, sharpness, radius, ..."""
    from orchestrator.load_model import measure as measured

    columns = measured(store, trial, probe, study=study, epoch=epoch, set=set or ())
    rows = [list(row) for row in zip(*(c.tolist() for c in columns.values()), strict=True)]
    if json:
        dump([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        table(list(columns), rows, probe)
