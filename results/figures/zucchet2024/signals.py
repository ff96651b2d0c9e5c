"""Figures of study zucchet2024 that need no sweep: signals, losses and Hessians of linear units."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.config_values import value_text
from results.figures.declaration import Figure
from results.figures.selection import Row, Selection, known, rows_of, select_trials
from results.figures.style import LogScale, draw_series, explain_marks, finish, look, power

if TYPE_CHECKING:
    from results.store.store import Store


def log_lines(
    fig: go.Figure, groups: Mapping[str, tuple[Sequence[float], Sequence[float]]], *,
    x_log: bool = True, legend: bool = True, row: int = 1, col: int = 1,
) -> LogScale:  # fmt: skip
    """A line for each group on logarithmic axes; NaN is no point."""
    scale = LogScale(least_decades=1.0)
    kept = {n: [(a, b) for a, b in zip(x, y, strict=True) if known(b)]
            for n, (x, y) in groups.items()}  # fmt: skip
    for pairs in kept.values():
        scale.see(b for _, b in pairs)
    for index, (name, pairs) in enumerate(kept.items()):
        if pairs:
            x, y = zip(*pairs, strict=True)
            draw_series(fig, x, y, scale, name, look(index), legend=legend, row=row, col=col)
    fig.update_yaxes(row=row, col=col, **scale.axis())
    if x_log:
        fig.update_xaxes(type="log", row=row, col=col)
    return scale


def signal_energy(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figures 1A and 2: energy of a unit's state and of its derivative, against memory."""
    chosen = select_trials(store, space, trial, "scalar_signals")
    rows = rows_of(store, chosen, "scalar_signals")
    panels = {
        "energy": "E[h²]", "sensitivity": "E[(∂h/∂λ)²]",
        "normalised_energy": "(1−λ²) E[h²]", "normalised_sensitivity": "(1−λ²) E[(∂h/∂ω)²]",
    }  # fmt: skip
    fig = make_subplots(2, 2, subplot_titles=[f"<b>{v}</b>" for v in panels.values()],
                        horizontal_spacing=0.12, vertical_spacing=0.18)  # fmt: skip
    scales = []
    for at, name in enumerate(panels):
        groups = {}
        row, col = at // 2 + 1, at % 2 + 1
        for rho in sorted({r["rho"] for r in rows}):
            own = sorted((r for r in rows if r["rho"] == rho and r["lambda"] > 0),
                         key=lambda r: r["lambda"])  # fmt: skip
            groups[f"ρ = {value_text(rho)}"] = (
                [1 / (1 - r["lambda"]) for r in own], [r[name] for r in own],
            )  # fmt: skip
            if f"measured_{name}" in rows[0]:
                seen = [r for r in own if known(r[f"measured_{name}"])]
                fig.add_trace(
                    go.Scatter(
                        x=[1 / (1 - r["lambda"]) for r in seen], showlegend=False, mode="markers",
                        y=[r[f"measured_{name}"] for r in seen],
                        marker={"symbol": "circle-open", "size": 9, "color": "#444444"},
                    ),
                    row=row, col=col,
                )  # fmt: skip
        scales.append(log_lines(fig, groups, legend=at == 0, row=row, col=col))
    fig.update_traces({"mode": "lines"}, {"mode": "lines+markers"})
    fig.update_xaxes(title="Memory 1/(1−λ)", row=2)
    explain_marks(fig, scales)
    note = "Lines: closed forms. Circles: simulated, where it has settled. ω: λ = exp(−exp ω)."
    title = f"Signals in a linear unit — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), note], 620, heads=1)


