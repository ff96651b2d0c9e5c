"""Figures of how far the radii along a path are from independent (study herranz2023)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.figures.declaration import Figure
from results.figures.selection import select_trials, series
from results.figures.style import COLOURS, LogScale, finish, look

if TYPE_CHECKING:
    from results.store.store import Store


def covariance(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Size of the interactions of 2, 3 and 4 radii along a path, by net, a panel per task."""
    chosen = select_trials(store, space, trial, "covariance")
    rows = series(store, "covariance", '"order", interaction', chosen.ids, order='"order"')
    tasks = list(dict.fromkeys(str(shown.config.get("task")) for shown in chosen.trials))
    nets = list(dict.fromkeys(str(shown.config.get("cov_net")) for shown in chosen.trials))
    scale = LogScale(least_decades=1.0)
    scale.see(row["interaction"] for own in rows.values() for row in own)
    fig = make_subplots(1, len(tasks), subplot_titles=[f"<b>{task}</b>" for task in tasks],
                        shared_yaxes=True, horizontal_spacing=0.04)  # fmt: skip
    for index, net in enumerate(nets):
        for col, task in enumerate(tasks, 1):
            groups: dict[int, list[float]] = {}
            for shown in chosen.trials:
                if (shown.config.get("task"), shown.config.get("cov_net")) == (task, net):
                    for row in rows.get(shown.id, []):
                        groups.setdefault(row["order"], []).append(row["interaction"])
            if groups:
                _interactions(fig, groups, net, COLOURS[index], col == 1, row=1, col=col)
    fig.update_layout(barmode="group", bargap=0.3)
    fig.update_xaxes(title="Order k: radii multiplied", type="category", showgrid=False)
    fig.update_yaxes(**scale.axis())
    fig.update_yaxes(title="|Σ of mean products of centred radii|", row=1, col=1)
    note = "Bars: median over seeds; lines: least to greatest."
    title = f"Interactions of radii — {chosen.title}"
    finish(fig, title, [*chosen.notes(), note], 400, heads=1)
    return fig.update_xaxes(showgrid=False)


def _interactions(
    fig: go.Figure, groups: Mapping[int, list[float]], name: str, colour: str, legend: bool,
    **place: Any,
) -> None:  # fmt: skip
    middle = [statistics.median(values) for values in groups.values()]
    fig.add_trace(
        go.Bar(
            x=[str(order) for order in groups], y=middle, name=name, legendgroup=name,
            showlegend=legend, marker={"color": colour},
            error_y={
                "type": "data", "symmetric": False, "thickness": 1.2, "width": 4,
                "array": [max(v) - m for v, m in zip(groups.values(), middle, strict=True)],
                "arrayminus": [m - min(v) for v, m in zip(groups.values(), middle, strict=True)],
            },
            hovertemplate=f"{name}, order %{{x}}: %{{y:.3g}}<extra></extra>",
        ),
        **place,
    )  # fmt: skip


def decay(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Correlation of a radius with its first value over time, by layer; a panel per trial."""
    chosen = select_trials(store, space, trial, "decay")
    rows = series(store, "decay", "layer, t, correlation, p_value", chosen.ids, order="layer, t")
    panels = [shown for shown in chosen.trials if shown.id in rows][:6]
    columns = min(len(panels), 3)
    heads = [f"<b>{shown.cell or shown.name}</b>" for shown in panels]
    lines = -(-len(panels) // columns)
    fig = make_subplots(lines, columns, subplot_titles=heads, shared_yaxes=True,
                        horizontal_spacing=0.05, vertical_spacing=0.3 / lines)  # fmt: skip
    named: set[int] = set()
    for index, shown in enumerate(panels):
        place = {"row": index // columns + 1, "col": index % columns + 1}
        for layer in sorted({row["layer"] for row in rows[shown.id]}):
            own = [row for row in rows[shown.id] if row["layer"] == layer]
            _correlation(fig, own, layer, layer not in named, place)
            named.add(layer)
    fig.update_xaxes(title="Time step t")
    fig.update_yaxes(range=[-1.05, 1.05], zeroline=True)
    fig.update_yaxes(title="Pearson's r with the first", col=1)
    note = "Hollow: p ≥ 0.05, no correlation to be seen over the samples."
    more = f"Shown: {len(panels)} of {len(chosen.trials)}." if len(chosen.trials) > 6 else ""
    title = f"How a radius forgets — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), note, more], 330 * lines, heads=1)


def _correlation(
    fig: go.Figure, own: Sequence[Mapping[str, Any]], layer: int, legend: bool,
    place: Mapping[str, Any],
) -> None:  # fmt: skip
    style = look(layer)
    kept = [row for row in own if row["correlation"] is not None]
    kept = [row for row in kept if math.isfinite(row["correlation"])]
    colours = [style["colour"] if row["p_value"] < 0.05 else "white" for row in kept]
    fig.add_trace(
        go.Scatter(
            x=[row["t"] for row in kept], y=[row["correlation"] for row in kept],
            name=f"layer {layer}", legendgroup=f"layer {layer}", showlegend=legend,
            mode="lines+markers", line={"color": style["colour"], "width": 1.5},
            marker={"symbol": style["symbol"], "size": 6, "color": colours,
                    "line": {"color": style["colour"], "width": 1.2}},
            hovertemplate=f"layer {layer}, t %{{x}}: r %{{y:.3f}}<extra></extra>",
        ),
        **place,
    )  # fmt: skip


FIGURES = (
    Figure(covariance, table="covariance", by=("task", "cov_net")),
    Figure(decay, table="decay"),
)
