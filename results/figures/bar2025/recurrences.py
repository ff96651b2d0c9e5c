"""Figures of study bar2025 on its recurrences: radii, growth, memory, eigenvalues."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.errors import StoreError
from results.figures.declaration import Figure
from results.figures.selection import rows_of, select_trials, series
from results.figures.style import LogScale, draw_series, explain_marks, finish, look

if TYPE_CHECKING:
    from results.store.store import Store

Row = dict[str, Any]
INITS = ("glorot", "rescaled", "calibrated", "halved_glorot")


def _inits(rows: Iterable[Row]) -> list[str]:
    found = dict.fromkeys(row["init"] for row in rows)
    return sorted(found, key=lambda i: (INITS.index(i) if i in INITS else len(INITS), i))


def radius_law(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Spectral radii by width and init, beside the measured means and the edge law."""
    chosen = select_trials(store, space, trial, "radii")
    rows = rows_of(store, chosen, "radii")
    widths = sorted({row["matrix_width"] for row in rows})
    fig = go.Figure()
    for index, init in enumerate(_inits(rows)):
        own = [row for row in rows if row["init"] == init]
        style = look(index)
        fig.add_trace(
            go.Box(
                x=[str(row["matrix_width"]) for row in own], y=[row["radius"] for row in own],
                name=init, offsetgroup=init, marker={"color": style["colour"], "size": 3},
                line={"width": 1.5},
            )
        )  # fmt: skip
    first = [row for row in rows if row["init"] == "glorot" and row["draw"] == 0]
    marks = {"table_mean": ("measured mean, glorot", "diamond"),
             "edge_mean": ("edge law, mean, glorot", "x")}  # fmt: skip
    for column, (name, symbol) in marks.items():
        known = [row for row in first if row[column] is not None and row[column] == row[column]]
        fig.add_trace(
            go.Scatter(
                x=[str(row["matrix_width"]) for row in known], y=[row[column] for row in known],
                mode="markers", name=name,
                marker={"symbol": symbol, "size": 11, "color": "#000000"},
            )
        )  # fmt: skip
    fig.add_hline(y=1, line={"dash": "dot", "color": "#555555", "width": 1.5})
    fig.update_xaxes(title="Width n", type="category", categoryorder="array",
                     categoryarray=[str(width) for width in widths])  # fmt: skip
    fig.update_yaxes(title="Spectral radius")
    fig.update_layout(boxmode="group")
    note = "The same matrices under every init; rescaled has no value below width 164."
    return finish(fig, f"Spectral radii — {chosen.title}", [*chosen.notes(), note], 430)


def _size(row: Row) -> tuple[int, int]:
    return int(row["matrix_width"]), int(row["length"])


def _middle(values: Sequence[float]) -> float:
    """The median, in which what is not finite is the worst."""
    return statistics.median(v if v is not None and math.isfinite(v) else math.inf for v in values)


