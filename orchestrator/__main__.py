"""The command `gradsweep`, which `python -m orchestrator` is too."""

import sys


def main() -> None:
    """Runs the command line; it takes long enough to import for somebody to press Ctrl-C."""
    try:
        from orchestrator.cli.app import main as run
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
