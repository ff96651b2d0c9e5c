"""Thresholds of the verdicts; the rules themselves are in `sql/diagnosis.sql`.

Verdicts, first match wins: exploding (a burst, in a trial that became non-finite or has not
learned), diverged (non-finite with no burst before), dead (the gradient of every weight is exactly
zero), rising (the loss rose and stayed up), vanishing, vanishing_mild (without a plateau, or with
no guess loss to tell one), plateau, healthy, undetermined, or open: none of these, in a trial that
was pruned before its last epoch. A trial that learned and then
stopped changing, or whose loss fell by `converged_fall`, has converged: small gradients are then no
fault, and it is never called dead or vanishing. What learned and stayed finite did not explode; the
column `burst` still says that a norm or loss shot up on the way.

No threshold but `least_loss` is in the units of one task. A norm is compared with what the trial
started from (the least of its first epoch) and with the scale of its loss, times the number of
losses that the gradient sums; a loss with its start and with the loss of one that knows nothing
(`guess_loss`).

G_l is the gradient norm of layer l, all its tensors joined, averaged over an epoch. The last layer
(the readout) is left out of slope, ratio and spread: its gradient does not pass through depth, and
in the measured 20-layer stacks it lies off the line the others make. A layer that is frozen by
design (exactly 0 in every step, below one that learns) is left out everywhere.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from results.errors import StoreError, nearest
from results.schema import CENSORED

RULES: dict[str, float] = {
    # burst: a step's gradient norm, as a multiple of the greater of norm_start and loss_scale;
    # a loss as a multiple of guess_loss
    "explode_growth": 1e3,
    "explode_loss": 10.0,
    # rising: by how much the loss rose, as a fraction of the greater of |loss_start| and guess_loss
    "rising_loss": 0.25,
    # least |loss_start| that these are compared with where there is no guess loss, in its own unit:
    # a start at 0 has no scale
    "least_loss": 1e-3,
    # vanishing_depth: log10 G_l rises by this many decades per layer with this R2 (of 1), or
    # G_first / G_last is below the ratio ...
    "depth_slope": 0.1,
    "depth_r2": 0.9,
    "depth_ratio": 1e-2,
    # vanishing_abs: ... or the smallest G_l is below this fraction of loss_scale ...
    "abs_norm": 1e-6,
    # ... either of them in this share of the last few epochs
    "recent_epochs": 5,
    "recent_share": 0.5,
    # vanishing_epochs: log10 of the total or of G_first falls by this many decades per epoch, with
    # this R2, over at least this many epochs, while the loss falls by less than this fraction of
    # the first epoch's
    "epochs_slope": -0.05,
    "epochs_r2": 0.8,
    "epochs_min": 5,
    "epochs_loss_fall": 0.05,
    # plateau: the loss falls by less than this fraction of itself over the last
    # max(plateau_epochs, plateau_share of all) epochs and stays above plateau_loss * guess_loss
    "plateau_fall": 0.01,
    "plateau_epochs": 5,
    "plateau_share": 0.2,
    "plateau_loss": 0.8,
    # healthy: log10 G_l within this many decades, Spearman of (epoch, loss) at most this, and no
    # flat loss; or learned, and the loss fell by learned_fall
    "healthy_spread": 2.0,
    "healthy_rho": -0.8,
    # learned, where there is no guess loss, and healthy; converged: the loss fell by this fraction
    # of loss_start
    "learned_fall": 0.5,
    "converged_fall": 0.9,
    # least norm whose logarithm is taken, in loss/param
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
    statuses = ", ".join(f"'{status}'" for status in CENSORED)
    return sql.replace("{rules}", f"SELECT {columns}").replace("{censored}", statuses)
