"""Figures of the probe `activations`: what nonlinearities give, over epochs and over layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.errors import StoreError
from results.figures.declaration import EPOCH, FROM_EPOCH, Figure
from results.figures.selection import Selection, known, medians, select_trials, series
from results.figures.style import LinearScale, draw_series, explain_marks, finish, look, scale_for

if TYPE_CHECKING:
    from results.store.store import Store

_COLUMNS = {
    "mean": "Mean",
    "std": "Standard deviation",
    "saturated": "Share of saturated values",
    "dead": "Share of dead units",
}
_SHARES = ("saturated", "dead")
Row = dict[str, Any]


def activations(
    store: Store, space: Mapping[str, Any], trial: str | None = None, *, from_epoch: int = 0
) -> go.Figure:
    """Mean, spread, saturated share and dead share of each nonlinearity over epochs, of a trial."""
    chosen, rows = _measured(store, space, trial, f"epoch >= {from_epoch}")
    shown = next(one for one in chosen.trials if one.id in rows)
    own = rows[shown.id]
    names, epochs = _names(own), sorted({row["epoch"] for row in own})
    places = sorted(names)
    fig = make_subplots(
        2, 2, shared_yaxes=True, shared_xaxes=True, vertical_spacing=0.1, horizontal_spacing=0.14,
        subplot_titles=[f"<b>{title}</b>" for title in _COLUMNS.values()],
    )  # fmt: skip
    each = min(max(16 * len(places), 200), 1150)
    height = 2 * each + 60
    for index, column in enumerate(_COLUMNS):
        line, col = divmod(index, 2)
        cells = {(row["position"], row["epoch"]): row[column] for row in own}
        values = [[_finite(cells.get((at, epoch))) for epoch in epochs] for at in places]
        bar = {"x": 0.445 + 0.57 * col, "y": 0.78 - 0.555 * line, "len": 0.44, "thickness": 12}
        fig.add_trace(
            go.Heatmap(
                x=epochs, y=[names[at] for at in places], z=values, colorbar=bar,
                **_colours(column, values), xgap=0.5 if len(epochs) <= 20 else 0,
                ygap=0.5 if len(places) <= 30 else 0,
                hovertemplate="%{y}, epoch %{x}: %{z:.4g}<extra></extra>",
            ),
            row=line + 1, col=col + 1,
        )  # fmt: skip
        step = max(1, -(-len(places) * 14 // each))
        fig.update_yaxes(
            autorange="reversed", type="category", tickvals=[names[at] for at in places[::step]],
            row=line + 1, col=col + 1,
        )  # fmt: skip
    ticks: dict[str, Any] = {"dtick": 1} if _few(epochs) else {}
    fig.update_xaxes(title="Epoch", row=2, tickformat="d", **ticks)
    others = len(rows) - 1
    text = f"Shown: {shown.name}; --trial ID shows any of {others} others." if others else ""
    white = "White: the function has no bound to come near, or nothing finite was measured."
    title = f"Activations while it trains — {chosen.title}"
    finish(fig, title, [*chosen.notes(), text, white], height, heads=1)
    fig.update_xaxes(showgrid=False)
    fig.update_yaxes(showgrid=False, tickfont={"size": 11})
    return fig


def activation_profile(
    store: Store, space: Mapping[str, Any], trial: str | None = None, *, epoch: int | None = None
) -> go.Figure:
    """The same over the places of nonlinearities in the forward pass, at each trial's last epoch;
    medians over the seeds of a cell."""
    chosen, rows = _measured(store, space, trial, "true" if epoch is None else f"epoch = {epoch}")
    last = {
        i: [row for row in own if row["epoch"] == own[-1]["epoch"] and row["function"] != "none"]
        for i, own in rows.items()
    }
    fig = make_subplots(
        2, 2, shared_xaxes=True, vertical_spacing=0.08, horizontal_spacing=0.12,
        subplot_titles=[f"<b>{title}</b>" for title in _COLUMNS.values()],
    )  # fmt: skip
    scales = []
    for index, column in enumerate(_COLUMNS):
        place: dict[str, Any] = {"row": index // 2 + 1, "col": index % 2 + 1}
        lines = {}
        for cell, trials in chosen.cells.items():
            own = [row for one in trials for row in last.get(one.id, []) if known(row[column])]
            lines[cell or trials[0].name] = medians(own, "position", column)
        share = column in _SHARES
        scale = (
            LinearScale() if share else scale_for([v for _, y in lines.values() for v in y], 1.0)
        )
        fig.update_yaxes(**({"range": [-0.03, 1.03]} if share else scale.axis()), **place)
        scales.append(scale)
        for at, (name, (x, y)) in enumerate(lines.items()):
            draw_series(fig, x, y, scale, name, look(at), legend=index == 0, **place)
    explain_marks(fig, scales)
    fig.update_xaxes(title="Place in the forward pass", row=2, tickformat="d")
    title = f"Activations by layer — {chosen.title}"
    at = "At each trial's last epoch." if epoch is None else f"Epoch {epoch}."
    return finish(fig, title, [*chosen.notes(), at], 560, heads=1)


def _measured(
    store: Store, space: Mapping[str, Any], trial: str | None, where: str
) -> tuple[Selection, dict[str, list[Row]]]:
    chosen = select_trials(store, space, trial)
    found = {}
    if store.has("activations"):
        columns = ", ".join(("epoch, position, layer_name, function", *_COLUMNS))
        found = series(store, "activations", columns, chosen.ids, where, "epoch, position")
    if not found:
        there = "" if where == "true" else f" with {where}"
        raise StoreError(
            f"no trial of {chosen.title} has activations{there}; launch with --set "
            "activations_every=1."
        )
    return chosen, found


def _names(rows: Sequence[Row]) -> dict[int, str]:
    """What each place is called: its layer and function, with a number where that is not unique."""
    words = {row["position"]: f"{row['layer_name']} {row['function']}" for row in rows}
    words = {at: text.removesuffix(" none") for at, text in sorted(words.items())}
    counts: dict[str, int] = {}
    found = {}
    for at, text in words.items():
        counts[text] = counts.get(text, 0) + 1
        several = list(words.values()).count(text) > 1
        found[at] = f"{text} {counts[text]}" if several else text
    return found


def _finite(value: float | None) -> float | None:
    return value if known(value) else None


def _few(epochs: Sequence[int]) -> bool:
    return epochs[-1] - epochs[0] <= 10


def _colours(column: str, values: Sequence[Sequence[float | None]]) -> dict[str, Any]:
    if column in _SHARES:
        return {"colorscale": "Cividis", "zmin": 0, "zmax": 1}
    finite = [abs(v) for line in values for v in line if v is not None]
    most = max(finite, default=1.0) or 1.0
    if column == "mean":
        return {"colorscale": "RdBu", "zmin": -most, "zmax": most}
    return {"colorscale": "Viridis", "zmin": 0, "zmax": most}


FIGURES = (
    Figure(activations, table="activations", options=(FROM_EPOCH,)),
    Figure(activation_profile, table="activations", options=(EPOCH,)),
)
