"""`python -m orchestrator` is the command `gradsweep`."""

from orchestrator.cli import main

main()
