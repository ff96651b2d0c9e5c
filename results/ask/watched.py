"""The best value so far of what the trials of a space watch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from results.ask.units import loss_unit, metrics_of, unit_of

if TYPE_CHECKING:
    from results.store.store import Store


def best_watched(store: Store, ids: Iterable[str]) -> list[dict[str, Any]]:
    """The best trial by each number that some of these trials watch, val_loss left out: `monitor`,
    `value`, `unit` and `trial_id`."""
    wanted = list(ids)
    rows = store.sql(
        """
        SELECT m.monitor, w.trial_id, w.monitor_best AS value
        FROM monitors m JOIN monitored w USING (trial_id)
        WHERE trial_id IN (SELECT unnest($ids)) AND m.monitor <> 'val_loss'
        QUALIFY row_number() OVER (
            PARTITION BY m.monitor
            ORDER BY CASE m.mode WHEN 'max' THEN -w.monitor_best ELSE w.monitor_best END, trial_id
        ) = 1
        ORDER BY m.monitor
        """,
        {"ids": wanted},
    ).rows()
    if not rows:
        return []
    metrics, losses = metrics_of(store, wanted), loss_unit(store, wanted)
    return [{**row, "unit": unit_of(row["monitor"], losses, metrics)} for row in rows]
