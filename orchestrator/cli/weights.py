"""Commands for weights of other programs: import-weights, export-weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.app import (
    SetOption,
    SmokeOption,
    StoreOption,
    StudyOption,
    app,
    out,
    print_table,
)
from orchestrator.errors import RequestError


@app.command("import-weights")
def import_weights(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A torch state_dict: .safetensors, .npz, or .pt with torch."
        ),
    ],
    space: Annotated[
        str, typer.Argument(metavar="SPACE", help="Whose first trial, after --set, it is for.")
    ],
    set_: SetOption = None,
    store: StoreOption = "./store",
    smoke: SmokeOption = False,
    study: StudyOption = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            "--rename",
            metavar="NAME=OURS",
            help="What a tensor is here, such as out_proj.weight=readout.w. Repeatable.",
        ),
    ] = None,
) -> None:
    """Keep weights of a torch LSTM, GRU, RNN or oRNN in the store, for trials to start from.

    --set weights_from=NAME starts from them; with --set lr=0 epochs=1 nothing is trained, so that
    probes look at the weights as they are.
    """
    from orchestrator.weight_files import imported

    pairs = [text.partition("=") for text in rename or ()]
    wrong = [name + sign + own for name, sign, own in pairs if not (name and own)]
    if wrong:
        raise RequestError(f"--rename {wrong[0]!r} is not NAME=OURS")
    found = imported.import_weights(
        file,
        space,
        store=store,
        set=set_ or (),
        smoke=smoke,
        study=study,
        renamed={name: own for name, _, own in pairs},
    )
    rows = [[name, " x ".join(map(str, shape))] for name, shape in found.shapes.items()]
    print_table([f"tensors of {found.model}", "shape"], rows)
    out(f"{found.name} is in {store}; start from it by --set weights_from={found.name}")


@app.command("export-weights")
def export_weights(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="Its id, or a unique prefix.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help=".safetensors or .npz; .pt where torch is installed."),
    ],
    store: StoreOption = "./store",
    study: StudyOption = None,
    epoch: Annotated[
        int | None, typer.Option("--epoch", min=0, help="After which epoch; the last kept.")
    ] = None,
) -> None:
    """Write kept weights of a trial as a torch state_dict."""
    from orchestrator.weight_files import imported

    shapes = imported.export_weights(store, trial, output, study=study, epoch=epoch)
    rows = [[name, " x ".join(map(str, shape))] for name, shape in shapes.items()]
    print_table(["tensor", "shape"], rows)
    out(f"{output} holds them; torch reads it as a state_dict")
