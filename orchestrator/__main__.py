"""`python -m orchestrator` is the command `gradsweep`."""

from orchestrator.cli.app import main

main()
