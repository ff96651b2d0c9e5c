"""Figures of study ribeiro2020's chaotic LSTM: orbit diagram, cost profiles, growth with length."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.config_values import value_text
from results.errors import StoreError
from results.figures.declaration import Figure, FigureOption
from results.figures.ribeiro2020.orbits import KINDS
from results.figures.selection import rows_of, select_trials
from results.figures.style import (
    COLOURS,
    LogScale,
    draw_series,
    explain_marks,
    finish,
    log_ticks,
    look,
)

if TYPE_CHECKING:
    from results.store.store import Store

Row = dict[str, Any]
_MOST_POINTS = 40_000


def events(rows: list[Row]) -> list[tuple[float, str]]:
    """(s half way, what changes) between neighbours of unequal kind or period."""
    found = []
    for before, after in pairwise(rows):
        names = [
            f"period {row['period']}" if row["kind"] == "period" else KINDS[row["kind"]][0]
            for row in (before, after)
        ]
        if names[0] != names[1]:
            found.append(((before["s"] + after["s"]) / 2, " → ".join(names)))
    return found


def bifurcation(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Orbit diagram of the family, coloured by kind, its changes marked, over the exponents."""
    chosen = select_trials(store, space, trial, "chaos_scan")
    rows = sorted(rows_of(store, chosen, "chaos_scan"), key=lambda r: r["s"])
    start = "standard" if any(r["start"] == "standard" for r in rows) else rows[0]["start"]
    rows = [r for r in rows if r["start"] == start]
    kind = {row["s"]: row["kind"] for row in rows}
    each = max(_MOST_POINTS // len(rows), 1)
    dots = [r for r in rows_of(store, chosen, "orbit_diagram")
            if r["start"] == start and r["t"] < each]  # fmt: skip
    dots.sort(key=lambda r: (r["s"], r["t"]))
    fig: Any = make_subplots(
        2, 1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.68, 0.32]
    )
    for name, (label, colour) in KINDS.items():
        own = [r for r in dots if kind[r["s"]] == name]
        if own:
            fig.add_trace(
                go.Scatter(
                    x=[r["s"] for r in own], y=[r["h1"] for r in own], mode="markers", name=label,
                    marker={"size": 2, "color": colour},
                ),
                row=1, col=1,
            )  # fmt: skip
    for k in (1, 2):
        fig.add_trace(
            go.Scatter(
                x=[r["s"] for r in rows], y=[r[f"lyapunov{k}"] for r in rows], mode="lines",
                name=f"λ{k}", line={"color": ("#444444", "#AAAAAA")[k - 1], "width": 1.4},
            ),
            row=2, col=1,
        )  # fmt: skip
    fig.add_hline(y=0, row=2, col=1, line={"color": "#444444", "width": 1})
    origin = [(r["s"], r["origin_modulus"]) for r in rows]
    crossing = next(
        (a[0] + (1 - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
         for a, b in pairwise(origin) if a[1] < 1 <= b[1]), None,
    )  # fmt: skip
    changes = events(rows)
    for s, _ in changes:
        line = {"color": "#555555", "dash": "dot", "width": 0.7}
        fig.add_vline(x=s, row=2, col=1, line=line)
    if crossing is not None:
        line = {"color": "#000000", "dash": "dash", "width": 1}
        fig.add_vline(x=crossing, row=1, col=1, line=line)
    fig.update_xaxes(title="s, factor of the weights", row=2, col=1)
    fig.update_yaxes(title="h₁", row=1, col=1)
    fig.update_yaxes(title="Lyapunov<br>exponents", range=[-1.2, 0.4], row=2, col=1)
    first = "; ".join(f"{text} at {s:.4g}" for s, text in changes[:5])
    notes = [*chosen.notes(), f"Dotted: {len(changes)} changes of kind or period. {first}."]
    if crossing is not None:
        notes.append(f"Dashed: the origin turns unstable (Neimark-Sacker) at s = {crossing:.5f}.")
    finish(fig, f"An LSTM on a line through chaos — {chosen.title}", notes, 640)
    return fig.update_layout(legend_itemsizing="constant")


def attractor_plane(
    store: Store, space: Mapping[str, Any], trial: str | None = None, *, s: float, from_start: str
) -> go.Figure:
    """States (h1, h2) on the attractor of the two-unit LSTM, for one factor s of its weights."""
    chosen = select_trials(store, space, trial, "chaos_scan")
    dots = [r for r in rows_of(store, chosen, "orbit_diagram") if r["start"] == from_start]
    if not dots:
        starts = store.sql("SELECT DISTINCT start FROM all_orbit_diagram ORDER BY start").rows()
        there = ", ".join(row["start"] for row in starts) or "none"
        raise StoreError(f"no orbit starts from {from_start!r}; known starts: {there}.")
    nearest = min((r["s"] for r in dots), key=lambda other: abs(other - s))
    own = sorted((r for r in dots if r["s"] == nearest), key=lambda r: r["t"])
    (scan,) = [r for r in rows_of(store, chosen, "chaos_scan")
               if r["s"] == nearest and r["start"] == from_start][:1]  # fmt: skip
    label, colour = KINDS[scan["kind"]]
    fig = go.Figure(
        go.Scatter(
            x=[r["h1"] for r in own], y=[r["h2"] for r in own], mode="markers", name=label,
            marker={"size": 3, "color": colour, "opacity": 0.6}, showlegend=True,
            customdata=[r["t"] for r in own],
            hovertemplate="h₁ %{x:.4g}, h₂ %{y:.4g}, step %{customdata}<extra></extra>",
        )
    )  # fmt: skip
    fig.update_xaxes(title="h₁")
    fig.update_yaxes(title="h₂")
    mean = [float(np.mean([r[name] for r in own])) for name in ("h1", "h2")]
    exponents = " and ".join(f"{scan[f'lyapunov{k}']:.4f}" for k in (1, 2))
    note = (
        f"s = {nearest:.5g}, {len(own)} states from the {from_start} start; their mean is "
        f"({mean[0]:.4f}, {mean[1]:.4f}). Lyapunov exponents {exponents} nats a step."
    )
    title = f"Attractor of the two-unit LSTM — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), note], 520)


def cost_profile(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Distance to the chaotic orbit along the line, and the size of its slope and bend."""
    chosen = select_trials(store, space, trial, "chaos_cost")
    rows = sorted(rows_of(store, chosen, "chaos_cost"), key=lambda r: r["s"])
    s = [r["s"] for r in rows]
    fig = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.06)
    line = {"color": COLOURS[0], "width": 1}
    fig.add_trace(
        go.Scatter(x=s, y=[r["cost"] for r in rows], mode="lines", line=line, showlegend=False),
        row=1, col=1,
    )  # fmt: skip
    scale = LogScale(least_decades=1.0)
    sizes = {"|dV/ds|": "slope", "|d²V/ds²|": "bend"}
    kept = {name: [max(abs(r[key]), 1e-12) for r in rows] for name, key in sizes.items()}
    for values in kept.values():
        scale.see(values)
    for index, (name, values) in enumerate(kept.items()):
        style = {"color": COLOURS[index + 1], "width": 1}
        fig.add_trace(go.Scatter(x=s, y=values, mode="lines", name=name, line=style), row=2, col=1)
    fig.update_yaxes(title="V(s)", row=1, col=1)
    fig.update_yaxes(row=2, col=1, **scale.axis())
    fig.update_xaxes(title="s, factor of the weights", row=2, col=1)
    low = _minima(rows, 0.9, 1.1), _minima(rows, 1.5, 2.0)
    note = (
        f"{len(rows)} points. Local minima: {low[0]} in (.9, 1.1), {low[1]} in (1.5, 2). Sizes "
        "below 1e-12 are drawn there."
    )
    return finish(fig, f"Cost along the line — {chosen.title}", [*chosen.notes(), note], 560)


def _minima(rows: list[Row], low: float, high: float) -> int:
    v = np.array([r["cost"] for r in rows if low < r["s"] < high])
    return int(np.sum((v[1:-1] < v[:-2]) & (v[1:-1] < v[2:])))


def cost_growth(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Size of slope and bend against the length of the orbit, with their rates of growth."""
    chosen = select_trials(store, space, trial, "chaos_length")
    rows = sorted(rows_of(store, chosen, "chaos_length"), key=lambda r: r["length"])
    fig = make_subplots(1, 2, horizontal_spacing=0.12)
    scales = []
    for col, (key, title) in enumerate((("slope", "|dV/ds|"), ("bend", "|d²V/ds²|")), 1):
        scale = LogScale(least_decades=1.0)
        scale.see(abs(r[key]) for r in rows)
        for index, s in enumerate(sorted({r["s"] for r in rows})):
            own = [r for r in rows if r["s"] == s]
            x, y = [r["length"] for r in own], [abs(r[key]) for r in own]
            logs = [math.log(max(v, 1e-300)) for v in y]
            rate, first = np.polyfit(x, logs, 1)
            whole, left = np.var(logs), np.var(np.array(logs) - rate * np.array(x) - first)
            fit = 1 - left / whole if whole > 0 else 1.0
            name = f"s = {value_text(s)}"
            draw_series(fig, x, y, scale, name, look(index), legend=col == 1, row=1,
                        col=col, hover=f"{name}, {rate:+.3f} a step, R² {fit:.2f}")  # fmt: skip
            fig.add_annotation(
                x=x[-1], y=math.log10(max(y[-1], 1e-300)), text=f"{rate:+.3f}", showarrow=False,
                yshift=10 if index else -10, row=1, col=col,
                font={"size": 11, "color": look(index)["colour"]},
            )  # fmt: skip
        fig.update_yaxes(title=title, row=1, col=col, **scale.axis())
        scales.append(scale)
    fig.update_xaxes(title="Length N of the orbit")
    explain_marks(fig, scales)
    note = "Numbers: growth of the logarithm a step, least squares over all lengths."
    return finish(fig, f"Slopes by length — {chosen.title}", [*chosen.notes(), note], 430)


def cost_plane(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """The cost over a plane of weights, logarithmic colours; a cross where it is 0."""
    chosen = select_trials(store, space, trial, "chaos_plane")
    rows = rows_of(store, chosen, "chaos_plane")
    s1, s2 = (sorted({r[key] for r in rows}) for key in ("s1", "s2"))
    values = {(r["s1"], r["s2"]): r["cost"] for r in rows}
    least = min(v for v in values.values() if v > 0)
    z = [[math.log10(max(values[a, b], least)) for a in s1] for b in s2]
    low, high = min(map(min, z)), max(map(max, z))
    ticks = log_ticks(low, high)
    bar = {
        "title": "V", "tickvals": [math.log10(v) for v in ticks], "ticktext": list(ticks.values()),
    }  # fmt: skip
    fig = go.Figure(go.Heatmap(x=s1, y=s2, z=z, colorscale="Viridis", colorbar=bar))
    fig.add_trace(
        go.Scatter(
            x=[1], y=[0], mode="markers", showlegend=False,
            marker={"symbol": "x-thin", "size": 14, "line": {"width": 3, "color": "#D55E00"}},
        )
    )  # fmt: skip
    fig.update_xaxes(title="s₁, along the line")
    fig.update_yaxes(title="s₂, towards random weights")
    note = "The cross marks the chaotic LSTM, where V is 0."
    title = f"Cost over a plane of weights — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), note], 520)


FIGURES = (
    Figure(bifurcation, table="chaos_scan", by=(), averages=False),
    Figure(
        attractor_plane, table="orbit_diagram", by=(), averages=False,
        options=(
            FigureOption("s", "float", "Factor of the weights; the nearest that was scanned.", 1.0),
            FigureOption("from_start", "str", "First state: standard or origin.", "standard"),
        ),
    ),
    Figure(cost_profile, table="chaos_cost", by=(), averages=False),
    Figure(cost_growth, table="chaos_length", by=(), averages=False),
    Figure(cost_plane, table="chaos_plane", by=(), averages=False),
)  # fmt: skip
