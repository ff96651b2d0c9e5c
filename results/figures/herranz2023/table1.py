"""Table 1 of study herranz2023: the result of each start, drawn as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

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
from results.figures.style import finish

if TYPE_CHECKING:
    from results.store.store import Store

Line = tuple[str, bool]
"""What a row is of: a start, and whether gradients are clipped."""
Column = tuple[Any, str]
"""Depth, and val or test."""
Entry = tuple[float, float, int] | None
"""Mean, standard deviation and number of trials."""


def table1(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Validation and test result of each start, mean and standard deviation over seeds."""
    chosen, found = outcomes(store, space, trial)
    columns = [(depth, split) for depth in values_of(found, "depth") for split in ("val", "test")]
    lines = [
        (start, clip)
        for clip in sorted({one.clipped for one in found})
        for start in in_order([one.start for one in found])
    ]
    cells = {(line, column): _entry(found, line, column) for line in lines for column in columns}
    lower = all(one.lower_is_better for one in found if one.value is not None)
    best = _best_of(lines, columns, cells, lower)
    body = [
        [f"{start}, clipped" if clip else start for start, clip in lines],
        *(
            [_cell(cells[line, column], (line, column) in best) for line in lines]
            for column in columns
        ),
    ]
    heads = [
        "start",
        *(f"depth {depth}<br>{_split_name(split, found)}" for depth, split in columns),
    ]
    fig = go.Figure(
        go.Table(
            header={"values": [f"<b>{head}</b>" for head in heads], "align": "left",
                    "fill_color": "#E8EEF4", "font": {"size": 14}, "height": 46},
            cells={"values": body, "align": "left", "fill_color": "white", "height": 30,
                   "font": {"size": 14}, "line_color": "#CCCCCC"},
            columnwidth=[1.6, *[1] * len(columns)],
        )
    )  # fmt: skip
    note = (
        "Mean ± standard deviation (number of trials), at the epoch best on validation. Bold: the "
        "best mean of its column, among clipped and among unclipped trials."
    )
    title = f"Result by start — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), note], 56 + 31 * len(lines))


def _entry(found: Sequence[Outcome], line: Line, column: Column) -> Entry:
    """Mean, deviation and number of the values in one cell of the table."""
    depth, split = column
    own = [one for one in found if (one.start, one.clipped) == line and one.key("depth") == depth]
    values = [one.value if split == "test" else one.validation for one in own]
    kept = [value for value in values if value is not None]
    return (*mean_and_spread(kept), len(kept)) if kept else None


def _best_of(
    lines: Sequence[Line], columns: Sequence[Column], cells: Mapping[Any, Entry], lower: bool
) -> set[tuple[Line, Column]]:
    """The cells with the best mean of their column, for clipped and unclipped trials apart."""
    best = set()
    for column in columns:
        for clip in (False, True):
            own = {line: cells[line, column] for line in lines if line[1] is clip}
            means = {line: entry[0] for line, entry in own.items() if entry}
            if means:
                end = min(means.values()) if lower else max(means.values())
                best |= {(line, column) for line, mean in means.items() if mean == end}
    return best


def _cell(entry: Entry, bold: bool) -> str:
    if entry is None:
        return "missing"
    mean, spread, count = entry
    digits = 1 if abs(mean) >= 10 else 3
    text = f"{mean:.{digits}f} ± {spread:.{digits}f} ({count})"
    return f"<b>{text}</b>" if bold else text


def _split_name(split: str, found: Sequence[Outcome]) -> str:
    names = {"batch_perplexity": "perplexity", "mode_accuracy": "accuracy"}
    metric = next((one.metric for one in found if one.metric), "")
    return f"{'validation' if split == 'val' else 'test'} {names.get(metric, metric)}"


FIGURES = (Figure(table1, by=("depth", BY_START, BY_CLIPPING)),)
