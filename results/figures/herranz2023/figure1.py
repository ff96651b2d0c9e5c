"""Figure 1 of study herranz2023: paths through a recurrent grid, and the gradients they make."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.config_values import value_text
from results.figures.declaration import Figure
from results.figures.selection import Selection, select_trials, series
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

_GRID = (5, 3)
"""Steps through time and over depth of the grid that is drawn."""


def figure1a(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """A recurrent grid, the number of paths to each of its states, and three paths at random."""
    chosen = select_trials(store, space, trial, "paths")
    steps, layers = _GRID
    rows = store.sql(
        "SELECT steps, layers, paths, diagonal_paths FROM all_paths WHERE trial_id = $id "
        "AND steps <= $steps AND layers <= $layers",
        {"id": chosen.ids[0], "steps": steps, "layers": layers},
    ).rows()
    counts = {(row["steps"], row["layers"]): row for row in rows}
    far = counts.get(_GRID, {})
    forms = {
        "paths": ("rectangular", "h<sub>t−1,l</sub> and h<sub>t,l−1</sub>"),
        "diagonal_paths": ("diagonal", "h<sub>t−1,l</sub> and h<sub>t−1,l−1</sub>"),
    }
    heads = [
        f"<b>{name}</b><br><span style='font-size:13px'>h<sub>t,l</sub> from {states}; "
        f"{far.get(key, math.nan):g} paths to the far corner</span>"
        for key, (name, states) in forms.items()
    ]
    fig = make_subplots(1, 2, subplot_titles=heads, horizontal_spacing=0.1)
    for col, (key, up) in enumerate((("paths", (0, 1)), ("diagonal_paths", (1, 1))), 1):
        known = {place: row[key] for place, row in counts.items()}
        _edges(fig, known, up, row=1, col=col)
        _random_paths(fig, up, row=1, col=col)
        _states(fig, known, row=1, col=col)
    fig.update_xaxes(title="Time step t", dtick=1, range=[-0.5, steps + 0.5], showgrid=False)
    fig.update_yaxes(dtick=1, range=[-0.5, layers + 0.5], showgrid=False)
    fig.update_yaxes(title="Layer l", row=1, col=1)
    note = "In the circles: paths from the first state, as counted. Coloured: three of them."
    return finish(fig, f"Paths of a gradient — {chosen.title}", [note], 380, heads=2)


Place = tuple[int, int]


def _edges(fig: go.Figure, counts: Mapping[Place, float], up: Place, **at: Any) -> None:
    """Every step between states, grey."""
    x: list[int | None] = []
    y: list[int | None] = []
    for t, layer in (place for place, count in counts.items() if count):
        for dt, dl in ((1, 0), up):
            if (t + dt, layer + dl) in counts:
                x += [t, t + dt, None]
                y += [layer, layer + dl, None]
    line = {"color": "rgba(0,0,0,0.25)", "width": 1}
    fig.add_trace(
        go.Scatter(x=x, y=y, mode="lines", line=line, showlegend=False, hoverinfo="skip"), **at
    )


def _random_paths(fig: go.Figure, up: Place, **at: Any) -> None:
    steps, layers = _GRID
    draw = random.Random(2308)
    for index in range(3):
        moves = [up] * layers + [(1, 0)] * (steps - layers * up[0])
        draw.shuffle(moves)
        places = [(0, 0)]
        for move in moves:
            places.append((places[-1][0] + move[0], places[-1][1] + move[1]))
        shift = 0.05 * (index - 1)  # so that shared steps show both colours
        fig.add_trace(
            go.Scatter(
                x=[t + shift for t, _ in places], y=[layer - shift for _, layer in places],
                mode="lines", line={"color": COLOURS[index], "width": 3}, showlegend=False,
                hoverinfo="skip",
            ),
            **at,
        )  # fmt: skip


def _states(fig: go.Figure, counts: Mapping[Place, float], **at: Any) -> None:
    reached = {place: count for place, count in counts.items() if count}
    fig.add_trace(
        go.Scatter(
            x=[t for t, _ in reached], y=[layer for _, layer in reached], mode="markers+text",
            text=[f"{count:g}" for count in reached.values()], showlegend=False,
            marker={"size": 28, "color": "white", "line": {"color": "#333333", "width": 1.5}},
            hovertemplate="t %{x}, layer %{y}: %{text} paths<extra></extra>",
        ),
        **at,
    )  # fmt: skip


def figure1b(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Growth of the number of paths through a grid with time, with depth and with both."""
    chosen = select_trials(store, space, trial, "binomial")
    rows = series(store, "binomial", "curve, steps, layers, log10_paths", chosen.ids[:1],
                  order="curve, steps, layers")[chosen.ids[0]]  # fmt: skip
    curves = {
        "time": ("steps", "Time steps T, at 5 layers"),
        "depth": ("layers", "Layers L, at 5 steps"),
        "both": ("layers", "Layers L, at T = 100 L steps"),
    }
    fig = make_subplots(1, 3, horizontal_spacing=0.08)
    for col, (curve, (x, title)) in enumerate(curves.items(), 1):
        own = [row for row in rows if row["curve"] == curve]
        fig.add_trace(
            go.Scatter(
                x=[row[x] for row in own], y=[row["log10_paths"] for row in own], mode="lines",
                showlegend=False, line={"color": COLOURS[0], "width": 2.5},
                hovertemplate="%{x}: 10<sup>%{y:.4g}</sup> paths<extra></extra>",
            ),
            row=1, col=col,
        )  # fmt: skip
        fig.update_xaxes(title=title, row=1, col=col)
    ticks = log_ticks(0, 4)
    fig.update_xaxes(
        {"type": "log", "tickvals": list(ticks), "ticktext": list(ticks.values())}, row=1, col=1
    )
    fig.update_yaxes(rangemode="tozero")
    fig.update_yaxes(title="log<sub>10</sub> of the number of paths", row=1, col=1)
    title = f"Growth of paths — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), _corners(store, chosen)], 380)


