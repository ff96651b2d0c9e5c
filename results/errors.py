"""The one exception of this package."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class StoreError(Exception):
    """A store, or a request to it, that cannot be served: one sentence and the remedy."""


def nearest(word: str, known: Iterable[str]) -> str:
    """' (did you mean X?)' for the closest known word, or ''."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""
