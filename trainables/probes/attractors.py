"""What the orbits of a map end in: fixed points, cycles, tori, chaos, or nothing yet.

See docs/specs/ribeiro2020.md, 4.3. Runs on the host in float64, so that an orbit can be followed
until what it ends in has settled, however long that takes; a fixed burn-in was measured to show
attractors that are none. Shapes are suffixed: M orbits, S numbers of state, W steps of a window,
Y outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

WINDOW = 512
"""Steps judged at once, and between two looks."""
LONGEST_PERIOD = 64
_FIXED, _RECURS = 1e-5, 1e-7
_NEUTRAL = 0.005
"""Lyapunov exponents (nats a step) of at most this size count as 0."""
_STEADY = 0.03
"""A closed curve that grows or shrinks by more than this share between two looks is none yet."""
_GROWS = 1.5
_HUGE = 1e8

FIXED, PERIOD, TORUS, CHAOS, SLOW, UNBOUNDED = (
    "fixed_point", "period", "quasi_periodic", "chaotic", "slow", "unbounded",
)  # fmt: skip
SETTLED = (FIXED, PERIOD, TORUS, CHAOS)


def largest_gap(window_WMS: np.ndarray, lag: int) -> np.ndarray:
    """max over time and state of |x_{t+lag} - x_t|, (M,)."""
    return np.max(np.abs(window_WMS[lag:] - window_WMS[:-lag]), (0, 2))


def periods(window_WMS: np.ndarray, tolerance: float = _RECURS) -> tuple[np.ndarray, np.ndarray]:
    """(least period up to 64, or 0; recurrence error there) of each orbit.

    Period 1 asks for steps below 1e-5 (1 + |x|), others for recurrence to `tolerance` (1 + |x|).
    """
    size = 1 + np.max(np.abs(window_WMS), (0, 2))
    gaps = np.stack([largest_gap(window_WMS, p) / size for p in range(1, LONGEST_PERIOD + 1)])
    recurs = gaps < tolerance
    recurs[0] = gaps[0] < _FIXED
    found = np.where(recurs.any(0), np.argmax(recurs, 0) + 1, 0)
    at = np.where(found > 0, found - 1, 0)
    return found.astype(np.int32), gaps[at, np.arange(gaps.shape[1])]


def swing(window: np.ndarray) -> np.ndarray:
    """Largest peak-to-peak value over the last axis, (M,), of (W, M, n)."""
    return np.max(np.ptp(window, axis=0), -1)


def kinds(
    period: np.ndarray, lyapunov: np.ndarray, change: np.ndarray, growth: np.ndarray,
    size: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """What each orbit is by now, (M,) strings.

    Args:
      period: 0 where none was found.
      change: swing of the state over that at the last look.
      growth: size of the state over that when half as many steps were done.
      size: largest |x|; NaN where an orbit left the type's range.
    """
    found = np.full(period.shape, SLOW, object)
    found[np.abs(lyapunov) <= _NEUTRAL] = TORUS
    found[(np.abs(change - 1) > _STEADY) & (found == TORUS)] = SLOW
    found[lyapunov > _NEUTRAL] = CHAOS
    found[period > 1] = PERIOD
    found[period == 1] = FIXED
    found[(growth > _GROWS) & (size > 1)] = UNBOUNDED
    found[~np.isfinite(size) | (size > _HUGE)] = UNBOUNDED
    return found


@dataclass(frozen=True)
class Ends:
    """How M orbits ended; all arrays are (M,) but `window` (W, M, S), the last states.

    Attributes:
      spectrum: (M, K) as many Lyapunov exponents as tangents were followed, the largest first.
      residual: recurrence error at the period, the largest step where there is none.
      steps: steps followed.
    """

    kind: np.ndarray
    period: np.ndarray
    lyapunov: np.ndarray
    spectrum: np.ndarray
    residual: np.ndarray
    steps: np.ndarray
    window: np.ndarray


Chunk = Callable[[Any, Any], tuple[Any, Any, Any, Any]]
"""(states (M, S), tangents (M, ...)) -> the same after WINDOW steps, the growth of tangents over
them in logarithms, (M,) or (M, K), and the states on the way (W, M, S)."""


def look(
    window: np.ndarray, growths: list[np.ndarray], swings: list[np.ndarray], sizes: list[np.ndarray]
) -> Ends:
    """Judges by the last window; lists hold a value for each chunk so far, `swings` for each look
    before, in place of which the window's first half stands at the first look."""
    with np.errstate(all="ignore"):
        period, residual = periods(window)
        half = len(growths) // 2
        spectrum = (np.mean(growths[half:], 0) / WINDOW).reshape(len(period), -1)
        before = swings[-1] if swings else swing(window[: WINDOW // 2])
        now = swing(window if swings else window[WINDOW // 2 :])
        change = now / np.maximum(before, 1e-300)
        growth = sizes[-1] / np.maximum(sizes[max(half - 1, 0)], 1e-300)
    still = change < 1e-6  # nothing left that could shrink
    change = np.where(still | ~np.isfinite(change), 1.0, change)
    if len(sizes) < 2:
        growth = np.ones_like(growth)
    lyapunov = spectrum[:, 0]
    kind = kinds(period, lyapunov, change, growth, sizes[-1])
    steps = np.full(len(period), len(growths) * WINDOW, np.int32)
    return Ends(kind, period, lyapunov, spectrum, residual, steps, window)


def follow(chunk: Chunk, states: Any, tangents: Any, most: int, least: int = 0) -> Ends:
    """Follows orbits, twice as long each time, until two looks in a row say the same settled thing
    of all of them and `least` steps are done, or about `most` steps are.

    Args:
      chunk: the map, WINDOW steps of it.
      states, tangents: where orbits start, (M, S), and the first directions of their growth.
    """
    growths: list[np.ndarray] = []
    swings: list[np.ndarray] = []
    sizes: list[np.ndarray] = []
    before: Ends | None = None
    goal = 2
    while True:
        window = np.empty(0)
        while len(growths) < goal:
            states, tangents, growth, seen = chunk(states, tangents)
            window = np.asarray(seen)
            growths.append(np.asarray(growth))
            sizes.append(np.max(np.abs(window), (0, 2)))
        found = look(window, growths, swings, sizes)
        same = (
            before is not None
            and np.array_equal(before.kind, found.kind)
            and np.array_equal(before.period, found.period)
        )
        settled = same and np.isin(found.kind, SETTLED).all() and goal * WINDOW >= least
        if settled or 2 * goal * WINDOW > most:
            return found
        before, goal = found, 2 * goal
        swings.append(swing(window))


def signature(ends: Ends) -> np.ndarray:
    """Mean and standard deviation of each orbit's state over whole periods, (M, 2 S)."""
    found = []
    for orbit, period in enumerate(ends.period):
        own = ends.window[:, orbit]
        own = own[: len(own) - len(own) % period] if period else own
        found.append(np.concatenate([own.mean(0), own.std(0)]))
    return np.stack(found)


def told_apart(ends: Ends, groups: np.ndarray) -> np.ndarray:
    """Number of its attractor within its group, 0 first, for each orbit; -1 where unsettled.

    Two orbits have one attractor if they are of one kind and period and the means and standard
    deviations of all states agree to .001 (fixed points, cycles) or .05 of 1 + their size.

    Args:
      groups: (M,) what orbits share that may have one attractor, such as the input.
    """
    marks = signature(ends)
    numbers = np.full(len(marks), -1, np.int32)
    for group in np.unique(groups):
        known: list[int] = []
        for orbit in np.flatnonzero((groups == group) & np.isin(ends.kind, SETTLED)):
            exact = ends.kind[orbit] in (FIXED, PERIOD)
            tolerance = (1e-3 if exact else 0.05) * (1 + np.max(np.abs(marks[orbit])))
            for number, other in enumerate(known):
                alike = ends.kind[other] == ends.kind[orbit]
                alike &= ends.period[other] == ends.period[orbit]
                if alike and np.max(np.abs(marks[other] - marks[orbit])) <= tolerance:
                    numbers[orbit] = number
                    break
            else:
                numbers[orbit] = len(known)
                known.append(int(orbit))
    return numbers


def dominant_frequency(y_WMY: np.ndarray, padding: int = 16) -> np.ndarray:
    """Angular frequency (rad a step) at the peak of the spectrum of each orbit's output of largest
    swing, (M,): Hann window, mean removed, padded with zeros. NaN where nothing swings."""
    length = len(y_WMY)
    which = np.argmax(np.ptp(y_WMY, axis=0), -1)
    y = np.take_along_axis(y_WMY, which[None, :, None], 2)[..., 0]
    power = np.abs(np.fft.rfft((y - y.mean(0)) * np.hanning(length)[:, None], padding * length, 0))
    peak = 2 * np.pi * np.argmax(power, 0) / (padding * length)
    return np.where(np.ptp(y, axis=0) > 1e-9, peak, np.nan)
