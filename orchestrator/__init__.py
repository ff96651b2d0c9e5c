"""Where and when trials run.

In a notebook: `from gradsweep import plan, launch, debug`. They take the names and defaults of the
command line.

Raises:
  ImportError: a file or package of yours has the name of one of gradsweep's that it needs, and is
    found before it.
"""

import sys
from importlib.machinery import PathFinder
from pathlib import Path


def _refuse_hidden(*packages: str) -> None:
    home = Path(__file__).resolve().parents[1]
    for package in packages:
        found = None if package in sys.modules else PathFinder.find_spec(package)
        if found is None or found.origin is None:  # a folder without __init__.py hides nothing
            continue
        origin = Path(found.origin).resolve()
        if not origin.is_relative_to(home / package):
            raise ImportError(
                f"{origin} hides gradsweep's package {package!r}; rename it, or start Python in "
                "another folder."
            )


_refuse_hidden("results", "search_spaces", "trainables")
