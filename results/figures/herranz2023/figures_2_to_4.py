"""Figures of study herranz2023: what pretraining to the Local Stability Condition is worth."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.config_values import value_text, value_texts
from results.errors import StoreError
from results.figures.declaration import Figure
from results.figures.herranz2023.pairs import Comparison, comparisons, matched
from results.figures.herranz2023.starts import (
    BY_CLIPPING,
    BY_START,
    Outcome,
    in_order,
    mean_and_spread,
    of_trial,
    outcomes,
    told_by_start,
    values_of,
)
from results.figures.selection import series
from results.figures.style import COLOURS, LogScale, draw_series, explain_marks, finish, look, power

if TYPE_CHECKING:
    from results.store.store import Store

_ACTIVATIONS = ("sin", "relu", "cos")
_TASKS = ("mnist", "cifar10", "cifar100")
_SPIKING = ("malsnn", "malsnnb")


def figure2(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Test accuracy at the best validation loss against learning rate, a panel per net and task."""
    chosen, found = outcomes(store, space, metric="accuracy", by="loss")
    at = of_trial(store, found, trial, ("activation", "task"))
    found = [one for one in found if at is None or at(one)]
    rows = values_of(found, "activation", _ACTIVATIONS)
    columns = values_of(found, "task", _TASKS)
    scale = LogScale()
    scale.see(one.key("lr") for one in found)
    heads = [_head(task, row) for row in rows for task in columns]
    fig = make_subplots(
        len(rows), len(columns), subplot_titles=heads, shared_xaxes=True, shared_yaxes=False,
        horizontal_spacing=0.06, vertical_spacing=0.14 / max(len(rows), 1),
    )  # fmt: skip
    starts = in_order([one.start for one in found])
    for index, start in enumerate(starts):
        style, named = look(index), False
        for row, activation in enumerate(rows, 1):
            for col, task in enumerate(columns, 1):
                own = [
                    one
                    for one in found
                    if (one.start, one.key("activation"), one.key("task"))
                    == (start, activation, task)
                ]
                points = by_key(own, "lr")
                if points:
                    band(fig, points, start, style, not named, row=row, col=col)
                    named = True
    axis = scale.axis()
    low, high = axis["range"]
    ticks = {10.0**e: power(e) for e in range(math.ceil(low), math.floor(high) + 1)}
    if len(columns) == 1:  # room to name every rate
        ticks = {float(lr): value_text(lr) for lr in values_of(found, "lr")}
    fig.update_xaxes(type="log", range=[low, high], tickvals=list(ticks),
                     ticktext=list(ticks.values()))  # fmt: skip
    fig.update_xaxes(title="Learning rate", row=len(rows))
    for col, task in enumerate(columns, 1):
        most = max((one.value or 0.0 for one in found if one.key("task") == task), default=1.0)
        fig.update_yaxes(range=[0, 1.06 * most or 1.0], tickformat=".2~f", col=col)
    fig.update_yaxes(title="Test accuracy (fraction)", col=1)
    note = (
        "Lines: mean over seeds; bands: half a standard deviation to each side. At the epoch of "
        "least validation loss."
    )
    notes = [*chosen.notes(), note, uneven(found, "lr")]
    height = 360 if len(rows) == 1 else 250 * len(rows)
    title = f"Test accuracy against learning rate — {chosen.title}"
    return finish(fig, title, notes, height, heads=1)


def _head(task: Any, activation: Any) -> str:
    return "<b>" + ", ".join(str(word) for word in (activation, task) if word) + "</b>"


def by_key(found: Sequence[Outcome], key: str) -> list[tuple[Any, list[float]]]:
    """(value of the key, the trials' results), in order of the value."""
    groups: dict[Any, list[float]] = {}
    for one in found:
        if one.value is not None:
            groups.setdefault(one.key(key), []).append(one.value)
    return sorted(groups.items())


def band(
    fig: go.Figure,
    points: Sequence[tuple[Any, list[float]]],
    name: str,
    style: Mapping[str, Any],
    legend: bool,
    **place: Any,
) -> None:
    """Mean as a line, half a standard deviation to each side as a band."""
    x = [at for at, _ in points]
    spread = [mean_and_spread(values) for _, values in points]
    upper, lower = ([m + sign * s / 2 for m, s in spread] for sign in (1, -1))
    fig.add_trace(
        go.Scatter(
            x=[*x, *reversed(x)], y=[*upper, *reversed(lower)], fill="toself", mode="lines",
            line={"width": 0}, fillcolor=style["colour"], opacity=0.15, showlegend=False,
            legendgroup=name, hoverinfo="skip",
        ),
        **place,
    )  # fmt: skip
    fig.add_trace(
        go.Scatter(
            x=x, y=[mean for mean, _ in spread], name=name, legendgroup=name, showlegend=legend,
            mode="lines+markers", customdata=[
                [s, len(v), text] for (_, s), (_, v), text in
                zip(spread, points, value_texts(x), strict=True)],
            line={"color": style["colour"], "dash": style["dash"], "width": 2},
            marker={"symbol": style["symbol"], "size": 8, "color": style["colour"]},
            hovertemplate=f"{name}<br>%{{customdata[2]}}: %{{y:.3f}} ± %{{customdata[0]:.3f}} "
            "(%{customdata[1]} trials)<extra></extra>",
        ),
        **place,
    )  # fmt: skip


