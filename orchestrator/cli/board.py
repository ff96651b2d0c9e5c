"""The command that shows stores in a browser."""

from __future__ import annotations

import webbrowser
from typing import Annotated

import typer

from orchestrator.cli.app import app, out
from orchestrator.cli.open_store import open_for_reading


@app.command()
def board(
    store: Annotated[
        list[str] | None,
        typer.Option(
            "--store",
            envvar="GRADSWEEP_STORE",
            help="Directory or URI (s3://, gs://) of the results. Repeatable.",
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8050,
    browser: Annotated[
        bool, typer.Option("--browser", help="Open the address in a browser too.")
    ] = False,
) -> None:
    """Show stores in a browser: sweeps, trials, curves, gradients (needs the board extra).

    Only this machine can open it, with the token in the address that is printed. It reads, also
    while launches write, and changes nothing. Ctrl-C ends it.
    """
    from orchestrator.key_importance import key_importance
    from results.board.server import make_server

    stores = [open_for_reading(uri) for uri in store or ["./store"]]
    made = make_server(stores, port, importance=key_importance)
    out(f"The board is at {made.address}")
    out("Ctrl-C ends it.")
    if browser:
        webbrowser.open(made.address)
    made.run()
