"""What a Glorot matrix of width n is divided by: docs/specs/bar2025.md, 1.4.

Entries N(0, 1/n) give eigenvalues in a disk whose radius is above 1 by about sqrt(log n / 4n). The
edge law of Ginibre matrices (Rider 2003; real ones: Rider and Sinclair, arXiv 1209.6085) says

    rho ~ 1 + sqrt(gamma_n / 4n) + G / sqrt(4 n gamma_n),   gamma_n = log(n / (2 pi (log n)^2))

with a Gumbel variable G of mean Euler's constant and standard deviation pi / sqrt 6. Plain Python,
so that a plan can refuse a width for which the law says nothing.
"""

from __future__ import annotations

import math

EULER = 0.5772156649015329
GUMBEL_SD = math.pi / math.sqrt(6)
EDGE_OFFSET = EULER + GUMBEL_SD
"""z of the published rescaling: the law's mean and one standard deviation."""
LEAST_WIDTH = 164
"""gamma_n > 0 from this width on."""

RADII = {  # width -> (mean, standard deviation) of the spectral radius of N(0, 1/n) matrices
    64: (1.0556, 0.0503),
    128: (1.0474, 0.0352),
    192: (1.0418, 0.0250),
    256: (1.0383, 0.0219),
    384: (1.0340, 0.0185),
    512: (1.0313, 0.0153),
    1024: (1.0240, 0.0074),
}
"""docs/specs/bar2025.md, 5.2, measured over 20 (n 1024) to 2,000 (n 64) draws."""

INITS = ("glorot", "halved_glorot", "rescaled", "calibrated", "identity", "uniform")
SCALED = INITS[:4]
"""Those that are a Glorot matrix divided by a number."""


def edge_gamma(n: int) -> float:
    """gamma_n, n >= 2."""
    return math.log(n / (2 * math.pi * math.log(n) ** 2))


def edge_terms(n: int) -> tuple[float, float]:
    """(a, b) of the edge law rho ~ a + b G.

    Raises:
      ValueError: the law has no such terms for n <= 163.
    """
    if n < LEAST_WIDTH:
        raise ValueError(
            f"the rescaled Glorot init has no value at width {n}: gamma_n <= 0 for n <= 163; take "
            "width >= 164 or init=calibrated"
        )
    gamma = edge_gamma(n)
    return 1 + math.sqrt(gamma / (4 * n)), 1 / math.sqrt(4 * n * gamma)


def rescaling(n: int, offset: float = EDGE_OFFSET) -> float:
    """c_n = a + b `offset`. Raises ValueError for n <= 163."""
    a, b = edge_terms(n)
    return a + b * offset


def calibration(n: int) -> float:
    """Mean and one standard deviation of the measured radius, at every n >= 1: c - 1 is a power of
    n between the widths of `RADII`, and beyond them the nearest such power."""
    points = [(math.log(width), math.log(sum(both) - 1)) for width, both in RADII.items()]
    x = math.log(n)
    upper = next((i for i, (at, _) in enumerate(points) if at >= x), len(points) - 1)
    (x0, y0), (x1, y1) = points[max(upper, 1) - 1], points[max(upper, 1)]
    return 1 + math.exp(y0 + (y1 - y0) * (x - x0) / (x1 - x0))


def divisor(init: str, n: int) -> tuple[float, float]:
    """(a, b) such that the init is a Glorot matrix divided by a + b * offset.

    Raises:
      ValueError: `rescaled` for n <= 163; an init that is no scaled Glorot matrix.
    """
    if init == "rescaled":
        return edge_terms(n)
    found = {"glorot": 1.0, "halved_glorot": math.sqrt(2), "calibrated": calibration(n)}
    if init not in found:
        raise ValueError(f"init {init} is no scaled Glorot matrix")
    return found[init], 0.0