def _corners(store: Store, chosen: Selection) -> str:
    """What the paths to the far corner add up to, for each pair of weights."""
    rows = store.sql(
        "SELECT trial_id, max(steps) AS steps, max(layers) AS layers, "
        "arg_max(weighted, steps + layers) AS weighted FROM all_paths "
        "WHERE trial_id IN (SELECT unnest($ids)) GROUP BY trial_id",
        {"ids": chosen.ids},
    ).rows()
    found = {row["trial_id"]: row for row in rows}
    sums = [
        f"{found[shown.id]['weighted']:.3g} where they are {value_text(shown.config['rho_t'])} and "
        f"{value_text(shown.config['rho_l'])}"
        for shown in chosen.trials
        if shown.id in found
    ]
    if not sums:
        return ""
    one = rows[0]
    return (
        f"With a weight for each step through time and one for each over depth, the paths over "
        f"{one['steps']} steps and {one['layers']} layers add up to {'; '.join(sums)}."
    )


def figure1c(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Gradient of a recurrent grid against time, measured and in closed form."""
    chosen = select_trials(store, space, trial, "pascal")
    rows = store.sql(
        "SELECT trial_id, t, max(t) OVER (PARTITION BY trial_id) + 1 - t AS steps, "
        "median(gradient) AS gradient, median(closed_form) AS closed_form "
        "FROM all_pascal WHERE trial_id IN (SELECT unnest($ids)) GROUP BY trial_id, t "
        "ORDER BY trial_id, t",
        {"ids": chosen.ids},
    ).rows()
    panels = {"linear": "linear, one unit a layer", "he": "ReLU, He-uniform weights"}
    panels = {k: v for k, v in panels.items()
              if any(t.config.get("grid_rule") == k for t in chosen.trials)}  # fmt: skip
    fig = make_subplots(1, len(panels), subplot_titles=[f"<b>{v}</b>" for v in panels.values()],
                        horizontal_spacing=0.1)  # fmt: skip
    scales = []
    weights = sorted({float(shown.config["rho"]) for shown in chosen.trials})
    for col, rule in enumerate(panels, 1):
        scale = LogScale(least_decades=1.0)
        found = {rho: _by_step(chosen, rows, rule, rho) for rho in weights}
        for own in found.values():
            scale.see(gradient for gradient, _ in own.values())
        for index, (rho, own) in enumerate(found.items()):
            _pascal(
                fig,
                own,
                scale,
                f"ρ = {value_text(rho)}",
                look(index),
                legend=col == 1,
                row=1,
                col=col,
            )
        fig.update_xaxes(title="Time step t of the input", row=1, col=col)
        fig.update_yaxes(row=1, col=col, **scale.axis())
        scales.append(scale)
    fig.update_yaxes(title="|∂ Σ y / ∂x<sub>t</sub>|", row=1, col=1)
    fig.add_trace(
        go.Scatter(x=[None], y=[None], mode="lines", name="closed form",
                   line={"color": "#444444", "width": 1.5})
    )  # fmt: skip
    explain_marks(fig, scales)
    note = "Markers: by automatic differentiation, median over samples and seeds."
    title = f"Gradients of recurrent grids — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), note], 430, heads=1)


def _by_step(
    chosen: Selection, rows: Sequence[Mapping[str, Any]], rule: str, rho: float
) -> dict[int, tuple[float, float]]:
    """t -> (gradient, closed form), medians over the trials of a rule and weight."""
    ids = {t.id for t in chosen.trials if (t.config["grid_rule"], t.config["rho"]) == (rule, rho)}
    found: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        if row["trial_id"] in ids:
            found.setdefault(row["t"], []).append((row["gradient"], row["closed_form"]))
    return {
        t: (statistics.median(g for g, _ in pairs), statistics.median(c for _, c in pairs))
        for t, pairs in sorted(found.items())
    }


def _pascal(
    fig: go.Figure,
    own: Mapping[int, tuple[float, float]],
    scale: LogScale,
    name: str,
    style: dict[str, Any],
    legend: bool,
    **place: Any,
) -> None:
    closed = {t: c for t, (_, c) in own.items() if c is not None and math.isfinite(c)}
    if closed:
        fig.add_trace(
            go.Scatter(
                x=list(closed), y=list(closed.values()), mode="lines", showlegend=False,
                legendgroup=name, hoverinfo="skip", line={"color": style["colour"], "width": 1.5},
            ),
            **place,
        )  # fmt: skip
    every, last = max(1, len(own) // 20), len(own) - 1
    kept = {t: g for at, (t, (g, _)) in enumerate(own.items()) if at % every == 0 or at == last}
    draw_series(fig, list(kept), list(kept.values()), scale, name, style, legend=legend, **place)
    if closed:  # the line through the markers is the closed form's
        fig.data[-1].update(mode="markers")


FIGURES = (
    Figure(figure1a, table="paths"),  # counts of paths, which no key changes
    Figure(figure1b, table="binomial", by=("rho_t", "rho_l"), averages=False),
    Figure(figure1c, table="pascal", by=("grid_rule", "rho")),
)