def unit_loss(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figures 1BC and 6: loss of a unit that learns another, and curvature at the optimum."""
    chosen = select_trials(store, space, trial, "unit_loss")
    rows = sorted(rows_of(store, chosen, "unit_loss"), key=lambda r: r["student"])
    bends = sorted(rows_of(store, chosen, "unit_curvature"), key=lambda r: r["target"])
    heads = ("loss", "normalised loss", "curvature at the optimum")
    fig = make_subplots(1, 3, subplot_titles=[f"<b>{h}</b>" for h in heads],
                        horizontal_spacing=0.09)  # fmt: skip
    targets = sorted({r["target"] for r in rows})
    for col, name in enumerate(("loss", "normalised_loss"), 1):
        groups = {}
        for target in targets:
            own = [r for r in rows if r["target"] == target and r[name] > 1e-9]
            groups[f"λ* = {target:.2f}"] = [r["student"] for r in own], [r[name] for r in own]
        log_lines(fig, groups, x_log=False, legend=col == 1, col=col)
        fig.update_xaxes(title="λ", row=1, col=col)
    groups = {}
    for form in sorted({r["form"] for r in bends}):
        own = [r for r in bends if r["form"] == form]
        groups[form] = [1 / (1 - r["target"]) for r in own], [r["curvature"] for r in own]
    log_lines(fig, groups, col=3)
    for col in (1, 2):
        fig.update_traces(mode="lines", row=1, col=col)
    fig.update_xaxes(title="1/(1−λ*)", row=1, col=3)
    title = f"A unit that learns another — {chosen.title}"
    return finish(fig, title, chosen.notes(), 400, heads=1)


def landscape(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figure 7: training a unit by the gradient's sign, as published, and by Adam."""
    chosen = select_trials(store, space, trial, "landscape")
    rows = rows_of(store, chosen, "landscape")
    rules = [r for r in ("sign", "adam") if any(row["landscape_rule"] == r for row in rows)]
    names = {"sign": "sign descent, as published", "adam": "Adam"}
    fig = make_subplots(1, len(rules), subplot_titles=[f"<b>{names[r]}</b>" for r in rules],
                        horizontal_spacing=0.12)  # fmt: skip
    first = []
    for col, rule in enumerate(rules, 1):
        groups = {}
        for form in dict.fromkeys(r["phase_form"] for r in rows):
            own = [r for r in rows if (r["landscape_rule"], r["phase_form"]) == (rule, form)]
            own.sort(key=lambda r: r["step"])
            if own:
                groups[form] = [r["step"] + 1 for r in own], [max(r["loss"], 1e-15) for r in own]
                when = own[0]["first_below"]
                first.append(f"{rule} {form} {when if when >= 0 else 'never'}")
        log_lines(fig, groups, legend=col == 1, col=col)
    fig.update_traces(mode="lines")
    fig.update_xaxes(title="Step + 1")
    fig.update_yaxes(title="Loss", row=1, col=1)
    note = f"First step below .01: {', '.join(first)}. Losses below 1e-15 are drawn there."
    title = f"Learning a phase — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), note], 400, heads=1)


def coupling(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figure 8: how an eigenvalue's derivative is coupled to that of .99 exp(iπ/4)."""
    chosen = select_trials(store, space, trial, "coupling")
    rows = rows_of(store, chosen, "coupling")
    rhos = sorted({r["rho"] for r in rows})
    fig = make_subplots(1, len(rhos), subplot_titles=[f"<b>ρ = {value_text(r)}</b>" for r in rhos],
                        shared_yaxes=True, horizontal_spacing=0.02)  # fmt: skip
    values = [math.log10(r["size"]) for r in rows if r["size"] > 0]
    ends = {"zmin": min(values), "zmax": max(values)}
    for col, rho in enumerate(rhos, 1):
        own = [r for r in rows if r["rho"] == rho]
        fig.add_trace(
            go.Heatmap(
                x=[r["phase"] / math.pi for r in own], showscale=col == len(rhos),
                y=[-math.log10(1 - r["modulus"]) for r in own],
                z=[math.log10(max(r["size"], 1e-30)) for r in own], colorscale="Viridis",
                colorbar={"title": "log<sub>10</sub>|S|"}, **ends,
            ),
            row=1, col=col,
        )  # fmt: skip
    fig.update_xaxes(title="arg λ / π", range=[-1, 1], tickvals=[-0.5, 0, 0.5])
    fig.update_yaxes(title="−log<sub>10</sub>(1 − |λ|)", row=1, col=1)
    title = f"Coupling with .99 exp(iπ/4) — {chosen.title}"
    fig = finish(fig, title, chosen.notes(), 330, heads=1)
    return fig.update_layout(margin={"r": 110})


def sector_hessian(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figure 10, left: spectra of a diagonal system's Hessian against its largest phase."""
    chosen = select_trials(store, space, trial, "diagonal_hessian")
    rows = rows_of(store, chosen, "diagonal_hessian")
    return _boxes(chosen, rows, "sector", "Largest phase θ₀", {
        "top": "largest eigenvalue", "condition": "condition number",
        "off_diagonal": "share off the diagonal",
    }, "Concentrated phases", lambda v: f"{v / math.pi:.3g} π")  # fmt: skip


def optimal_hessian(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figures 4 and 9: eigenvalues and participation ratios at the optimum, by coordinates."""
    chosen = select_trials(store, space, trial, "optimal_hessian")
    rows = rows_of(store, chosen, "optimal_hessian")
    fig = make_subplots(1, 2, horizontal_spacing=0.12,
                        subplot_titles=["<b>eigenvalue by rank</b>",
                                        "<b>participation ratio, top 4</b>"])  # fmt: skip
    groups = {}
    known = {r["coordinates"] for r in rows}
    for form in (f for f in ("rnn", "complex", "lru", "s4") if f in known):
        own = [r for r in rows if r["coordinates"] == form]
        ranks = sorted({r["rank"] for r in own})
        middle = [statistics.median(abs(r["eigenvalue"]) for r in own if r["rank"] == k)
                  for k in ranks]  # fmt: skip
        groups[form] = [k + 1 for k in ranks], middle
    scale = log_lines(fig, groups, x_log=False)
    for index, form in enumerate(groups):
        ratios: dict[int, list[float]] = {}
        for r in rows:
            if r["coordinates"] == form and r["rank"] < 4:
                ratios.setdefault(r["draw"], []).append(r["participation"])
        box = go.Box(y=[statistics.fmean(v) for v in ratios.values()], name=form,
                     showlegend=False, marker={"color": look(index)["colour"]})  # fmt: skip
        fig.add_trace(box, row=1, col=2)
    explain_marks(fig, [scale])
    fig.update_xaxes(title="Rank", row=1, col=1)
    fig.update_yaxes(title="Parameters", rangemode="tozero", row=1, col=2)
    note = "Left: medians over systems. By theory 2n + 1 = 9 eigenvalues are not rounding."
    title = f"Hessians at the optimum — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), note], 400, heads=1)


def _boxes(
    chosen: Selection, rows: Sequence[Row], key: str, axis: str, panels: Mapping[str, str],
    title: str, text: Any,
) -> go.Figure:  # fmt: skip
    fig = make_subplots(1, len(panels), subplot_titles=[f"<b>{v}</b>" for v in panels.values()],
                        horizontal_spacing=0.1)  # fmt: skip
    for col, name in enumerate(panels, 1):
        for index, value in enumerate(sorted({r[key] for r in rows})):
            y = [max(r[name], 1e-8) for r in rows if r[key] == value]
            box = go.Box(y=y, name=text(value), showlegend=False,
                         marker={"color": look(index)["colour"]})  # fmt: skip
            fig.add_trace(box, row=1, col=col)
        y = [math.log10(max(r[name], 1e-8)) for r in rows]
        ticks = range(math.floor(min(y)), math.ceil(max(y)) + 1, 2)
        fig.update_yaxes(type="log", tickvals=[10.0**e for e in ticks],
                         ticktext=[power(e) for e in ticks], row=1, col=col)  # fmt: skip
    fig.update_xaxes(title=axis)
    return finish(fig, f"{title} — {chosen.title}", chosen.notes(), 400, heads=1)


FIGURES = (
    Figure(signal_energy, table="scalar_signals", by=(), averages=False),
    Figure(unit_loss, table="unit_loss", by=(), averages=False),
    Figure(landscape, table="landscape", by=("landscape_rule", "phase_form"), averages=False),
    Figure(coupling, table="coupling", by=(), averages=False),
    Figure(sector_hessian, table="diagonal_hessian", by=("sector",)),
    Figure(optimal_hessian, table="optimal_hessian", by=("coordinates",)),
)
