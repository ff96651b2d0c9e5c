"""Accuracies of study bar2025: curves, and tables beside what the LRU paper reports."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from results.figures.bar2025.published_lru import (
    ABLATION,
    CLOSEST,
    R_MAX,
    R_MIN,
    REPORTED,
    is_whole,
)
from results.figures.declaration import Figure
from results.figures.selection import Selection, known, labels, select_trials, series
from results.figures.style import explain_marks, finish, look, mark_end

if TYPE_CHECKING:
    from results.store.store import Store

Row = dict[str, Any]


def bar2025_curves(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Validation accuracy by epoch."""
    chosen = select_trials(store, space, trial)
    rows = series(store, "epochs", "epoch, val_accuracy", chosen.ids, order="epoch")
    fig = go.Figure()
    for index, (cell, trials) in enumerate(chosen.cells.items()):
        for nth, shown in enumerate(trials):
            own, style = rows.get(shown.id, []), look(index)
            fig.add_trace(
                go.Scatter(
                    x=[r["epoch"] for r in own], y=[r["val_accuracy"] for r in own],
                    mode="lines+markers", name=cell or chosen.title, legendgroup=cell,
                    showlegend=nth == 0, opacity=0.75,
                    line={"color": style["colour"], "dash": style["dash"]},
                    marker={"symbol": style["symbol"], "size": 6}, hovertext=shown.name,
                )
            )  # fmt: skip
            points = [(r["epoch"], r["val_accuracy"]) for r in own if known(r["val_accuracy"])]
            if shown.censored and points:
                mark_end(fig, *points[-1], style, shown.name, f"{shown.status} here")
    explain_marks(fig, (), {f"{shown.status} here" for shown in chosen.trials if shown.censored})
    last = max((row["epoch"] for own in rows.values() for row in own), default=1)
    every: dict[str, Any] = {"dtick": 1} if last <= 12 else {}
    fig.update_xaxes(title="Epoch", tickformat="d", range=[-0.2, last + 0.2], **every)
    fig.update_yaxes(title="Validation accuracy (fraction)", range=[0, 1.02])
    return finish(fig, f"Validation accuracy — {chosen.title}", chosen.notes(), 420)


# ---- tables --------------------------------------------------------------------------------------


def _best_epochs(store: Store, chosen: Selection) -> dict[str, Row]:
    """Of each trial the epoch best on validation."""
    found = series(store, "epochs", "epoch, val_accuracy, test_accuracy", chosen.ids, order="epoch")
    kept = {}
    for trial_id, rows in found.items():
        judged = [r for r in rows if known(r["val_accuracy"])]
        if judged:
            kept[trial_id] = max(judged, key=lambda r: r["val_accuracy"])
    return kept


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "—"
    mean = 100 * statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.1f} (1)"
    return f"{mean:.1f} ± {100 * statistics.stdev(values):.1f} ({len(values)})"


def _table(
    heads: Sequence[str], lines: Sequence[Sequence[str]], widths: Sequence[float]
) -> go.Figure:
    return go.Figure(
        go.Table(
            header={"values": [f"<b>{head}</b>" for head in heads], "align": "left",
                    "fill_color": "#E8EEF4", "font": {"size": 14}, "height": 34},
            cells={"values": list(map(list, zip(*lines, strict=True))), "align": "left",
                   "fill_color": "white", "height": 30, "font": {"size": 13},
                   "line_color": "#CCCCCC"},
            columnwidth=list(widths),
        )
    )  # fmt: skip


def accuracy(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Accuracy of each cell at the epoch best on validation, beside what the LRU paper reports."""
    chosen = select_trials(store, space, trial).ended()
    best = _best_epochs(store, chosen)
    lines, asides = [], set()
    for cell, trials in chosen.cells.items():
        own = [best[t.id] for t in trials if t.id in best]
        config = trials[0].config
        task, model = str(config.get("task")), str(config.get("model"))
        whole, closest = is_whole(task, config), CLOSEST.get(model, "")
        reported = REPORTED.get(task, {}).get(closest) if whole else None
        part = not whole and task.removesuffix("_4k") in REPORTED
        if part:
            asides.add(task)
        diverged = sum(t.status == "diverged" for t in trials)
        name = cell or labels([config], ["model", "init"])[0]
        lines.append([
            name, f"{task} (subset or variant)" if part else task,
            _spread([r["val_accuracy"] for r in own]),
            _spread([r["test_accuracy"] for r in own if known(r["test_accuracy"])]),
            str(diverged), f"{closest} {reported[0]} ({reported[1]})" if reported else "—",
        ])  # fmt: skip
    heads = ("cell", "task", "validation %", "test %", "diverged", "LRU paper: nearest, % (s.e.)")
    fig = _table(heads, lines, (2.0, 1.8, 1.2, 1.2, 0.9, 1.8))
    aside = f" Not comparable: {', '.join(sorted(asides))}." if asides else ""
    notes = [
        "Mean ± standard deviation (seeds), at the epoch best on validation, diverged ones too.",
        f"Reported: whole data sets, 3 seeds, none from a rescaled matrix.{aside}",
    ]
    return finish(
        fig, f"Accuracy — {chosen.title}", [*chosen.notes(), *notes], 90 + 46 * len(lines)
    )


def lru_ablation(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Stability, ring and gamma on sequential CIFAR: ours beside the LRU paper's table."""
    chosen = select_trials(store, space, trial).ended()
    best = _best_epochs(store, chosen)
    names = {("log", "none"): "exp, not stable", ("exp", "none"): "stable",
             ("exp", "learned"): "stable, gamma"}  # fmt: skip
    lines = []
    for form, table in ABLATION.items():
        for row, r_max in zip(table, R_MAX, strict=True):
            line = [names[form], f"{r_max:g}"]
            for reported, r_min in zip(row, R_MIN, strict=True):
                own = [
                    best[t.id]["test_accuracy"]
                    for t in chosen.trials
                    if t.id in best and _is_cell(t.config, form, r_min, r_max)
                ]
                line.append(f"{_spread([v for v in own if known(v)])} | {reported}")
            lines.append(line)
    heads = ("form", "r_max", *(f"r_min {r:g}: ours | LRU paper" for r in R_MIN))
    whole = all(is_whole(str(t.config.get("task")), t.config) for t in chosen.trials)
    note = "Test accuracy in %, mean ± standard deviation (seeds), at the epoch best on validation."
    aside = "" if whole else " Ours are of a subset or variant: not comparable."
    fig = _table(heads, lines, (1.3, 0.6, 1.6, 1.6, 1.6))
    title = f"Ablation of the LRU — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), note + aside], 60 + 32 * len(lines))


def _is_cell(config: Mapping[str, Any], form: tuple[str, str], r_min: float, r_max: float) -> bool:
    same = (config.get("lru_param"), config.get("lru_gamma")) == form
    near = _near(float(config.get("r_min") or 0), r_min)
    return same and near and math.isclose(float(config.get("r_max") or 0), r_max)


def _near(value: float, r_min: float) -> bool:
    return abs(value - r_min) < 0.02


def _row(config: Mapping[str, Any]) -> Any:
    """The published r_min that a trial stands beside, or its own."""
    value = float(config.get("r_min") or 0)
    return next((r for r in R_MIN if _near(value, r)), value)


FIGURES = (
    Figure(accuracy, metrics=("val_accuracy",)),
    Figure(bar2025_curves, metrics=("val_accuracy",)),
    Figure(
        lru_ablation,
        metrics=("val_accuracy", "test_accuracy"),
        by=("lru_param", "lru_gamma", ("r_min", _row), "r_max"),
    ),
)
