"""Bars of study herranz2023: the test result of each net and task, by what it started from."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.errors import StoreError
from results.figures.declaration import Figure
from results.figures.herranz2023.starts import (
    BY_CLIPPING,
    BY_START,
    Outcome,
    in_order,
    mean_and_spread,
    outcomes,
    values_of,
)
from results.figures.style import finish, look

if TYPE_CHECKING:
    from results.store.store import Store

_NAMES = {"batch_perplexity": "perplexity", "mode_accuracy": "accuracy (fraction)"}
_MOST_COLUMNS = 3


def start_bars(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Test result at the best validation, a panel for each task and depth, a bar for each net and
    start: mean over seeds, with the standard deviation."""
    chosen, found = outcomes(store, space, trial)
    found = [one for one in found if one.value is not None]
    if not found:
        raise StoreError(f"no trial of {chosen.title} has a finite epoch; nothing to draw.")
    cells = itertools.product(values_of(found, "task"), values_of(found, "depth"))
    panels = [(task, depth, own) for task, depth in cells if (own := _of(found, task, depth))]
    columns = min(len(panels), _MOST_COLUMNS)
    rows = -(-len(panels) // columns)
    heads = [f"<b>{task}, depth {depth}</b>" for task, depth, _ in panels]
    fig = make_subplots(
        rows, columns, subplot_titles=heads, horizontal_spacing=0.08,
        vertical_spacing=0.25 / rows,
    )  # fmt: skip
    lines = [
        (start, clipped)
        for clipped in sorted({one.clipped for one in found})
        for start in in_order([one.start for one in found])
    ]
    for index, line in enumerate(lines):
        named = False
        for at, (_, _, own) in enumerate(panels):
            bar = _bar(own, line, look(index)["colour"], not named)
            if bar is not None:
                fig.add_trace(bar, row=at // columns + 1, col=at % columns + 1)
                named = True
    for at, (_, _, own) in enumerate(panels):
        place: dict[str, Any] = {"row": at // columns + 1, "col": at % columns + 1}
        fig.update_yaxes(title=f"Test {_NAMES.get(own[0].metric, own[0].metric)}", **place)
    fig.update_yaxes(rangemode="tozero")
    fig.update_layout(barmode="group")
    note = "Mean over trials and their standard deviation, at the epoch best on validation."
    return finish(
        fig, f"Test result by net and start — {chosen.title}", [*chosen.notes(), note],
        320 * rows, heads=1,
    )  # fmt: skip


def _of(found: Sequence[Outcome], task: Any, depth: Any) -> list[Outcome]:
    return [one for one in found if (one.key("task"), one.key("depth")) == (task, depth)]


def _bar(
    found: Sequence[Outcome], line: tuple[str, bool], colour: str, legend: bool
) -> go.Bar | None:
    """The bars of one start, a net each."""
    start, clipped = line
    own = [one for one in found if (one.start, one.clipped) == line]
    if not own:
        return None
    nets = values_of(own, "model")
    values = [[one.value or 0.0 for one in own if one.key("model") == net] for net in nets]
    ends = [mean_and_spread(each) for each in values]
    name = f"{start}, clipped" if clipped else start
    return go.Bar(
        x=nets, y=[mean for mean, _ in ends], name=name, legendgroup=name, showlegend=legend,
        marker_color=colour, customdata=[[len(each)] for each in values],
        error_y={"type": "data", "array": [spread for _, spread in ends], "thickness": 1},
        hovertemplate=f"{name}<br>%{{x}}: %{{y:.4g}} (%{{customdata[0]}})<extra></extra>",
    )  # fmt: skip


FIGURES = (Figure(start_bars, by=("task", "model", "depth", BY_START, BY_CLIPPING)),)
