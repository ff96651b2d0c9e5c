"""Statistics over seeds: centre, spread and bootstrap intervals, diverged seeds among them.

`best`, `aggregate`, `compare` and the bands of figures have these definitions in common.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

Diverged = Literal["worst", "left_out"]
"""What a diverged trial counts as: worse than every number, or nothing."""

CONFIDENCE = 0.95
RESAMPLES = 9999
_SEED = 0
"""Of the bootstrap and of the permutations: the same numbers give the same interval again."""

INTERVALS = ("median_low", "median_high", "mean_low", "mean_high", "iqm", "iqm_low", "iqm_high")
"""What `intervals` gives, in this order."""


def spread(values: Sequence[float], diverged: int, worst: float) -> dict[str, Any]:
    """Centre and spread of the seeds of a cell.

    Args:
      values: of the seeds that did not diverge.
      diverged: how many did.
      worst: inf or -inf, which a diverged seed counts as in the median.

    Returns:
      `median`, with diverged seeds as the worst; `mean` and `stderr` over the others; `n`, how
      many these are; `n_diverged`. What is not finite is NaN.
    """
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    every = [*values, *[worst] * diverged]
    return {
        "median": finite(statistics.median(every)) if every else math.nan,
        "mean": statistics.fmean(values) if values else math.nan,
        "stderr": deviation / math.sqrt(len(values)) if values else math.nan,
        "n": len(values),
        "n_diverged": diverged,
    }


def intervals(
    values: Sequence[float], diverged: int, worst: float, confidence: float = CONFIDENCE
) -> dict[str, float]:
    """Bootstrap intervals of the median and the mean, and the interquartile mean with its own.

    Args: as of `spread`. The median and the interquartile mean count a diverged seed as the worst,
      the mean leaves it out.

    Returns:
      `INTERVALS`; NaN of fewer than two seeds, and where diverged seeds leave no finite end.
    """
    every = [*values, *[worst] * diverged]
    found = [
        *interval(every, np.median, confidence),
        *interval(values, np.mean, confidence),
        finite(float(interquartile_mean(every))) if every else math.nan,
        *interval(every, interquartile_mean, confidence),
    ]
    return dict(zip(INTERVALS, map(finite, found), strict=True))


def interquartile_mean(values: Any, axis: int = -1) -> Any:
    """The mean of the middle half: a quarter of the values, rounded down, is cut off at each end
    (Agarwal et al. 2021, section 4.3)."""
    ordered = np.sort(np.asarray(values, float), axis=axis)
    cut = ordered.shape[axis] // 4
    kept = np.take(ordered, range(cut, ordered.shape[axis] - cut), axis=axis)
    return np.mean(kept, axis=axis)


def interval(
    values: Sequence[float], statistic: Callable[..., Any], confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The percentile bootstrap interval of a statistic (Efron and Tibshirani 1993, section 13.3).

    Args:
      values: a sample; those of inf are resampled as any other.
      statistic: of an array, along `axis`.

    Returns:
      Its ends, each a value that the statistic had in a resample; NaN of fewer than two values.
    """
    return stratified_interval([values], statistic, confidence)


def stratified_interval(
    samples: Sequence[Sequence[float]],
    statistic: Callable[..., Any],
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """As `interval`, of a statistic of several samples, each resampled by itself."""
    if not samples or any(len(sample) < 2 for sample in samples):
        return math.nan, math.nan
    from scipy import stats

    with np.errstate(invalid="ignore"):  # inf - inf, in numbers of SciPy's that are not used here
        drawn = stats.bootstrap(
            [np.asarray(sample, float) for sample in samples], statistic, vectorized=True,
            n_resamples=RESAMPLES, batch=1000, method="percentile",
            rng=np.random.default_rng(_SEED),
        ).bootstrap_distribution  # fmt: skip
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)


def intervals_along(
    values: Any, statistic: Callable[..., Any], confidence: float = CONFIDENCE
) -> tuple[Any, Any]:
    """The intervals of a statistic of each column, such as of an epoch, of 999 resamples.

    Args:
      values: (seeds, columns); NaN where a seed has no value.

    Returns:
      Both ends, (columns,) each; the value itself where only one seed has one.
    """
    from scipy import stats

    values = np.asarray(values, float)
    low, high = np.full((2, values.shape[1]), np.nan)
    there = ~np.isnan(values)
    tail = (1 - confidence) / 2
    for pattern in np.unique(there, axis=1).T:
        columns = (there == pattern[:, None]).all(axis=0)
        own = values[pattern][:, columns]
        if len(own) < 2:
            low[columns] = high[columns] = own[0] if len(own) else math.nan
            continue
        with np.errstate(invalid="ignore"):  # as above
            drawn = stats.bootstrap(
                [own], statistic, vectorized=True, n_resamples=999, batch=100, axis=0,
                method="percentile", rng=np.random.default_rng(_SEED),
            ).bootstrap_distribution  # fmt: skip
        ends = np.quantile(drawn, [tail, 1 - tail], axis=-1, method="inverted_cdf")
        low[columns], high[columns] = ends
    return low, high


def permutation_p(first: Sequence[float], second: Sequence[float]) -> float:
    """The two-sided p of the mean difference of pairs, whose members are swapped at random; exact
    up to 13 pairs. NaN of fewer than two pairs."""
    if len(first) < 2:
        return math.nan
    from scipy import stats

    def difference(a: Any, b: Any, axis: int = -1) -> Any:
        return np.mean(np.asarray(a) - np.asarray(b), axis=axis)

    found = stats.permutation_test(
        (np.asarray(first, float), np.asarray(second, float)), difference, vectorized=True,
        permutation_type="samples", n_resamples=RESAMPLES, batch=1000,
        rng=np.random.default_rng(_SEED),
    )  # fmt: skip
    return float(found.pvalue)


def improvement(*samples: Any, axis: int = -1) -> Any:
    """How probable it is that a trial of A is better than one of B, ties as half: the mean over
    strata of the Mann-Whitney statistic (Agarwal et al. 2021, section 4.3).

    Args:
      samples: of A and B by turns, a stratum after another; smaller is better.
    """
    shares = []
    for first, second in zip(samples[::2], samples[1::2], strict=True):
        a = np.expand_dims(np.moveaxis(np.asarray(first, float), axis, -1), -1)
        b = np.expand_dims(np.moveaxis(np.asarray(second, float), axis, -1), -2)
        shares.append(np.mean((a < b) + 0.5 * (a == b), axis=(-2, -1)))
    return np.mean(shares, axis=0)


def finite(value: float) -> float:
    """The value; NaN for one that is not finite."""
    return float(value) if math.isfinite(value) else math.nan
