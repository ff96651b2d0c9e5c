"""Checks of numbers that are given as options. Each returns sentences, none for a right number.

None stands for an option that was left out."""

from __future__ import annotations

import math
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.units import seconds_of
from trainables.declarations.core.keys import MOST_INT, shown

LEAST_SHARE = 1e-4
"""Ray grants no smaller share of a GPU."""


def require(*problems: list[str]) -> None:
    """Raises RequestError if there are any."""
    found = [one for some in problems for one in some]
    if found:
        raise RequestError(found)


def count_problems(name: str, value: Any, least: int = 1) -> list[str]:
    """Checks an option that counts."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value is None or (whole and least <= value <= MOST_INT):
        return []
    return [f"{_option(name)} must be a whole number of at least {least}; got {shown(value)}"]


def number_problems(name: str, value: Any, least: float = 0, most: float = MOST_INT) -> list[str]:
    """Checks an option that measures."""
    if value is None or (_is_number(value) and least <= value <= most):
        return []
    return [f"{_option(name)} must be a number from {least:g} to {most:g}; got {shown(value)}"]


def span_problems(name: str, value: Any) -> list[str]:
    """Checks an option that is a span of time."""
    seconds = None if value is None else seconds_of(value)
    if value is None or (seconds is not None and 0 < seconds <= MOST_INT):
        return []
    form = "a span of time above 0: seconds, or such as 90s, 10m, 2h, 1h30m"
    return [f"{_option(name)} must be {form}; got {shown(value)}"]


def share_problems(share: Any) -> list[str]:
    """Checks a pack's share of a GPU."""
    if _is_number(share) and 1 < share < math.inf:
        uses = f"--gpus-per-pack {shown(share)}: the program of a pack uses one GPU"
        return [f"{uses}; give 1, or a fraction to let packs share one"]
    return [] if share == 0 else number_problems("gpus_per_pack", share, LEAST_SHARE, 1)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
