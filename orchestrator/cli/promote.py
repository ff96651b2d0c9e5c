"""The command that carries pruned trials on."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from orchestrator.cli.app import JsonOption, StoreOption, StudyOption, app
from orchestrator.cli.run import said
from orchestrator.cli.run import say as say_line
from orchestrator.stopping import status_of


@app.command()
def promote(
    trials: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TRIAL]...", help="Pruned trials, by id or a unique prefix."),
    ] = None,
    space: Annotated[
        str | None, typer.Option("--space", metavar="SPACE", help="Of this space, the best --top.")
    ] = None,
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="How many pruned trials of --space.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            help="What the best is judged by, each trial at its last epoch; what the pruning rule "
            "went by if left out.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, help="Train them to this many, beyond what was planned."),
    ] = None,
    from_start: Annotated[
        bool,
        typer.Option("--from-start", help="Train from epoch 0 what left no state to go on from."),
    ] = False,
    store: StoreOption = "./store",
    study: StudyOption = None,
    address: Annotated[
        str | None, typer.Option("--address", help="A running Ray cluster: HOST:PORT or auto.")
    ] = None,
    cpus: Annotated[
        int | None, typer.Option(min=1, help="CPUs to use; all there are if left out.")
    ] = None,
    gpus: Annotated[
        float | None, typer.Option(help="GPUs to use; all there are if left out.")
    ] = None,
    json: JsonOption = False,
) -> int:
    """Train pruned trials on, from the states that were kept of them, to their full length."""
    from orchestrator.launch import resume_command
    from orchestrator.promote import promote as run_promote

    try:
        result = run_promote(
            *(trials or []),
            space=space,
            top=top,
            metric=metric,
            epochs=epochs,
            from_start=from_start,
            store=store,
            study=study,
            address=address,
            cpus=cpus,
            gpus=gpus,
            progress="none" if json else "auto",
            say=(lambda text: None) if json else say_line,
        )
    except KeyboardInterrupt as error:
        if not json:
            say_line(f"stopped before any trial ran; run them: {resume_command()}")
        return status_of(getattr(error, "number", signal.SIGINT))
    return said(result, json)
