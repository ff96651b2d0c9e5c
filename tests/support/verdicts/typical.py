"""Which course stands for each verdict in the picture of docs/verdicts.md."""

from __future__ import annotations

import numpy as np

from tests.support.verdicts.cases import BAD, NAN, Case, Shows, falling, rising

EPOCHS = 12
_EVEN, _STEEP = rising(0.02, layers=8), rising(0.16, layers=8)
_LIVE = [[0.0] * 2 + _EVEN[2:]] * EPOCHS
_DEAD = [[norm * 10 ** (-0.4 * epoch) for norm in _EVEN] for epoch in range(5)] + [[0.0] * 8] * 7
_GROWN = [2.3, 2.5, 2.9, 4.0, 6.0, 8.5, 11.0, 13.5, 16.0, 18.0, 19.5, 20.0]


def _wobbling(losses: list[float], by: float) -> list[float]:
    """Up and down by a fraction, as a seed of 1 draws it."""
    noise = np.random.default_rng(1).normal(0, by, len(losses))
    return [float(loss * (1 + each)) for loss, each in zip(losses, noise, strict=True)]


def _lasting(layers: list[float], by: float = 0.04) -> list[list[float]]:
    draw = np.random.default_rng(2).normal(0, by, (EPOCHS, len(layers)))
    return [[float(x * 10**d) for x, d in zip(layers, row, strict=True)] for row in draw]


MADE_UP = {
    "made up: not finite": Case(
        Shows("diverged", 8, "diverged healthy"), [*falling(8, 1.2), *[NAN] * 4],
        [*_lasting(_EVEN)[:8], *[[NAN] * 8] * 4],
        extra={epoch: {**BAD, "finite_steps": 0, "grad_norm": NAN, "grad_norm_max": NAN}
               for epoch in range(8, EPOCHS)},
    ),
    "made up: dead": Case(
        Shows("dead", 5, "dead plateau"), [2.31, 2.32, 2.31, *[2.303] * 9], _DEAD,
        [1.0, 0.4, 0.16, 0.06, 0.026, *[0.3] * 7], idle={8},
    ),
    "made up: rising": Case(Shows("rising", 2, "rising"), _GROWN, _lasting(_EVEN)),
    "made up: vanishing, still learning": Case(
        Shows("vanishing_mild", 0, "vanishing_depth"),
        _wobbling(falling(EPOCHS, 1.5), 0.01), _lasting(_STEEP),
    ),
    "made up: frozen layers": Case(
        Shows("healthy", None, "healthy"), _wobbling(falling(EPOCHS, 0.5), 0.01), _LIVE
    ),
}  # fmt: skip

PICTURED = {
    "exploding": "37860225",
    "diverged": "made up: not finite",
    "dead": "made up: dead",
    "rising": "made up: rising",
    "vanishing": "86163b36",
    "vanishing_mild": "made up: vanishing, still learning",
    "plateau": "dc52b6d6",
    "undetermined": "1bf311e9",
    "healthy": "2d3b5934",
    "healthy: converged": "18d4c54b",
    "healthy: bursts on the way": "ae88bc3e",
    "healthy: frozen layers": "made up: frozen layers",
}
"""Trial of each panel: the start of an id of the judged sample, or a course that is made up."""
