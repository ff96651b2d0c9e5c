"""How uneven the radii are while a pretraining goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from results.figures.declaration import Figure
from results.figures.herranz2023.lsc import KINDS, pretrainings
from results.figures.panels import Layout, notes
from results.figures.style import LogScale, finish, look

if TYPE_CHECKING:
    from results.store.store import Store

_BINS = 20
_MEASURES = {"variance": ("solid", "variance"), "distance": ("dash", "squared distance")}


def lsc_variance(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Variance of the radii of each kind over layers and neighbouring iterations of the
    pretraining, and their mean squared distance from the target."""
    chosen, panels, rows = pretrainings(store, space, trial, _BINS)
    scale = LogScale()
    for shown in panels:
        scale.see(row[measure] for row in rows[shown.id] for measure in _MEASURES)
    layout = Layout.of(panels, 20, named=False)
    fig = layout.figure(panels)
    named: set[str] = set()
    for index, shown in enumerate(panels):
        for at, kind in enumerate(KINDS):
            lines = [row for row in rows[shown.id] if row["kind"] == kind]
            for measure, (dash, word) in _MEASURES.items() if lines else ():
                name = f"{KINDS[kind]}, {word}"
                fig.add_trace(
                    go.Scatter(
                        x=[row["iteration"] for row in lines],
                        y=[row[measure] or None for row in lines], mode="lines", name=name,
                        legendgroup=name, showlegend=name not in named,
                        line={"color": look(at)["colour"], "dash": dash, "width": 2},
                        hovertemplate=f"{name}<br>%{{x:.0f}}: %{{y:.3g}}<extra></extra>",
                    ),
                    **layout.place(index),
                )  # fmt: skip
                named.add(name)
    fig.update_xaxes(title="Iteration", rangemode="tozero", tickformat="d")
    fig.update_yaxes(scale.axis())
    fig.update_yaxes(title="Variance of the radius", col=1)
    note = "Over layers and neighbouring iterations; a feed-forward net measures one block in each."
    return finish(fig, f"Variance while pretraining — {chosen.title}",
                  [*notes(chosen, panels), note], layout.height, layout.heads)  # fmt: skip


FIGURES = (Figure(lsc_variance, table="lsc", parents=True),)
