"""Curves over epochs and steps: training loss, any metric, gradient norms, the last ten steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.ask.trial_values import metric_sql
from results.ask.units import loss_unit, metrics_of, unit_of, with_unit
from results.figures.bands import BAND_OPTIONS, Line, draw, end_of, grouping
from results.figures.declaration import Figure, metric_of
from results.figures.selection import Selection, known, select_trials, series
from results.figures.style import (
    LogScale,
    draw_series,
    explain_marks,
    finish,
    look,
    mark_end,
    scale_for,
    threshold,
)
from results.store.metric_columns import better_end

if TYPE_CHECKING:
    from results.store.store import Store

Rows = dict[str, list[dict[str, Any]]]


def training_loss(
    store: Store,
    space: Mapping[str, Any],
    trial: str | None = None,
    *,
    by: str | None = None,
    over: str | None = None,
    band: str | None = None,
) -> go.Figure:
    """Mean training loss of each epoch, on a logarithmic axis where none is negative."""
    chosen = select_trials(store, space, trial)
    rows = series(store, "epochs", "epoch, loss", chosen.ids, order="epoch")
    grouped = grouping(chosen, space, by, over, band)
    lines = grouped.lines(rows, "epoch", "loss")
    scale = scale_for(value for line in lines for value in line.values)
    chance = space.get("chance_loss")
    if chance:
        scale.see([chance])
    fig = go.Figure()
    draw(fig, lines, scale)
    if chance:
        threshold(fig, chance, f"chance {chance:.3f}", log=isinstance(scale, LogScale))
    explain_marks(fig, [scale], _ends(lines))
    fig.update_xaxes(title="Epoch", **_whole(rows, "epoch"))
    fig.update_yaxes(title=chosen.loss("Training loss"), **scale.axis())
    return _finish(fig, f"Training loss — {chosen.title}", chosen, grouped.note)


def metric(
    store: Store,
    space: Mapping[str, Any],
    trial: str | None = None,
    *,
    by: str | None = None,
    over: str | None = None,
    band: str | None = None,
) -> go.Figure:
    """A metric of each epoch: that of --metric, else the one by which `best` ranks."""
    chosen = select_trials(store, space, trial)
    name = metric_of(space)
    value = metric_sql(name)
    rows = series(
        store, "epochs", f"epoch, {value} AS value", chosen.ids, f"{value} IS NOT NULL", "epoch"
    )
    declared = metrics_of(store, chosen.ids)
    unit = unit_of(name, loss_unit(store, chosen.ids, space.get("loss_unit")), declared)
    decades = math.inf if unit == "fraction" else 1.0
    end = better_end(name, None, declared)
    grouped = grouping(chosen, space, by, over, band)
    lines = grouped.lines(rows, "epoch", "value", -math.inf if end == "max" else math.inf)
    scale = scale_for((value for line in lines for value in line.values), decades)
    fig = go.Figure()
    draw(fig, lines, scale)
    explain_marks(fig, [scale], _ends(lines))
    better = "higher" if end == "max" else "lower"
    measured = name in declared or name.endswith(("loss", "accuracy"))
    fig.update_xaxes(title="Epoch", **_whole(rows, "epoch"))
    fig.update_yaxes(
        title=with_unit(name, unit) + (f", {better} is better" if measured else ""), **scale.axis()
    )
    return _finish(fig, f"{name} — {chosen.title}", chosen, grouped.note)


def grad_norms(
    store: Store,
    space: Mapping[str, Any],
    trial: str | None = None,
    *,
    by: str | None = None,
    over: str | None = None,
    band: str | None = None,
) -> go.Figure:
    """Total gradient norm and the smallest non-zero tensor's, epoch by epoch."""
    chosen = select_trials(store, space, trial)
    rows = series(
        store, "epochs", "epoch, grad_norm, grad_norm_smallest", chosen.ids, order="epoch"
    )
    kinds = {
        "grad_norm": "Total gradient norm",
        "grad_norm_smallest": "Smallest non-zero<br>tensor norm",
    }
    title = f"Gradient norms — {chosen.title}"
    if len(chosen.trials) == 1:
        scale = LogScale()
        fig = go.Figure()
        end = end_of(chosen.trials[0])
        scale.see(row[column] for own in rows.values() for row in own for column in kinds)
        for index, (column, name) in enumerate(kinds.items()):
            own = rows[chosen.ids[0]]
            plain = name.replace("<br>", " ")
            draw_series(fig, [r["epoch"] for r in own], [r[column] for r in own], scale, plain,
                        look(index))  # fmt: skip
            points = [(r["epoch"], r[column]) for r in own
                      if known(r[column]) and scale.shows(r[column])]  # fmt: skip
            if end and points:
                mark_end(fig, *points[-1], look(index), chosen.trials[0].name, end)
        explain_marks(fig, [scale], [end] if end else [])
        fig.update_xaxes(title="Epoch", **_whole(rows, "epoch"))
        fig.update_yaxes(title="Gradient norm (mean over steps)", **scale.axis())
        return _finish(fig, title, chosen)
    fig = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.06)
    grouped, scales, lines = grouping(chosen, space, by, over, band), [], []
    for row, (column, name) in enumerate(kinds.items(), 1):
        scale = LogScale()
        lines = grouped.lines(rows, "epoch", column)
        scale.see(value for line in lines for value in line.values)
        draw(fig, lines, scale, legend=row == 1, row=row, col=1)
        fig.update_yaxes(title=name, row=row, col=1, **scale.axis())
        scales.append(scale)
    explain_marks(fig, scales, _ends(lines))
    fig.update_xaxes(**_whole(rows, "epoch"))
    fig.update_xaxes(title="Epoch", row=2, col=1)
    return _finish(fig, title, chosen, grouped.note, height=680)


