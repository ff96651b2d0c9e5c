"""Timing two ways of doing a thing against each other in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

Work = Callable[[], object]


def alternate(ways: Mapping[str, Work], rounds: int = 5) -> dict[str, float]:
    """Median seconds of each way, taken in turn (A B A B ...) after one untimed round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, work in ways.items():
            begun = time.perf_counter()
            work()
            if turn:
                seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in seconds.items()}


def ratios(seconds: Mapping[str, float]) -> dict[str, float]:
    """Each way's time as a multiple of the first one's; of ways named "case: way", of the first of
    its own case."""
    first: dict[str, float] = {}
    for name, value in seconds.items():
        first.setdefault(name.rpartition(": ")[0], value)
    return {name: value / first[name.rpartition(": ")[0]] for name, value in seconds.items()}
