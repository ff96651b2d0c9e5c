"""Commands about launches that run as jobs on a cluster: logs, stop."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.app import app, out

AddressOption = Annotated[
    str, typer.Option("--address", help="The cluster's job server: http://127.0.0.1:8265.")
]
JobArgument = Annotated[
    str | None,
    typer.Argument(metavar="[JOB]", help="Its id or a unique prefix; the newest if left out."),
]


@app.command()
def logs(
    address: AddressOption,
    job: JobArgument = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on printing until the launch ends.")
    ] = False,
) -> int:
    """What a launch on a cluster has printed."""
    from orchestrator.ray_backend import jobs

    found = jobs.find(address, job)
    if follow:
        return jobs.follow(address, found, out)
    out(jobs.logs(address, found).rstrip("\n"))
    return 0


@app.command()
def stop(address: AddressOption, job: JobArgument = None) -> None:
    """Stop a launch on a cluster after the epoch under way; the same launch again resumes."""
    from orchestrator.ray_backend import jobs

    found = jobs.find(address, job)
    jobs.stop(address, found)
    out(f"asked {found} to stop; gradsweep logs {found} --address {address} -f shows its end")
