"""Planning: resolving and packing a grid of thousands of trials."""

from __future__ import annotations

from benchmarks.timing import alternate
from orchestrator.planning import plan


def run() -> dict[str, float]:
    """Seconds to plan vanishing/depth with 10 seeds (900 trials) and with 100 (9,000)."""
    return alternate(
        {
            "900 trials": lambda: plan("vanishing/depth", set=["seed=range(10)"]),
            "9,000 trials": lambda: plan("vanishing/depth", set=["seed=range(100)"]),
        },
        rounds=3,
    )
