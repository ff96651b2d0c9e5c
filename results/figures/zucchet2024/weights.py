"""Figures of study zucchet2024 weight by weight: effective learning rates and Hessians."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.figures.declaration import Figure
from results.figures.panels import notes, pick
from results.figures.selection import Row, known, rows_of, select_trials, series
from results.figures.style import LogScale, explain_marks, finish, look, wrapped

if TYPE_CHECKING:
    from results.store.store import Store

_GOLDEN = 0.618034
"""Multiples of it, without their whole part, are spread evenly: places of points side by side."""
_DECADES = 5
"""Orders of magnitude below the largest entry that a heat map of a matrix tells apart."""


def _heading(text: str) -> str:
    return f"<b>{'<br>'.join(wrapped(text, 34))}</b>"


def weight_rates(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figures 4 and 9: Adam's effective learning rate of every weight at the end, by tensor."""
    chosen = select_trials(store, space, trial, "weight_rates")
    panels = pick(chosen)
    rows = series(
        store, "weight_rates", "epoch, layer_name, tensor, entry, lr, step",
        [shown.id for shown in panels], order="epoch, layer, tensor, entry",
    )  # fmt: skip
    several = len({r["layer_name"] for own in rows.values() for r in own}) > 1
    scale = LogScale(least_decades=1.0)
    last = {i: [r for r in own if r["epoch"] == own[-1]["epoch"]] for i, own in rows.items()}
    scale.see(r["lr"] for own in last.values() for r in own)
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    fig = make_subplots(
        lines, columns, subplot_titles=[_heading(p.name) for p in panels], shared_yaxes=True,
        horizontal_spacing=0.05, vertical_spacing=0.32 / lines,
    )  # fmt: skip
    for at, shown in enumerate(panels):
        place: Any = {"row": at // columns + 1, "col": at % columns + 1}
        groups: dict[str, list[Row]] = {}
        for r in last[shown.id]:
            name = f"{r['layer_name']}.{r['tensor']}" if several else r["tensor"]
            groups.setdefault(name, []).append(r)
        for index, (name, own) in enumerate(groups.items()):
            own = [r for r in own if known(r["lr"]) and r["lr"] > 0]
            spread = [index + 0.7 * ((r["entry"] * _GOLDEN) % 1 - 0.5) for r in own]
            against = sum(r["step"] <= 0 for r in own) / max(len(own), 1)
            fig.add_trace(
                go.Scatter(
                    x=spread, y=[r["lr"] for r in own], mode="markers", name=name, showlegend=False,
                    marker={"size": 4, "color": look(index)["colour"], "opacity": 0.6},
                    hovertemplate=f"{name}: %{{y:.3g}}, {against:.0%} of the published steps are "
                    "not positive<extra></extra>",
                ),
                **place,
            )  # fmt: skip
        fig.update_xaxes(
            tickvals=list(range(len(groups))), ticktext=list(groups),
            range=[-0.6, len(groups) - 0.4], **place,
        )  # fmt: skip
        fig.update_yaxes(**scale.axis(), **place)
    for line in range(lines):
        fig.update_yaxes(title="Effective learning rate", row=line + 1, col=1)
    note = "A point is a weight: lr/(√v̂ + ε) at the last recorded epoch."
    title = f"Effective learning rate of every weight — {chosen.title}"
    return finish(fig, title, [*notes(chosen, panels), note], 330 * lines, heads=2)


def _ends(blocks: Sequence[str]) -> tuple[list[float], list[float], list[str]]:
    """Borders between blocks of parameters, the middle of each block, and its name."""
    starts = [0, *(i for i in range(1, len(blocks)) if blocks[i] != blocks[i - 1]), len(blocks)]
    middles = [(a + b - 1) / 2 for a, b in itertools.pairwise(starts)]
    return [s - 0.5 for s in starts[1:-1]], middles, [blocks[s] for s in starts[:-1]]


def hessian_matrix(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figures 4, 9 and 10, left: the Hessian at the optimum, entry by entry, as a heat map."""
    chosen = select_trials(store, space, trial, "hessian_matrix")
    panels = pick(chosen)
    rows = series(store, "hessian_matrix", "*", [p.id for p in panels], order="parameter, other")
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    fig = make_subplots(
        lines, columns, horizontal_spacing=0.12, vertical_spacing=0.26 / lines,
        subplot_titles=[_heading(p.name) for p in panels],
    )  # fmt: skip
    for at, shown in enumerate(panels):
        own = rows[shown.id]
        place: Any = {"row": at // columns + 1, "col": at % columns + 1}
        size = 1 + max(r["parameter"] for r in own)
        blocks = [r["block"] for r in own[::size]]
        most = max(abs(r["value"]) for r in own) or 1.0
        cells = [[0.0] * size for _ in range(size)]
        for r in own:
            share = abs(r["value"]) / most
            decades = max(_DECADES + math.log10(share), 0.0) if share > 0 else 0.0
            cells[r["parameter"]][r["other"]] = math.copysign(decades, r["value"])
        fig.add_trace(
            go.Heatmap(
                z=cells, zmin=-_DECADES, zmax=_DECADES, colorscale="RdBu", reversescale=True,
                showscale=at == 0, customdata=[[r["value"] for r in own[i * size : (i + 1) * size]]
                                              for i in range(size)],
                hovertemplate="%{y}, %{x}: %{customdata:.3g}<extra></extra>",
                colorbar={"title": "Entry / largest", "tickvals": [-_DECADES, 0, _DECADES],
                          "ticktext": ["−1", f"below 10<sup>−{_DECADES}</sup>", "1"]},
            ),
            **place,
        )  # fmt: skip
        borders, middles, names = _ends(blocks)
        for border in borders:
            fig.add_hline(border, line={"color": "#222222", "width": 0.7}, **place)
            fig.add_vline(border, line={"color": "#222222", "width": 0.7}, **place)
        ticks: Any = {"tickvals": middles, "ticktext": names, "showgrid": False}
        fig.update_xaxes(**ticks, **place)
        fig.update_yaxes(**ticks, autorange="reversed", **place)
    note = "Of the first system drawn. Colours: logarithm of the entry's size, with its sign."
    title = f"Hessian at the optimum — {chosen.title}"
    fig = finish(fig, title, [*notes(chosen, panels), note], 420 * lines, heads=2)
    return fig.update_layout(margin={"r": 140})


def hessian_vectors(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Figures 4 and 9: the Hessian's first eigenvectors, by block of parameters."""
    chosen = select_trials(store, space, trial, "hessian_vectors")
    panels = pick(chosen)
    rows = {shown.id: [] for shown in panels} | series(
        store, "hessian_vectors", "*", [p.id for p in panels], order="rank, parameter"
    )
    ranks = sorted({r["rank"] for own in rows.values() for r in own})
    fig = make_subplots(
        len(panels), len(ranks), horizontal_spacing=0.03, vertical_spacing=0.3 / len(panels),
        shared_yaxes=True,
        subplot_titles=[
            _heading(f"{panel.name}, vector {rank + 1}") for panel in panels for rank in ranks
        ],
    )  # fmt: skip
    for line, shown in enumerate(panels, 1):
        own = rows[shown.id]
        names = list(dict.fromkeys(r["block"] for r in own))
        for col, rank in enumerate(ranks, 1):
            of_rank = [r for r in own if r["rank"] == rank]
            for index, name in enumerate(names):
                kept = [r for r in of_rank if r["block"] == name]
                fig.add_trace(
                    go.Bar(
                        x=[r["parameter"] for r in kept], y=[abs(r["value"]) for r in kept],
                        name=name, showlegend=False, marker={"color": look(index)["colour"]},
                        hovertemplate=f"{name}: %{{y:.3g}}<extra></extra>",
                    ),
                    row=line, col=col,
                )  # fmt: skip
            _, middles, blocks = _ends([r["block"] for r in of_rank])
            names_below = [block.replace(" ", "<br>") for block in blocks]  # else they touch
            fig.update_xaxes(tickvals=middles, ticktext=names_below, tickangle=0,
                             row=line, col=col)  # fmt: skip
        fig.update_yaxes(title="|entry|", row=line, col=1)
    fig.update_yaxes(range=[0, 1.02])
    note = "Of the first system drawn, largest eigenvalue first. A bar is a parameter."
    title = f"First eigenvectors at the optimum — {chosen.title}"
    return finish(fig, title, [*notes(chosen, panels), note], 210 * len(panels), heads=2)


def hessian_spectrum(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """The first eigenvalues of a trained network's Hessian, and where their eigenvectors lie."""
    chosen = select_trials(store, space, trial, "hessian")
    panels = pick(chosen)
    rows = rows_of(store, chosen, "hessian")
    by_id = series(
        store, "hessian", "*", [p.id for p in panels], order="epoch, rank, layer, tensor"
    )
    scale = LogScale(least_decades=1.0)
    scale.see(abs(r["eigenvalue"]) for own in by_id.values() for r in own)
    fig = make_subplots(
        len(panels), 2, horizontal_spacing=0.1, vertical_spacing=0.3 / len(panels),
        subplot_titles=[_heading(text) for p in panels for text in (p.name, "share by tensor")],
    )  # fmt: skip
    several = len({r["layer_name"] for r in rows}) > 1
    for line, shown in enumerate(panels, 1):
        own = by_id[shown.id]
        end = own[-1]["epoch"]
        for kept, colour in ((own[0]["epoch"], 4), (end, 0)):
            if kept == end and colour:  # a single epoch
                continue
            one = {r["rank"]: r["eigenvalue"] for r in own if r["epoch"] == kept}
            for sign, symbol in ((1, "circle"), (-1, "circle-open")):
                ranks = [k for k, v in one.items() if v * sign > 0]
                word = f"epoch {kept}" + ("" if sign > 0 else ", below 0")
                fig.add_trace(
                    go.Scatter(
                        x=[k + 1 for k in ranks], y=[abs(one[k]) for k in ranks], mode="markers",
                        name=word, legendgroup=word, showlegend=line == 1 and bool(ranks),
                        marker={"symbol": symbol, "size": 9, "color": look(colour)["colour"]},
                    ),
                    row=line, col=1,
                )  # fmt: skip
        last = [r for r in own if r["epoch"] == end]
        names = {r["tensor"] if not several else f"{r['layer_name']}.{r['tensor']}" for r in last}
        for index, name in enumerate(sorted(names)):
            part = [
                r for r in last
                if (r["tensor"] if not several else f"{r['layer_name']}.{r['tensor']}") == name
            ]  # fmt: skip
            fig.add_trace(
                go.Bar(
                    x=[r["rank"] + 1 for r in part], y=[r["share"] for r in part], name=name,
                    showlegend=False, marker={"color": look(index)["colour"]}, text=name,
                    textposition="inside", hovertemplate=f"{name}: %{{y:.3f}}<extra></extra>",
                ),
                row=line, col=2,
            )  # fmt: skip
        fig.update_yaxes(title="|eigenvalue|", row=line, col=1, **scale.axis())
        fig.update_yaxes(title="Share", range=[0, 1], row=line, col=2)
    explain_marks(fig, [scale])
    fig.update_xaxes(title="Rank", dtick=1, row=len(panels))
    fig.update_layout(barmode="stack")
    note = "On a fixed batch of training samples, by Lanczos. Right: squares of the eigenvector's "
    note += "entries, summed over each tensor, at the last recorded epoch."
    title = f"Hessian of trained networks — {chosen.title}"
    return finish(fig, title, [*notes(chosen, panels), note], 240 * len(panels), heads=2)


FIGURES = (
    Figure(weight_rates, table="weight_rates"),
    Figure(hessian_matrix, table="hessian_matrix"),
    Figure(hessian_vectors, table="hessian_vectors"),
    Figure(hessian_spectrum, table="hessian"),
)
