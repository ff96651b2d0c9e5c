"""Figures of study zucchet2024 of the loss around the optimum of one unit that learns another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.config_values import value_text
from results.figures.declaration import Figure
from results.figures.selection import rows_of, select_trials
from results.figures.style import finish, look
from results.figures.zucchet2024.signals import log_lines

if TYPE_CHECKING:
    from results.store.store import Store

_FORMS = {"polar": "θ = w", "exp": "θ = exp w", "opt": "θ = w (1−ν²)/(ν√(1+ν²))"}
_RULES = {"sign": "sign descent, as published", "adam": "Adam"}
_FLOOR = 1e-4
"""Losses below are drawn so."""


def coordinate(modulus: float, phase: float, form: str) -> float:
    """The parameter of a phase, in one of three forms (docs/specs/zucchet2024.md, 5.3)."""
    if form == "exp":
        return math.log(phase) if phase > 0 else math.nan
    if form == "opt":
        return phase * modulus * math.sqrt(1 + modulus**2) / (1 - modulus**2)
    return phase


def landscape_path(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figure 7, upper row: the loss over both parameters, and the paths that training takes."""
    chosen = select_trials(store, space, trial, "landscape")
    maps = rows_of(store, select_trials(store, space, None, "landscape_map"), "landscape_map")
    paths = rows_of(store, chosen, "landscape")
    forms = [f for f in _FORMS if any(r["phase_form"] == f for r in maps)]
    fig = make_subplots(1, len(forms), subplot_titles=[f"<b>{f}: {_FORMS[f]}</b>" for f in forms],
                        shared_yaxes=True, horizontal_spacing=0.03)  # fmt: skip
    for col, form in enumerate(forms, 1):
        own = [r for r in maps if r["phase_form"] == form]
        fig.add_trace(
            go.Heatmap(
                x=[r["coordinate"] for r in own], y=[r["modulus"] for r in own],
                z=[math.log10(max(r["loss"], _FLOOR)) for r in own], colorscale="Viridis",
                showscale=col == len(forms), zmin=math.log10(_FLOOR), zmax=2.5,
                colorbar={"title": "log<sub>10</sub> loss"},
            ),
            row=1, col=col,
        )  # fmt: skip
        ends = [min(r["coordinate"] for r in own), max(r["coordinate"] for r in own)]
        for index, (rule, name) in enumerate(_RULES.items()):
            path = sorted(
                (r for r in paths if (r["phase_form"], r["landscape_rule"]) == (form, rule)),
                key=lambda r: r["step"],
            )
            if path:
                colour = ("#FFFFFF", "#D55E00")[index]
                fig.add_trace(
                    go.Scatter(
                        x=[coordinate(r["modulus"], r["phase"], form) for r in path],
                        y=[r["modulus"] for r in path], mode="lines", name=name, legendgroup=rule,
                        showlegend=col == 1,
                        line={"color": colour, "width": 3, "dash": ("solid", "dot")[index]},
                    ),
                    row=1, col=col,
                )  # fmt: skip
        nu, theta = own[0]["target_modulus"], own[0]["target_phase"]
        fig.add_trace(
            go.Scatter(
                x=[coordinate(nu, theta, form)], y=[nu], mode="markers", name="target",
                showlegend=col == 1, legendgroup="target",
                marker={"symbol": "star", "size": 15, "color": "#F0E442",
                        "line": {"width": 1, "color": "#000000"}},
            ),
            row=1, col=col,
        )  # fmt: skip
        fig.update_xaxes(title="w<sub>θ</sub>", range=ends, row=1, col=col)
    least, most = (f(r["modulus"] for r in maps) for f in (min, max))
    fig.update_yaxes(range=[least, most])
    fig.update_yaxes(title="Modulus ν", row=1, col=1)
    note = "Start: phase π/4 at the target's modulus. White on the map: sign descent."
    title = f"Learning a phase — {chosen.title}"
    fig = finish(fig, title, [*chosen.notes(), note], 420, heads=1)
    return fig.update_layout(margin={"r": 110}, legend={"bgcolor": "#CCCCCC"})


def unit_lines(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figure 6: loss and curvature along modulus and phase, away from the optimum."""
    chosen = select_trials(store, space, trial, "unit_lines")
    rows = rows_of(store, chosen, "unit_lines")
    targets = sorted({r["target"] for r in rows})
    panels = [(d, c) for d in ("nu", "theta") for c in ("loss", "curvature")]
    words = {"nu": "ν", "theta": "θ"}
    heads = [f"<b>{form}: {column} along {words[direction]}</b>" for direction, column in panels
             for form in _FORMS]  # fmt: skip
    fig = make_subplots(4, 3, subplot_titles=heads, horizontal_spacing=0.08, vertical_spacing=0.075)
    for line, (direction, column) in enumerate(panels, 1):
        for col, form in enumerate(_FORMS, 1):
            groups = {}
            for target in targets:
                own = sorted(
                    (r for r in rows
                     if (r["form"], r["direction"], r["target"]) == (form, direction, target)),
                    key=lambda r: r["shift"],
                )  # fmt: skip
                y = [abs(r[column]) if abs(r[column]) > 1e-9 else math.nan for r in own]
                groups[f"λ* = {value_text(round(target, 9))}"] = [r["shift"] for r in own], y
            log_lines(fig, groups, x_log=False, legend=(line, col) == (1, 1), row=line, col=col)
            for index, target in enumerate(targets):
                under = [r for r in rows if (r["form"], r["direction"], r["target"])
                         == (form, direction, target) and r[column] < -1e-9]  # fmt: skip
                if column == "curvature" and under:
                    fig.add_trace(
                        go.Scatter(
                            x=[r["shift"] for r in under], y=[-r[column] for r in under],
                            mode="markers", showlegend=False,
                            marker={"symbol": "circle-open", "size": 4,
                                    "color": look(index)["colour"]},
                        ),
                        row=line, col=col,
                    )  # fmt: skip
    fig.update_traces({"mode": "lines"}, {"mode": "lines+markers"})
    fig.update_xaxes(title="w − w*", row=4)
    note = "The other parameter is at its optimum; phase to learn π/100. Both units normalised. "
    note += "Rings: the curvature is negative there."
    title = f"Around the optimum — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), note], 1000, heads=1)


FIGURES = (
    Figure(landscape_path, table="landscape", by=("landscape_rule", "phase_form"), averages=False),
    Figure(unit_lines, table="unit_lines", by=(), averages=False),
)
