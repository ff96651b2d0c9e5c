"""Histograms of weights at the start of a training and at its end, from each start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.errors import StoreError
from results.figures.declaration import Figure
from results.figures.herranz2023.lsc import one_setting_each
from results.figures.herranz2023.starts import BY_START, in_order, start_of, told_by_start
from results.figures.selection import select_trials, series
from results.figures.style import finish, look

if TYPE_CHECKING:
    from results.store.store import Store

_MOST_PANELS = 6
_COLUMNS = "epoch, layer, layer_name, tensor, low, high, share"
Rows = Sequence[Mapping[str, Any]]


def weight_histograms(
    store: Store, space: Mapping[str, Any], trial: str | None = None
) -> go.Figure:
    """Density of the entries of up to six tensors that are no biases, a colour for each start:
    dotted after the first epoch, solid after the last. One setting, or that of a trial; of its
    seeds the first."""
    chosen = select_trials(store, space, None)
    groups, said = one_setting_each(store, space, chosen.trials, trial)
    name, group = next(iter(groups.items()))
    first = {start_of(one.config): one for one in reversed(group)}
    rows = series(
        store, "weight_histogram", _COLUMNS, [one.id for one in first.values()], "high > low",
        "layer, layer_name, tensor, epoch, low",
    )  # fmt: skip
    tensors = list(dict.fromkeys(_tensor(row) for own in rows.values() for row in own))
    if not tensors:
        raise StoreError(
            f"no trial of {chosen.title} recorded its weights; launch it with "
            "--set weight_histogram_every=0."
        )
    tensors = [one for one in tensors if not is_bias(one[2])] or tensors
    shown = tensors[:: -(-len(tensors) // _MOST_PANELS)]
    columns = min(len(shown), 3)
    lines = -(-len(shown) // columns)
    heads = [f"<b>{layer} {tensor}</b>".replace("<b> ", "<b>") for _, layer, tensor in shown]
    fig = make_subplots(
        lines, columns, subplot_titles=heads, horizontal_spacing=0.07,
        vertical_spacing=0.28 / lines,
    )  # fmt: skip
    for index, start in enumerate(in_order(list(first))):
        own = rows.get(first[start].id, [])
        for at, tensor in enumerate(shown):
            place = {"row": at // columns + 1, "col": at % columns + 1}
            _lines(fig, [r for r in own if _tensor(r) == tensor], start, look(index)["colour"],
                   at == 0, place)  # fmt: skip
    fig.update_xaxes(title="Weight")
    fig.update_yaxes({"type": "log", "exponentformat": "power", "dtick": 1})
    fig.update_yaxes(title="Density", col=1)
    note = "Dotted: after the first epoch; solid: after the last. Empty bins have no line."
    notes = [*chosen.notes(), f"{name}." if name else "", said, note]
    return finish(fig, f"Weights from each start — {chosen.title}", notes, 320 * lines, heads=1)


def is_bias(tensor: str) -> bool:
    """Whether a tensor's name is that of a bias; b_re and b_im are parts of a matrix."""
    return tensor == "b" or (tensor.startswith("b_") and tensor not in ("b_re", "b_im"))


def _tensor(row: Mapping[str, Any]) -> tuple[int, str, str]:
    return row["layer"], row["layer_name"] or "", row["tensor"]


def _lines(
    fig: go.Figure, rows: Rows, start: str, colour: str, legend: bool, place: Mapping[str, Any]
) -> None:
    """Both histograms of a tensor, as outlines of their bars."""
    epochs = sorted({row["epoch"] for row in rows})
    ends = {epochs[0]: "dot", epochs[-1]: "solid"} if epochs else {}
    for epoch, dash in ends.items():
        own = [row for row in rows if row["epoch"] == epoch]
        density = [row["share"] / (row["high"] - row["low"]) or None for row in own]
        fig.add_trace(
            go.Scatter(
                x=[edge for row in own for edge in (row["low"], row["high"])],
                y=[value for value in density for _ in range(2)], mode="lines", name=start,
                legendgroup=start, showlegend=legend and dash == "solid",
                line={"color": colour, "dash": dash, "width": 1.5},
                hovertemplate=f"{start}, epoch {epoch}<br>%{{x:.4g}}: %{{y:.4g}}<extra></extra>",
            ),
            **place,
        )  # fmt: skip


FIGURES = (
    Figure(
        weight_histograms, table="weight_histogram", by=(BY_START,),
        apart=lambda key: not told_by_start(key),
    ),
)  # fmt: skip
