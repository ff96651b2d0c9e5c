"""What a figure draws, as CSV: a row for each point, bar or cell."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import plotly.graph_objects as go

_COLUMNS = ("panel", "trace", "x", "y", "value")


def drawn_csv(fig: go.Figure) -> str:
    """The numbers of a figure.

    Columns: `panel`, counted from 1; `trace`, the legend's name, with `: low` and `: high` for the
    ends of a band; `x`; `y`; `value`, of a cell its colour's value, of a mark at an axis's end what
    it stands for. Points without a value, and entries that only explain a mark, are left out.
    """
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow(_COLUMNS)
    panels: dict[tuple, int] = {}
    for trace in fig.data:
        place = (getattr(trace, "xaxis", None) or "x", getattr(trace, "yaxis", None) or "y")
        panel = panels.setdefault(place, len(panels) + 1)
        name = trace.name or trace.legendgroup or ""
        table.writerows((panel, name, *row) for row in _points(trace))
    return written.getvalue()


def _points(trace: Any) -> Iterable[tuple]:
    x, y = _list(getattr(trace, "x", None)), _list(getattr(trace, "y", None))
    true = _list(getattr(trace, "customdata", None))
    if trace.type in ("heatmap", "contour"):
        cells = _list(trace.z)
        for i, line in enumerate(cells):
            for j, shown in enumerate(_list(line)):
                value = true[i][j] if len(true) == len(cells) else shown
                if shown is not None:
                    yield x[j] if x else j, y[i] if y else i, value
        return
    for i, place in enumerate(x or range(len(y))):
        height = y[i] if i < len(y) else None
        if place is not None and height is not None:
            scalar = len(true) == len(x) and not isinstance(true[i], list | tuple | np.ndarray)
            yield place, height, true[i] if scalar else ""


def _list(values: Any) -> list[Any]:
    if values is None:
        return []
    return values.tolist() if isinstance(values, np.ndarray) else list(values)