def grad_norms_last_10(
    store: Store,
    space: Mapping[str, Any],
    trial: str | None = None,
    *,
    by: str | None = None,
    over: str | None = None,
    band: str | None = None,
) -> go.Figure:
    """Total gradient norm of the last ten steps of each trial's last epoch, of those kept."""
    chosen = select_trials(store, space, trial).ended()
    rows = series(store, "steps", "epoch, step, grad_norm", chosen.ids, order="epoch, step")
    for trial_id, own in rows.items():
        last = _until_bad([row for row in own if row["epoch"] == own[-1]["epoch"]])[-10:]
        rows[trial_id] = [{**row, "nth": i} for i, row in enumerate(last, 1)]
    scale = LogScale()
    grouped = grouping(chosen, space, by, over, band)
    lines = grouped.lines(rows, "nth", "grad_norm")
    scale.see(value for line in lines for value in line.values)
    fig = go.Figure()
    draw(fig, lines, scale)
    explain_marks(fig, [scale], _ends(lines))
    fig.update_xaxes(title="Step, of the last ten taken in the last epoch", **_whole(rows, "nth"))
    fig.update_yaxes(title="Total gradient norm", **scale.axis())
    lacking = [trial.id[:8] for trial in chosen.trials if trial.id not in rows]
    note = f"No steps kept of {', '.join(lacking[:8])}. " if lacking else ""
    note += grouped.note
    return _finish(fig, f"Gradient norm, last steps — {chosen.title}", chosen, note)


def _until_bad(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The steps up to the first non-finite one and with it: those after it were never taken."""
    for at, row in enumerate(rows):
        if row["grad_norm"] is not None and not math.isfinite(row["grad_norm"]):
            return rows[: at + 1]
    return rows


def _whole(rows: Rows, column: str) -> dict[str, Any]:
    """An axis of whole numbers: no ticks between them."""
    values = [row[column] for own in rows.values() for row in own]
    low, high = min(values, default=0), max(values, default=1)
    pad = max(0.03 * (high - low), 0.1)
    every = {"dtick": 1} if high - low <= 12 else {}
    return {"range": [low - pad, high + pad], "tickformat": "d", **every}


def _ends(lines: Sequence[Line]) -> list[str]:
    return [line.end for line in lines if line.end]


def _finish(
    fig: go.Figure, title: str, chosen: Selection, note: str = "", height: int = 430
) -> go.Figure:
    return finish(fig, title, [*chosen.notes(), note], height)


FIGURES = (
    Figure(training_loss, options=BAND_OPTIONS),
    Figure(metric, chooses_metric=True, options=BAND_OPTIONS),
    Figure(grad_norms, options=BAND_OPTIONS),
    Figure(grad_norms_last_10, table="steps", options=BAND_OPTIONS),
)
