"""Thresholds of the verdicts; the rules themselves are in `sql/diagnosis.sql`.

Verdicts, first match wins: exploding, diverged (non-finite with no explosion before), dead
(gradient exactly zero), vanishing, vanishing_mild (without a plateau, or with no chance loss to
tell one), plateau, healthy, undetermined. A trial that learned and then stopped changing, or whose
loss fell by `converged_fall`, has converged: small gradients are then no fault, and it is never
called dead or vanishing.

G_l is the gradient norm of layer l, all its tensors joined, averaged over an epoch. The last layer
(the readout) is left out of slope, ratio and spread: its gradient does not pass through depth, and
in the measured 20-layer stacks it lies off the line the others make.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from results.errors import StoreError, nearest

RULES: dict[str, float] = {
    # exploding: an epoch's greatest gradient norm, or its loss as a multiple of chance_loss
    "explode_norm": 1e3,
    "explode_loss": 10.0,
    # vanishing_depth: log10 G_l rises by this many decades per layer with this R2, or
    # G_first / G_last is below the ratio ...
    "depth_slope": 0.1,
    "depth_r2": 0.9,
    "depth_ratio": 1e-2,
    # vanishing_abs: ... or the smallest G_l is below this ...
    "abs_norm": 1e-6,
    # ... either of them in this share of the last few epochs
    "recent_epochs": 5,
    "recent_share": 0.5,
    # vanishing_epochs: log10 of the total or of G_first falls this fast per epoch, with this R2,
    # over at least so many epochs, while the loss falls by less than this fraction
    "epochs_slope": -0.05,
    "epochs_r2": 0.8,
    "epochs_min": 5,
    "epochs_loss_fall": 0.05,
    # plateau: the loss falls by less than this fraction over the last max(plateau_epochs,
    # plateau_share of all) epochs and stays above plateau_loss * chance_loss
    "plateau_fall": 0.01,
    "plateau_epochs": 5,
    "plateau_share": 0.2,
    "plateau_loss": 0.8,
    # healthy: log10 G_l within this many decades, Spearman of (epoch, loss) at most this
    "healthy_spread": 2.0,
    "healthy_rho": -0.8,
    # learned, where there is no chance loss; and converged: the loss fell by this fraction
    "learned_fall": 0.5,
    "converged_fall": 0.9,
    # least norm whose logarithm is taken
    "floor_norm": 1e-38,
}


COUNTS = frozenset({"recent_epochs", "epochs_min", "plateau_epochs"})
"""Rules that count epochs."""


def merged_rules(changes: Mapping[str, float] | None) -> dict[str, float]:
    """The defaults with a caller's changes.

    Raises:
      StoreError: a rule that does not exist, or a threshold that is not a finite number.
    """
    rules = dict(RULES)
    for name, value in (changes or {}).items():
        if name not in RULES:
            raise StoreError(
                f"unknown diagnosis rule {name!r}{nearest(name, RULES)}; known: {', '.join(RULES)}."
            )
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (number and abs(value) <= sys.float_info.max):  # an integer may be beyond it
            raise StoreError(f"diagnosis rule {name} must be a finite number; got {_shown(value)}.")
        if name in COUNTS and not (value == int(value) and value >= 1):
            raise StoreError(
                f"diagnosis rule {name} counts epochs: it must be a whole number of at least 1; "
                f"got {value!r}."
            )
        rules[name] = float(value)
    return rules


def _shown(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # an integer of over 4300 digits
        return "an integer beyond every float"


def diagnosis_view(sql: str, rules: Mapping[str, float]) -> str:
    """The text of `sql/diagnosis.sql` with the thresholds filled in."""
    columns = ", ".join(f"{value!r}::DOUBLE AS {name}" for name, value in rules.items())
    return sql.replace("{rules}", f"SELECT {columns}")
