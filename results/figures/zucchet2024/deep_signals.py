"""Figures of study zucchet2024 on networks at initialisation: deep stacks, and a GRU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.config_values import value_text
from results.figures.declaration import Figure
from results.figures.panels import pick
from results.figures.selection import medians, rows_of, select_trials, series
from results.figures.style import explain_marks, finish
from results.figures.zucchet2024.signals import log_lines

if TYPE_CHECKING:
    from results.store.store import Store


def deep_signals(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figures 5 and 13: output of the last block and gradients of the first, against memory."""
    chosen = select_trials(store, space, trial, "deep_signals")
    rows = rows_of(store, chosen, "deep_signals")
    last = max(r["layer"] for r in rows)
    panels = (
        ("energy", 0, "E[y²], first block"), ("energy", last, "E[y²], last block"),
        ("eigenvalue_gradient", 0, "gradient², eigenvalues"),
        ("other_gradient", 0, "gradient², other parameters"),
    )  # fmt: skip
    kinds = dict.fromkeys((r["deep_cell"], r["norm"]) for r in rows)
    fig = make_subplots(2, 2, subplot_titles=[f"<b>{head}</b>" for _, _, head in panels],
                        horizontal_spacing=0.12, vertical_spacing=0.18)  # fmt: skip
    scales = []
    for at, (column, layer, _) in enumerate(panels):
        groups = {}
        for cell, norm in kinds:
            own = [
                r for r in rows if (r["deep_cell"], r["norm"], r["layer"]) == (cell, norm, layer)
            ]
            name = cell if norm == "none" else f"{cell}, {norm} norm"
            groups[name] = medians(own, "memory", column)
        row, col = at // 2 + 1, at % 2 + 1
        scales.append(log_lines(fig, groups, legend=at == 0, row=row, col=col))
    fig.update_xaxes(title="Memory t", row=2)
    explain_marks(fig, scales)
    note = "Medians over seeds. Gradients of the first block; a GRU has no eigenvalues."
    title = f"Deep networks at initialisation — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), note], 620, heads=1)


