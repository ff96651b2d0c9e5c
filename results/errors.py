"""The one exception of this package, and text that may be shown."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class StoreError(Exception):
    """A store, or a request to it, that cannot be served: one sentence and the remedy."""

    def __str__(self) -> str:
        return printable(super().__str__())


def nearest(word: str, known: Iterable[str]) -> str:
    """' (did you mean X?)' for the closest known word, or ''."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def printable(text: str) -> str:
    """`text` with what a terminal would obey, or not show, spelled out (`\\x1b`, `\\u202e`): it may
    come from a foreign store. Line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )
