"""Heat maps and points, a panel per trial: tensors over epochs, layers over time, tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from results.errors import StoreError
from results.figures.declaration import EPOCH, FROM_EPOCH, Figure
from results.figures.panels import Layout, explain_cells, notes, pick
from results.figures.selection import Selection, Shown, select_trials, series
from results.figures.style import (
    BAD_COLOUR,
    BAD_NAME,
    COLOURS,
    ZERO_COLOUR,
    ZERO_NAME,
    LogScale,
    finish,
    log_ticks,
)

if TYPE_CHECKING:
    from results.store.store import Store


@dataclass
class Grid:
    """Cells of one heat map: `values[y][x]`; None where nothing was recorded."""

    x: list[int]
    y: list[str]
    values: list[list[float | None]]


def grad_heatmap(
    store: Store, space: Mapping[str, Any], trial: str | None = None, *, from_epoch: int = 0
) -> go.Figure:
    """Gradient norm of every tensor (rows, first on top) at every epoch (columns)."""
    what = "grad_norm", "Gradient norm", "Gradient norm<br>(epoch mean)"
    return _by_tensor(store, space, trial, from_epoch, *what)


def update_ratio(
    store: Store, space: Mapping[str, Any], trial: str | None = None, *, from_epoch: int = 0
) -> go.Figure:
    """Size of a step against that of the weights, |dw| / |w|, of every tensor at every epoch."""
    ratio = "CASE WHEN param_norm > 0 THEN update_norm / param_norm END"
    what = ratio, "Update ratio", "|Δw| / |w|<br>(epoch mean)"
    return _by_tensor(store, space, trial, from_epoch, *what)


def _by_tensor(
    store: Store, space: Mapping[str, Any], trial: str | None, first: int, value: str, words: str,
    colour: str,
) -> go.Figure:  # fmt: skip
    """A heat map of a column of `layers`, or of an expression of such: tensors over epochs."""
    chosen = select_trials(store, space, trial)
    panels = pick(chosen)
    rows = series(
        store, "layers", f"epoch, layer_name, tensor, tensor_index, {value} AS value",
        [t.id for t in panels], where=f"tensor <> '*' AND epoch >= {first}",
        order="tensor_index, epoch",
    )  # fmt: skip
    grids = []
    for shown in panels:
        own = rows.get(shown.id, [])
        names = list(dict.fromkeys(f"{r['layer_name']}.{r['tensor']}" for r in own))
        epochs = sorted({r["epoch"] for r in own})
        cells = {(f"{r['layer_name']}.{r['tensor']}", r["epoch"]): r["value"] for r in own}
        values = [[cells.get((name, epoch)) for epoch in epochs] for name in names]
        grids.append(Grid(epochs, names, values))
    if not any(grid.x for grid in grids):
        raise StoreError(f"no trial of {chosen.title} recorded its layers; launch it again.")
    return _heatmaps(f"{words} by tensor — {chosen.title}", chosen, panels, grids, "Epoch", "",
                     colour)  # fmt: skip


def timeline(
    store: Store, space: Mapping[str, Any], trial: str | None = None, *, epoch: int | None = None
) -> go.Figure:
    """Norm of dL/dh over layers and time steps, at the last epoch where it was measured."""
    chosen = select_trials(store, space, trial).ended()
    where = "true" if epoch is None else f"epoch = {epoch}"
    rows = series(store, "timeline", "epoch, layer, t, grad_norm", chosen.ids, where, "epoch")
    panels = pick(chosen, set(rows))
    if not panels and epoch is not None:
        raise StoreError(f"no trial of {chosen.title} has a timeline of epoch {epoch}.")
    if not panels:
        raise StoreError(
            f"no trial of {chosen.title} has a timeline; launch with --set timeline_every=1."
        )
    grids = []
    for shown in panels:
        last = rows[shown.id][-1]["epoch"]
        own = [row for row in rows[shown.id] if row["epoch"] == last]
        times, layers = sorted({r["t"] for r in own}), sorted({r["layer"] for r in own})
        cells = {(r["layer"], r["t"]): r["grad_norm"] for r in own}
        values = [[cells.get((layer, t)) for t in times] for layer in layers]
        grids.append(Grid(times, [str(layer) for layer in layers], values))
    return _heatmaps(f"Gradient through time — {chosen.title}", chosen, panels, grids,
                     "Time step t", "Layer", "‖∂L/∂h<sub>t</sub>‖")  # fmt: skip


def grad_per_layer(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Gradient norm of every tensor at the last epoch, the first tensor on top."""
    chosen = select_trials(store, space, trial).ended()
    panels = pick(chosen)
    rows = series(
        store, "layers", "epoch, layer_name, tensor, tensor_index, grad_norm",
        [t.id for t in panels], where="tensor <> '*'", order="epoch, tensor_index",
    )  # fmt: skip
    panels = [shown for shown in panels if shown.id in rows]
    if not panels:
        raise StoreError(f"no trial of {chosen.title} recorded its layers; launch it again.")
    last = {
        shown.id: [r for r in rows[shown.id] if r["epoch"] == rows[shown.id][-1]["epoch"]]
        for shown in panels
    }
    scale = LogScale(least_decades=1.0)
    scale.see(row["grad_norm"] for own in last.values() for row in own)
    grid = Layout.of(panels, max(len(own) for own in last.values()), named=True)
    fig = grid.figure(panels)
    for index, shown in enumerate(panels):
        _points(fig, last[shown.id], scale, grid, grid.place(index))
    explain_cells(fig, scale)
    fig.update_xaxes(title="Gradient norm (last epoch)", **scale.axis())
    finish(fig, f"Gradient norm per tensor — {chosen.title}", notes(chosen, panels), grid.height,
           grid.heads)  # fmt: skip
    fig.update_yaxes(tickfont={"size": 11}, showgrid=True)
    return fig


def _points(
    fig: go.Figure,
    rows: Sequence[dict[str, Any]],
    scale: LogScale,
    grid: Layout,
    place: dict[str, Any],
) -> None:
    names = [f"{r['layer_name']}.{r['tensor']}" for r in rows]
    kinds: dict[str, list[tuple[str, float]]] = {"finite": [], "zero": [], "bad": []}
    for name, value in zip(names, (r["grad_norm"] for r in rows), strict=True):
        if value is not None:
            kind = "bad" if not math.isfinite(value) else "finite" if value > 0 else "zero"
            kinds[kind].append((name, scale.ceiling if kind == "bad" else value))
    # Points, since a bar on a logarithmic axis would begin at a floor that means nothing.
    looks = {
        "finite": {"symbol": "circle", "color": COLOURS[0], "size": 8},
        "bad": {"symbol": "x", "color": BAD_COLOUR, "size": 9},
    }
    for kind, marker in looks.items():
        if kinds[kind]:
            fig.add_trace(
                go.Scatter(
                    x=[v for _, v in kinds[kind]], y=[n for n, _ in kinds[kind]],
                    mode="markers", marker=marker, showlegend=False,
                    customdata=[v if kind == "finite" else math.nan for _, v in kinds[kind]],
                    hovertemplate="%{y}: %{customdata:.3g}<extra></extra>",
                ),
                **place,
            )  # fmt: skip
    if kinds["zero"]:
        fig.add_trace(
            go.Scatter(
                x=[scale.floor] * len(kinds["zero"]), y=[n for n, _ in kinds["zero"]],
                mode="markers", showlegend=False,
                marker={"symbol": "triangle-left", "size": 9, "color": ZERO_COLOUR},
                hovertemplate=f"%{{y}}: {ZERO_NAME}<extra></extra>",
            ),
            **place,
        )  # fmt: skip
    fig.update_yaxes(
        categoryorder="array",
        categoryarray=names[::-1],
        tickvals=grid.ticks(names),
        range=[-0.7, len(names) - 0.3],
        **place,
    )


def _heatmaps(
    title: str,
    chosen: Selection,
    panels: Sequence[Shown],
    grids: Sequence[Grid],
    x_title: str,
    y_title: str,
    colour_title: str,
) -> go.Figure:
    """A heat map per trial on one logarithmic colour scale. Zeros and non-finite cells have colours
    outside the scale and entries in the legend; cells never recorded stay white."""
    scale = LogScale(least_decades=1.0)
    for grid in grids:
        for line in grid.values:
            scale.see(line)
    named = max((len(name) for grid in grids for name in grid.y), default=0) > 3
    layout = Layout.of(panels, max(len(grid.y) for grid in grids), named)
    fig = layout.figure(panels)
    for index, grid in enumerate(grids):
        place = layout.place(index)
        heatmap(fig, grid, place)
        fig.update_yaxes(
            {"autorange": "reversed", "type": "category", "tickvals": layout.ticks(grid.y)}, **place
        )
        fig.update_xaxes({"title": x_title, "tickformat": "d"}, **place)
        if grid.x and max(grid.x) - min(grid.x) <= 10:
            fig.update_xaxes({"dtick": 1}, **place)
        if place["col"] == 1 and y_title:
            fig.update_yaxes({"title": y_title}, **place)
    explain_cells(fig, scale)
    values = [v for grid in grids for line in grid.values for v in line]
    colour_axis(fig, scale, colour_title, usual_range(values))
    finish(fig, title, notes(chosen, panels), layout.height, layout.heads)
    fig.update_xaxes(showgrid=False)
    fig.update_yaxes(showgrid=False, tickfont={"size": 11 if named else 13})
    return fig


