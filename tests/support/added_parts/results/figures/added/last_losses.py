"""A figure of one study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from results.figures.declaration import Figure

if TYPE_CHECKING:
    from results.store.store import Store


def last_losses(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Loss of each trial at its last epoch."""
    rows = store.sql("SELECT seed, arg_max(loss, epoch) FROM runs GROUP BY seed ORDER BY seed")
    seeds, losses = zip(*rows.fetchall(), strict=True)
    return go.Figure(go.Bar(x=seeds, y=losses), {"xaxis_title": "seed", "yaxis_title": "loss"})


FIGURES = (Figure(last_losses, by=("seed",)),)
