"""The command `gradsweep`, which `python -m orchestrator` is too."""

import os
import sys


def main() -> None:
    """Runs the command line; it takes long enough to import for somebody to press Ctrl-C."""
    try:
        from orchestrator.cli.app import main as run
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(130)
    try:
        run()
    except SystemExit as end:
        # All is kept and said. Who has asked a launch to end does not wait for Ray's exit handlers.
        if isinstance(end.code, int) and end.code > 128 and "ray" in sys.modules:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code)
        raise


if __name__ == "__main__":
    main()