def usual_range(values: Iterable[float | None]) -> tuple[float, float]:
    """log10 of the ends of a colour scale that a few cells do not flatten: those of the values,
    but no further from the quartiles than three times their distance (Tukey's outer fences), and
    at least a decade from them."""
    logs = np.log10([v for v in values if v is not None and math.isfinite(v) and v > 0])
    if not len(logs):
        return -math.inf, math.inf
    first, third = np.quantile(logs, [0.25, 0.75])
    reach = max(3 * (third - first), 1.0)
    return max(float(logs.min()), first - reach), min(float(logs.max()), third + reach)


def colour_axis(
    fig: go.Figure,
    scale: LogScale,
    title: str,
    ends: tuple[float, float] = (-math.inf, math.inf),
) -> None:
    """The logarithmic colour scale that all heat maps of a figure share, with its bar.

    Args:
      ends: log10 of where colours end; cells beyond have the last colour, which the bar says.
    """
    least, most = scale.decades
    low, high = max(least, ends[0]), min(most, ends[1])
    if high - low < 1e-9:
        low, high = least, most
    ticks = {math.log10(value): text for value, text in log_ticks(low, high).items()}
    beyond = {high: ("≥ ", most > high + 1e-9), low: ("≤ ", least < low - 1e-9)}
    for end, (sign, cut) in beyond.items():
        if cut:
            ticks = {at: text for at, text in ticks.items() if abs(at - end) > 0.04 * (high - low)}
            ticks[end] = f"{sign}{10**end:.1e}"
    fig.update_layout(
        coloraxis={
            "colorscale": "Viridis", "cmin": low, "cmax": high,
            "colorbar": {"title": {"text": title, "side": "top"}, "tickvals": list(ticks),
                         "ticktext": list(ticks.values()), "len": 1, "thickness": 16},
        },
    )  # fmt: skip


def heatmap(fig: go.Figure, grid: Grid, place: dict[str, Any]) -> None:
    """Cells of one panel, coloured by the logarithm of their value."""

    def where(test: Any, value: Any) -> list[list[Any]]:
        return [
            [value(v) if v is not None and test(v) else None for v in line] for line in grid.values
        ]

    # Lines between cells help the eye only while the cells are large.
    gaps = {"xgap": 0.5 if len(grid.x) <= 20 else 0, "ygap": 0.5 if len(grid.y) <= 30 else 0}
    finite = where(lambda v: math.isfinite(v) and v > 0, math.log10)
    fig.add_trace(
        go.Heatmap(
            x=grid.x, y=grid.y, z=finite, coloraxis="coloraxis", customdata=grid.values,
            hovertemplate="%{y}, %{x}: %{customdata:.3g}<extra></extra>", **gaps,
        ),
        **place,
    )  # fmt: skip
    for test, colour, name in (
        (lambda v: math.isfinite(v) and v <= 0, ZERO_COLOUR, ZERO_NAME),
        (lambda v: not math.isfinite(v), BAD_COLOUR, BAD_NAME),
    ):
        marked = where(test, lambda _: 1)
        if any(v is not None for line in marked for v in line):
            fig.add_trace(
                go.Heatmap(
                    x=grid.x, y=grid.y, z=marked, colorscale=[[0, colour], [1, colour]],
                    showscale=False, **gaps,
                    hovertemplate=f"%{{y}}, %{{x}}: {name}<extra></extra>",
                ),
                **place,
            )  # fmt: skip


FIGURES = (
    Figure(grad_per_layer, table="layers"),
    Figure(grad_heatmap, table="layers", options=(FROM_EPOCH,)),
    Figure(update_ratio, table="layers", options=(FROM_EPOCH,)),
    Figure(timeline, table="timeline", options=(EPOCH,)),
)
