"""The picture of docs/verdicts.md, a typical course of each verdict.

`python -m tests.support.verdicts.picture` draws it. That each course has the verdict it is shown
under is a test of `tests/results/store/test_judged_sample.py`.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results import Store, create_store
from results.figures.style import finish
from tests.support.verdicts.cases import publish
from tests.support.verdicts.judged import publish_judged
from tests.support.verdicts.typical import MADE_UP, PICTURED

FILE = Path(__file__).parents[3] / "docs" / "figures" / "verdicts.png"
_COLUMNS = 3
_LOWEST, _HIGHEST = (0, 114, 178), (230, 159, 0)
_NOTE = (
    "Above: mean loss of each epoch; dotted, the loss of one that knows nothing. Below: gradient "
    "norm of each layer, from the input (blue) to the readout (orange); dashed, the greatest of a "
    "step. Triangles: exactly 0. Crosses: not finite."
)


def picture(store: Store) -> go.Figure:
    """Of each verdict the loss and, below it, the gradient norm of each layer, by epoch."""
    rows = math.ceil(len(PICTURED) / _COLUMNS)
    fig = make_subplots(
        3 * rows, _COLUMNS, row_heights=[1, 1, 0.35] * rows, vertical_spacing=0.012,
        horizontal_spacing=0.09, specs=[[{}] * _COLUMNS, [{}] * _COLUMNS, [None] * _COLUMNS] * rows,
        subplot_titles=[
            f"<b>{head}</b>" if above else ""
            for at in range(0, len(PICTURED), _COLUMNS)
            for above in (True, False)
            for head in list(PICTURED)[at : at + _COLUMNS]
        ],
    )  # fmt: skip
    for at, start in enumerate(PICTURED.values()):
        trial = start if start in MADE_UP else store.resolve(start)
        row, col = 3 * (at // _COLUMNS) + 1, at % _COLUMNS + 1
        _losses(fig, store, trial, row, col)
        _norms(fig, store, trial, row + 1, col)
    finish(fig, "A typical course of each verdict", [_NOTE], 330 * rows, heads=1)
    fig.update_annotations(font_size=15)
    return fig


def _losses(fig: go.Figure, store: Store, trial: str, row: int, col: int) -> None:
    found = store.sql(
        "SELECT e.epoch, e.loss, d.guess_loss FROM epochs e JOIN diagnosis d USING (trial_id) "
        "WHERE trial_id = $id ORDER BY epoch",
        {"id": trial},
    ).rows()
    epochs, losses = [r["epoch"] for r in found], [r["loss"] for r in found]
    known = [loss for loss in losses if loss is not None and math.isfinite(loss)]
    log = min(known) > 0 and max(known) / min(known) > 30
    guess = found[0]["guess_loss"]
    _line(fig, epochs, [x if x in known else None for x in losses], "#000000", row, col)
    lost = [epoch for epoch, loss in zip(epochs, losses, strict=True) if loss not in known]
    if lost:
        _mark(fig, lost, [known[-1]] * len(lost), "x", "#D55E00", row, col)
    if guess is not None:
        _line(fig, epochs, [guess] * len(epochs), "#777777", row, col, dash="dot")
    high = max([*known, guess or 0])
    if log:
        fig.update_yaxes(_decades([*known, guess or high]), row=row, col=col)
    else:
        fig.update_yaxes(row=row, col=col, range=[0, 1.15 * high])
    if col == 1:
        fig.update_yaxes(title="loss", row=row, col=col)
    fig.update_xaxes(row=row, col=col, showticklabels=False)


def _norms(fig: go.Figure, store: Store, trial: str, row: int, col: int) -> None:
    found = store.sql(
        "SELECT epoch, layer, grad_norm FROM layers WHERE trial_id = $id AND tensor = '*' "
        "ORDER BY layer, epoch",
        {"id": trial},
    ).rows()
    by_layer: dict[int, list[Mapping[str, Any]]] = {}
    for each in found:
        by_layer.setdefault(each["layer"], []).append(each)
    for at, own in enumerate(by_layer.values()):
        share = at / max(len(by_layer) - 1, 1)
        mixed = [a + share * (b - a) for a, b in zip(_LOWEST, _HIGHEST, strict=True)]
        colour = f"rgb({', '.join(f'{c:.0f}' for c in mixed)})"
        epochs, norms = [r["epoch"] for r in own], [r["grad_norm"] for r in own]
        _line(fig, epochs, [x if math.isfinite(x) and x > 0 else None for x in norms], colour,
              row, col)  # fmt: skip
        still = [epoch for epoch, norm in zip(epochs, norms, strict=True) if norm == 0]
        _mark(fig, still, [_foot(found)] * len(still), "triangle-down", colour, row, col)
    top = store.sql(
        "SELECT epoch, grad_norm_max AS top FROM epochs WHERE trial_id = $id ORDER BY epoch",
        {"id": trial},
    ).rows()
    tops = [r["top"] if r["top"] and math.isfinite(r["top"]) else None for r in top]
    _line(fig, [r["epoch"] for r in top], tops, "#777777", row, col, dash="dash")
    shown = [r["grad_norm"] for r in found] + [top for top in tops if top]
    shown += [_foot(found)] if 0 in shown else []
    fig.update_yaxes(_decades(shown), row=row, col=col)
    fig.update_xaxes(row=row, col=col, nticks=6, title="epoch")
    if col == 1:
        fig.update_yaxes(title="gradient norm", row=row, col=col)


def _decades(values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis of at least two whole decades, with at most five ticks."""
    known = [math.log10(value) for value in values if math.isfinite(value) and value > 0]
    low, high = math.floor(min(known) - 0.05), math.ceil(max(known) + 0.05)
    low = min(low, high - 2)
    step = math.ceil((high - low) / 4)
    return {"type": "log", "range": [low, high], "dtick": step, "exponentformat": "power"}


def _foot(rows: Sequence[Mapping[str, Any]]) -> float:
    """Where zeros are drawn: a decade below all other norms."""
    known = [r["grad_norm"] for r in rows if math.isfinite(r["grad_norm"]) and r["grad_norm"] > 0]
    return min(known) / 10


def _line(
    fig: go.Figure, x: Sequence[int], y: Sequence[float | None], colour: str, row: int, col: int,
    dash: str = "solid",
) -> None:  # fmt: skip
    fig.add_scatter(
        x=x, y=y, mode="lines+markers" if len(x) < 12 and dash == "solid" else "lines",
        line={"color": colour, "dash": dash, "width": 1.5}, marker={"size": 4},
        showlegend=False, row=row, col=col,
    )  # fmt: skip


def _mark(
    fig: go.Figure, x: Sequence[int], y: Sequence[float], symbol: str, colour: str, row: int,
    col: int,
) -> None:  # fmt: skip
    fig.add_scatter(
        x=x, y=y, mode="markers", marker={"symbol": symbol, "color": colour, "size": 8},
        showlegend=False, row=row, col=col,
    )  # fmt: skip


def pictured(folder: Path) -> Store:
    """A store with the pictured trials."""
    store = create_store(folder)
    publish_judged(store)
    publish(store, MADE_UP)
    return store


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        picture(pictured(Path(folder) / "store")).write_image(FILE, scale=1.2)
