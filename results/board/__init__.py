"""Stores in a browser: pages over SQL, read-only, for this machine alone.

`questions` has the SQL of each page, as text that `gradsweep query` takes too; `pages` draws it.
All that a page shows follows from its address and the stores. Needs the extra `board`.
"""

from __future__ import annotations

import importlib.util

from results.errors import StoreError


def require_extra() -> None:
    """Raises StoreError unless the libraries of the extra `board` are installed."""
    for name in ("dash", "dash_ag_grid"):
        if importlib.util.find_spec(name) is None:
            raise StoreError(
                f"the board needs {name}, which is not installed; "
                "run `pip install 'gradsweep[board]'`."
            )