def gru_jacobian(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figure 12: entries of d h_t / d h_0 of a GRU, on and off the diagonal."""
    chosen = select_trials(store, space, trial, "gated_jacobian")
    rows = rows_of(store, chosen, "gated_jacobian")
    memories = sorted({r["memory_max"] for r in rows})
    heads = [f"<b>T in [1, {value_text(m)}]</b>" for m in memories]
    fig = make_subplots(1, len(memories), subplot_titles=heads, horizontal_spacing=0.08)
    scales = []
    for col, memory in enumerate(memories, 1):
        groups = {}
        for scale in sorted({r["scale_h"] for r in rows}):
            own = [r for r in rows if (r["memory_max"], r["scale_h"]) == (memory, scale)]
            steps, means = medians(own, "t", "diagonal")
            groups[f"on the diagonal, scale {value_text(scale)}"] = (
                steps,
                [abs(mean) for mean in means],
            )
            groups[f"off it, scale {value_text(scale)}"] = medians(own, "t", "off_diagonal")
        scales.append(log_lines(fig, groups, x_log=False, legend=col == 1, col=col))
    fig.update_xaxes(title="Time step t")
    fig.update_yaxes(title="Entry of ∂h<sub>t</sub>/∂h<sub>0</sub>", row=1, col=1)
    explain_marks(fig, scales)
    note = "On the diagonal: |mean entry|. Off it: root mean square. Medians over seeds."
    title = f"A GRU's Jacobian — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), note], 380, heads=1)


def gru_theory(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figures 14 and 15: energy and sensitivity of leaky units, closed form and simulated."""
    chosen = select_trials(store, space, trial, "gated_signals")
    rows = rows_of(store, chosen, "gated_signals")
    panels = {"energy": "E[h²]", "sensitivity": "E[(∂h/∂b<sub>z</sub>)²]"}
    fig = make_subplots(1, 2, subplot_titles=[f"<b>{v}</b>" for v in panels.values()],
                        horizontal_spacing=0.12)  # fmt: skip
    scales = []
    for col, column in enumerate(panels, 1):
        groups = {
            "closed form": medians(rows, "memory", column),
            "simulated": medians(rows, "memory", f"measured_{column}"),
        }
        scales.append(log_lines(fig, groups, legend=col == 1, col=col))
    fig.update_xaxes(title="Memory T")
    explain_marks(fig, scales)
    note = "Simulated over a finite horizon, which long memories do not settle in."
    title = f"Gates against theory — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), note], 380, heads=1)


def autocorrelation(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """How inputs correlate over time, and the fit by a slow component and white noise."""
    chosen = select_trials(store, space, trial, "autocorrelation")
    panels = pick(chosen)
    rows = series(store, "autocorrelation", "*", [p.id for p in panels], order="lag")
    heads = []
    for shown in panels:
        one = rows[shown.id][0]
        heads.append(f"<b>{shown.name}<br>{one['slow']:.4g} × {one['rho']:.5g}<sup>d</sup>, and "
                     f"{one['white']:.3g} at lag 0</b>")  # fmt: skip
    fig = make_subplots(1, len(panels), subplot_titles=heads, horizontal_spacing=0.1)
    scales = []
    for col, shown in enumerate(panels, 1):
        own = [r for r in rows[shown.id] if r["lag"] > 0]
        groups = {
            name: ([r["lag"] for r in own], [r[name] for r in own])
            for name in ("measured", "fitted")
        }
        scales.append(log_lines(fig, groups, x_log=False, legend=col == 1, col=col))
    fig.update_traces({"mode": "markers"}, {"name": "measured"})
    fig.update_traces({"mode": "lines"}, {"name": "fitted"})
    fig.update_xaxes(title="Lag d")
    fig.update_yaxes(title="R(d)", row=1, col=1)
    explain_marks(fig, scales)
    title = f"Autocorrelation of inputs — {chosen.title}"
    return finish(fig, title, chosen.notes(), 400, heads=2)


def gated_theory(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figures 14 and 15: a GRU whose gates read inputs and states, against the theory."""
    chosen = select_trials(store, space, trial, "gated_network")
    rows = rows_of(store, chosen, "gated_network")
    panels = {"energy": "E[h²]", "sensitivity": "E[(∂h/∂b<sub>z</sub>)²]"}
    fig = make_subplots(1, 2, subplot_titles=[f"<b>{v}</b>" for v in panels.values()],
                        horizontal_spacing=0.12)  # fmt: skip
    scales = []
    for col, column in enumerate(panels, 1):
        groups = {"closed form": medians(rows, "memory", column)}
        for pair in sorted({(r["scale_x"], r["scale_h"]) for r in rows}):
            own = [r for r in rows if (r["scale_x"], r["scale_h"]) == pair]
            name = "inputs {}, states {}".format(*map(value_text, pair))
            groups[name] = medians(own, "memory", f"measured_{column}")
        scales.append(log_lines(fig, groups, legend=col == 1, col=col))
    fig.update_xaxes(title="Memory T")
    explain_marks(fig, scales)
    note = "Medians over seeds. Scales of the gates' weights: of inputs, and of states. The closed "
    note += "form has constant gates, and sequences without end."
    title = f"Gates that read inputs and states — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), note], 420, heads=1)


_GATES = ("memory_min", "memory_max", "scale_x", "scale_h")  # leaky units have none

FIGURES = (
    Figure(deep_signals, table="deep_signals", by=("deep_cell", "norm", "memory")),
    Figure(gru_jacobian, table="gated_jacobian", by=("memory_max", "scale_h")),
    Figure(gru_theory, table="gated_signals", by=(), regardless=_GATES),
    Figure(autocorrelation, table="autocorrelation"),
    Figure(gated_theory, table="gated_network", by=("scale_x", "scale_h", "gate_memory")),
)
