"""Verdicts of pruning rules, in the order in which they were taken."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

_SAME = ["space", "rule", "trial_id", "rung", "metric", "launch_id"]
"""What two rows of one decision have in common."""


def as_taken(decisions: pa.Table) -> pa.Table:
    """Rows of `decisions` by the time they were taken, those of one moment as they come. Of equal
    ones, such as one that was published again, the first stays."""
    rows = decisions.sort_by("decided")
    keys = rows.select(_SAME).append_column("row", pa.array(np.arange(rows.num_rows)))
    first = keys.group_by(_SAME).aggregate([("row", "min")])["row_min"]
    return rows.take(first.sort())
