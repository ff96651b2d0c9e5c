"""How lanes run together on two cores, by the number of lanes."""

from __future__ import annotations

from benchmarks.training.lanes import measure

WIDTHS = (1, 4, 16, 64)


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of an epoch per lane, as `lanes`, of 1, 4, 16 and 64 lanes."""
    return measure(WIDTHS)