def uneven(found: Sequence[Outcome], key: str) -> str:
    """Says which points rest on fewer trials than the others, and which are not there at all."""
    counts: dict[tuple[Any, ...], int] = {}
    for one in found:
        cell = (one.key("activation"), one.key("task"), one.start, one.key(key))
        counts[cell] = counts.get(cell, 0) + (one.value is not None)
    most = max(counts.values(), default=0)
    short = {cell: count for cell, count in counts.items() if count < most}
    axes = [sorted({cell[i] for cell in counts}, key=str) for i in range(4)]
    expected = math.prod(len(axis) for axis in axes)
    gone = expected - len(counts)
    words = []
    if short:
        some = [
            f"{', '.join(str(w) for w in cell[:3] if w)} at {key} {value_text(cell[3])}: {count}"
            for cell, count in list(short.items())[:4]
        ]
        more = f" and {len(short) - 4} more" if len(short) > 4 else ""
        words.append(f"Fewer than {most} trials: {'; '.join(some)}{more}.")
    if gone:
        words.append(f"{gone} of {expected} points have no trial yet.")
    return " ".join(words)


def figure3(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Percentage of matched trials in which one start beats another; ties and gaps told."""
    chosen, found = outcomes(store, space, trial)
    groups = matched(found, list(space.get("swept") or ()))
    subsets = {"all": lambda one: True, **_subsets(found)}
    table = {name: comparisons(groups, keep) for name, keep in subsets.items()}
    if not any(one.pairs for one in table["all"]):
        raise StoreError(
            f"no two trials of {chosen.title} differ in their start only; launch the rest of it."
        )
    fig = go.Figure()
    for index in range(len(table["all"])):
        own = {name: rows[index] for name, rows in table.items()}
        _win_bars(fig, own, COLOURS[index % len(COLOURS)])
    fig.add_hline(y=50, line={"dash": "dot", "color": "#555555", "width": 1.5})
    fig.update_layout(barmode="group", bargap=0.25)
    fig.update_yaxes(title="Wins (% of pairs)", range=[0, 105], dtick=25)
    lost = [f"{c.first} / {c.second}: {c.missing}" for c in table["all"] if c.missing]
    note = (
        "A pair differs in its start only; judged on test data at the epoch best on validation. A "
        "trial that never was finite loses. Bars: wins; pale: ties; above: pairs compared."
    )
    gaps = f"Pairs without both results: {'; '.join(lost)}." if lost else ""
    notes = [*chosen.notes(), note, gaps]
    finish(fig, f"Which start wins — {chosen.title}", notes, 430)
    return fig.update_xaxes(showgrid=False)


def _win_bars(fig: go.Figure, own: Mapping[str, Comparison], colour: str) -> None:
    """Bars of one comparison, ties stacked on the wins in a paler tone."""
    kept = {name: one for name, one in own.items() if one.pairs}
    if not kept:
        return
    names, rows = list(kept), list(kept.values())
    title = f"{rows[0].first} beats {rows[0].second}"
    group = {"offsetgroup": title, "legendgroup": title}
    wins = [one.win_percent or 0.0 for one in rows]
    ties = [100.0 * one.ties / one.pairs for one in rows]
    hover = [
        f"{name}<br>{title}: {one.wins} of {one.pairs}, {one.ties} ties, {one.missing} missing"
        for name, one in kept.items()
    ]
    fig.add_trace(
        go.Bar(x=names, y=wins, name=title, marker={"color": colour}, hovertext=hover,
               hoverinfo="text", **group)
    )  # fmt: skip
    fig.add_trace(
        go.Bar(
            x=names, y=ties, base=wins, showlegend=False, hovertext=hover, hoverinfo="text",
            marker={"color": colour, "opacity": 0.35}, textfont={"color": "#222222"},
            text=[str(one.pairs) for one in rows], textposition="outside", **group,
        )
    )  # fmt: skip


def _subsets(found: Sequence[Outcome]) -> dict[str, Callable[[Outcome], bool]]:
    """Parts of the trials that are compared by themselves, where they are not all or none."""
    models = {str(one.key("model")) for one in found}
    subsets: dict[str, Callable[[Outcome], bool]] = {}
    if "rsimplernn" in models and len(models) > 1:
        subsets["without rsimplernn,<br>as published"] = lambda one: (
            one.key("model") != "rsimplernn"
        )
    if models & set(_SPIKING) and models - set(_SPIKING):
        subsets["spiking nets"] = lambda one: one.key("model") in _SPIKING
        subsets["other nets"] = lambda one: one.key("model") not in _SPIKING
    for key in ("depth", "task", "activation"):
        values = sorted({one.key(key) for one in found if one.key(key) is not None}, key=str)
        if len(values) > 1:
            for value in values:
                name = f"{key} {value}" if key == "depth" else str(value)
                subsets[name] = lambda one, k=key, v=value: one.key(k) == v
    return subsets


def figure4(store: Store, space: Mapping[str, Any], trial: str | None = None) -> go.Figure:
    """Validation perplexity by epoch, a panel per depth; dashed where gradients are clipped."""
    chosen, found = outcomes(store, space, None, early=True)
    at = of_trial(store, found, trial, ("depth",))
    found = [one for one in found if at is None or at(one)]
    rows = series(
        store, "epochs",
        "epoch, coalesce(metrics['val_batch_perplexity'], exp(val_loss)) AS perplexity",
        [one.shown.id for one in found], order="epoch",
    )  # fmt: skip
    depths = values_of(found, "depth")
    scale = LogScale()
    scale.see(row["perplexity"] for own in rows.values() for row in own)
    heads = [f"<b>depth {depth}</b>" for depth in depths]
    fig = make_subplots(1, len(depths), subplot_titles=heads, shared_yaxes=True,
                        horizontal_spacing=0.04)  # fmt: skip
    named: set[str] = set()
    for index, start in enumerate(in_order([one.start for one in found])):
        for clip in (False, True):
            name = f"{start}, clipped" if clip else start
            style = {**look(index), "dash": "dash" if clip else "solid"}
            for col, depth in enumerate(depths, 1):
                own = [
                    rows[one.shown.id]
                    for one in found
                    if (one.start, one.clipped, one.key("depth")) == (start, clip, depth)
                    and one.shown.id in rows
                ]
                if own:
                    _curves(fig, own, name, style, scale, name not in named, row=1, col=col)
                    named.add(name)
    explain_marks(fig, [scale])
    last = max((row["epoch"] for own in rows.values() for row in own), default=1)
    fig.update_xaxes({"title": "Epoch", "tickformat": "d", **({"dtick": 1} if last <= 10 else {})})
    fig.update_yaxes(**scale.axis())
    fig.update_yaxes(title="Validation perplexity", row=1, col=1)
    note = "Thick: median over seeds, while half of them train; thin: each seed."
    title = f"Validation perplexity — {chosen.title}"
    return finish(fig, title, [*chosen.notes(), note], 430, heads=1)


def _curves(
    fig: go.Figure,
    seeds: Sequence[Sequence[Mapping[str, Any]]],
    name: str,
    style: dict[str, Any],
    scale: LogScale,
    legend: bool,
    **place: Any,
) -> None:
    """Every seed as a thin line, their median as a thick one."""
    by_epoch: dict[int, list[float]] = {}
    for own in seeds:
        y = [row["perplexity"] for row in own]
        fig.add_trace(
            go.Scatter(
                x=[row["epoch"] for row in own], y=[v if _finite(v) else None for v in y],
                mode="lines", showlegend=False, legendgroup=name, hoverinfo="skip", opacity=0.3,
                line={"color": style["colour"], "dash": style["dash"], "width": 1},
            ),
            **place,
        )  # fmt: skip
        for row in own:
            by_epoch.setdefault(row["epoch"], []).append(row["perplexity"])
    kept = {e: v for e, v in sorted(by_epoch.items()) if 2 * len(v) >= len(seeds)}
    middle = [
        statistics.median(v if _finite(v) else math.inf for v in own) for own in kept.values()
    ]
    draw_series(fig, list(kept), middle, scale, name, style, legend=legend, **place)


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


FIGURES = (
    Figure(
        figure2,
        metrics=("val_loss", "test_accuracy"),
        by=("activation", "task", BY_START, "lr"),
        panel=("activation", "task"),
    ),
    Figure(figure3, by=(BY_START,), apart=lambda key: not told_by_start(key), averages=False),
    Figure(
        figure4,
        metrics=("val_loss",),
        loss_unit="nats",  # a perplexity is e to the power of the loss
        by=("depth", BY_START, BY_CLIPPING),
        panel=("depth",),
    ),
)
