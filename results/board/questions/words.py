"""Values and names as SQL."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import dedent

from results.store.views import quoted, strings

__all__ = ["column_list", "literal", "of_space", "of_trials", "quoted", "tidy"]


def literal(text: str) -> str:
    """A text as SQL."""
    return strings([text])[1:-1]


def of_space(space: str) -> str:
    """Rows of the trials of a space."""
    return f"trial_id IN (SELECT trial_id FROM space_trials WHERE space = {literal(space)})"


def of_trials(trials: Iterable[str]) -> str:
    """Rows of some trials."""
    return f"trial_id IN ({strings(trials)[1:-1]})"


def column_list(columns: Iterable[str], of: str = "") -> str:
    """Columns, each followed by a comma."""
    return "".join(f"{of}{quoted(name)}, " for name in columns)


def tidy(text: str) -> str:
    """SQL without the indentation of the code that it stands in."""
    return dedent(text).strip()