def growth(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """State and gradient norm over time by init, medians over seeds, with the first overflow."""
    chosen = select_trials(store, space, trial, "divergence")
    rows, ends = (rows_of(store, chosen, probe) for probe in ("divergence", "overflow"))
    sizes = sorted({_size(row) for row in rows})
    heads = [f"<b>n = {n}, T = {t}</b>" for n, t in sizes]
    fig = make_subplots(2, len(sizes), subplot_titles=heads, horizontal_spacing=0.09,
                        vertical_spacing=0.12, shared_xaxes=True)  # fmt: skip
    panels, scales = {"state_norm": "|h<sub>t</sub>| / √n", "grad_norm": "|dL/dh<sub>t</sub>|"}, []
    for at, column in enumerate(panels, 1):
        for col, size in enumerate(sizes, 1):
            scale, lines = LogScale(least_decades=1.0), {}
            for init in _inits(rows):
                values: dict[int, list[float]] = {}
                for row in rows:
                    if row["init"] == init and _size(row) == size:
                        values.setdefault(row["t"], []).append(row[column])
                lines[init] = sorted(values), [_middle(values[t]) for t in sorted(values)]
                scale.see(lines[init][1])
            for index, (init, (x, y)) in enumerate(lines.items()):
                draw_series(fig, x, y, scale, init, look(index), legend=at == col == 1, row=at,
                            col=col)  # fmt: skip
            fig.update_yaxes(row=at, col=col, **scale.axis())
            scales.append(scale)
        fig.update_yaxes(title=panels[column], row=at, col=1)
    fig.update_traces(marker={"size": 3}, selector={"mode": "lines+markers"})
    explain_marks(fig, scales)
    fig.update_xaxes(title="Time step t", row=2)
    title = f"One layer over a long input — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), *_overflows(ends)], 620, heads=1)


def _overflows(ends: Sequence[Row]) -> list[str]:
    said = []
    for size in sorted({_size(row) for row in ends}):
        counts = []
        for init in _inits(ends):
            own = [row for row in ends if row["init"] == init and _size(row) == size]
            bad = [row["overflow_step"] for row in own if row["overflow_step"] >= 0]
            first = f", first at {min(bad)}" if bad else ""
            counts.append(f"{init} {len(bad)}/{len(own)}{first}")
        said.append(f"States not finite at n = {size[0]}, T = {size[1]}: {'; '.join(counts)}.")
    return ["Medians over seeds, in which what is not finite is the worst.", *said]


def overflow_steps(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """The step at which a state overflows against what its own radius says."""
    chosen = select_trials(store, space, trial, "overflow")
    rows = [row for row in rows_of(store, chosen, "overflow") if row["overflow_step"] >= 0]
    if not rows:
        raise StoreError(f"no trial of {chosen.title} overflowed; choose the figure growth.")
    fig = go.Figure()
    most = max(max(row["overflow_step"], row["expected_step"]) for row in rows)
    fig.add_trace(go.Scatter(x=[0, most], y=[0, most], mode="lines", name="88.7 / ln ρ",
                             line={"dash": "dot", "color": "#555555"}))  # fmt: skip
    for index, size in enumerate(sorted({_size(row) for row in rows})):
        own, style = [row for row in rows if _size(row) == size], look(index)
        fig.add_trace(
            go.Scatter(
                x=[row["expected_step"] for row in own], y=[row["overflow_step"] for row in own],
                mode="markers", name=f"n = {size[0]}, T = {size[1]}",
                marker={"symbol": style["symbol"], "color": style["colour"], "size": 10},
                customdata=[[row["radius"], row["seed"]] for row in own],
                hovertemplate="ρ %{customdata[0]:.4f}, seed %{customdata[1]}<extra></extra>",
            )
        )  # fmt: skip
    fig.update_xaxes(title="88.7 / ln of the trial's own radius (steps)", rangemode="tozero")
    fig.update_yaxes(title="First step not finite", rangemode="tozero")
    ratios = [row["overflow_step"] / row["expected_step"] for row in rows]
    note = f"{len(rows)} trials overflowed, at {min(ratios):.2f} to {max(ratios):.2f} of it."
    title = f"Where float32 ends — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), note], 460)


def delay_memory(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """How well the input of d steps ago is decoded from noisy states, by init."""
    chosen = select_trials(store, space, trial, "delay_memory")
    rows = rows_of(store, chosen, "delay_memory")
    widths = sorted({row["matrix_width"] for row in rows})
    fig = make_subplots(1, len(widths), subplot_titles=[f"<b>n = {n}</b>" for n in widths],
                        shared_yaxes=True, horizontal_spacing=0.05)  # fmt: skip
    for col, width in enumerate(widths, 1):
        for index, init in enumerate(_inits(rows)):
            own: dict[int, list[float]] = {}
            for row in rows:
                if (row["init"], row["matrix_width"]) == (init, width):
                    own.setdefault(row["delay"], []).append(row["r2"])
            style, delays = look(index), sorted(own)
            fig.add_trace(
                go.Scatter(
                    x=delays, y=[statistics.median(own[d]) for d in delays], name=init,
                    mode="lines+markers", legendgroup=init, showlegend=col == 1,
                    line={"color": style["colour"], "dash": style["dash"]},
                    marker={"symbol": style["symbol"], "size": 5},
                ),
                row=1, col=col,
            )  # fmt: skip
    fig.update_xaxes(title="Delay d (steps)")
    fig.update_yaxes(title="R², held out", range=[-0.1, 1.05], row=1, col=1)
    fig.update_yaxes(range=[-0.1, 1.05])
    title = f"Memory at initialisation — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), "Medians over seeds."], 400, heads=1)


def eigenvalue_plane(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Eigenvalues of one trial in the plane, at initialisation and at its last epoch."""
    chosen = select_trials(store, space, trial, "eigenvalues")
    one = chosen.trials[0]
    found = series(store, "eigenvalues", "*", [one.id], order="epoch, layer, unit")[one.id]
    epoch = max(row["epoch"] for row in found)
    rows = [row for row in found if row["epoch"] == epoch]
    heads = ["<b>at initialisation</b>", f"<b>after epoch {epoch}</b>"]
    fig = make_subplots(1, 2, subplot_titles=heads, horizontal_spacing=0.1)
    turn = [2 * math.pi * i / 200 for i in range(201)]
    reach = 1.08 * max(1.0, *(abs(row[c]) for row in rows for c in ("re", "im", "first_re",
                                                                    "first_im")))  # fmt: skip
    for col, prefix in enumerate(("first_", ""), 1):
        circle = go.Scatter(x=[math.cos(a) for a in turn], y=[math.sin(a) for a in turn],
                            mode="lines", showlegend=False,
                            line={"color": "#999999", "width": 1})  # fmt: skip
        fig.add_trace(circle, row=1, col=col)
        for layer in sorted({row["layer"] for row in rows}):
            own, style = [row for row in rows if row["layer"] == layer], look(layer)
            points = go.Scatter(
                x=[row[f"{prefix}re"] for row in own], y=[row[f"{prefix}im"] for row in own],
                mode="markers", name=f"layer {layer}", legendgroup=str(layer),
                showlegend=col == 1,
                marker={"size": 5, "color": style["colour"], "symbol": style["symbol"]},
            )  # fmt: skip
            fig.add_trace(points, row=1, col=col)
        fig.update_xaxes(title="Re λ", range=[-reach, reach], row=1, col=col)
        fig.update_yaxes(range=[-reach, reach], scaleanchor=f"x{'' if col == 1 else col}", row=1,
                         col=col)  # fmt: skip
    fig.update_yaxes(title="Im λ", row=1, col=1)
    outside = [sum(math.hypot(r[f"{p}re"], r[f"{p}im"]) > 1 for r in rows) for p in ("first_", "")]
    note = (f"Trial {one.id} ({one.name}). Outside the unit circle: {outside[0]} of {len(rows)} at "
            f"initialisation, {outside[1]} at the end. --trial ID shows any other.")  # fmt: skip
    return finish(fig, f"Eigenvalues — {chosen.title}", [note], 430, heads=1)


FIGURES = (
    Figure(radius_law, table="radii", by=("matrix_width",)),
    Figure(growth, table="divergence", by=("init", "matrix_width", "length")),
    Figure(overflow_steps, table="overflow"),
    Figure(delay_memory, table="delay_memory", by=("init", "matrix_width")),
    Figure(eigenvalue_plane, table="eigenvalues"),
)
