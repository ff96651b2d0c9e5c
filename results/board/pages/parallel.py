"""Which keys matter: parallel coordinates over what varies, and each key's importance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from dash import html

from results.board.components import choice, graph, heading, message, places, sql_of
from results.board.looks import COLOURS, dark, plain
from results.board.page import Page, View
from results.board.pages.common import cells_keys, has, holders, keys_of, metrics_of, varying
from results.board.questions.trials import trials
from results.config_values import value_texts

FEWEST = 8
"""Trials that an importance needs at least."""

_MOST_TICKS = 12
_SCALES = {"rank": "rank", "value": "value"}


def controls(view: View) -> list[Any]:
    space = view.stores.space(view.at)
    metrics = metrics_of(view, space)
    return [
        *places(view),
        choice("metric", "Metric", metrics, _metric(view, space)),
        choice("keys", "Keys", keys_of(view, space), _keys(view, space), several=True),
        choice("scale", "Importance for its", _SCALES, view.at.first("scale", "rank")),
    ]


def _metric(view: View, space: str) -> str:
    known = metrics_of(view, space)
    return view.at.first("metric", known[0] if known else "loss")


def _keys(view: View, space: str) -> list[str]:
    own = cells_keys(view, space)
    return view.at.several("keys", own or varying(view, space))


def _asked(view: View) -> tuple[list[dict[str, Any]], list[str], str, str]:
    """Rows of all chosen stores, the keys, the metric, and the SQL of the last store."""
    space = view.stores.space(view.at)
    metric, keys = _metric(view, space), _keys(view, space)
    rows: list[dict[str, Any]] = []
    sql = ""
    for shown in holders(view, space):
        sql = trials(space, has(shown, keys), [metric], False)
        rows += shown.ask(sql).rows()
    return rows, keys, metric, sql


def _finite(rows: list[dict[str, Any]], metric: str) -> list[dict[str, Any]]:
    return [row for row in rows if row[metric] is not None and math.isfinite(row[metric])]


def main(view: View) -> list[Any]:
    rows, keys, metric, sql = _asked(view)
    kept = _finite(rows, metric)
    if not kept or not keys:
        return [message(f"No trial with different keys has a finite {metric} yet.")]
    values = [row[metric] for row in kept]
    wide = min(values) > 0 and max(values) > 100 * min(values)
    shade = [math.log10(value) for value in values] if wide else values
    dimensions = [_dimension(key, [row.get(key) for row in kept]) for key in keys]
    dimensions.append({"label": f"log10 {metric}" if wide else metric, "values": shade})
    ink = "#e6e6e6" if dark(view.at) else "#1c1f23"
    figure = go.Figure(
        go.Parcoords(
            dimensions=dimensions,
            line={"color": shade, "colorscale": "Viridis", "showscale": True},
            labelfont={"size": 13, "color": ink},
            tickfont={"color": ink},
            rangefont={"color": "rgba(0,0,0,0)"},
        )
    )
    gone = len(rows) - len(kept)
    left_out = f" {gone} have none that is finite and are left out." if gone else ""
    says = f"Each line is a trial, with the last {metric} recorded.{left_out}"
    parts = [
        heading(f"{metric} of {len(kept)} trials by {len(keys)} keys"),
        graph(view, "parallel", figure, says),
        html.P(f"{says} Drag along an axis to keep some of the lines.", className="note"),
        sql_of(sql, view.at),
    ]
    figure.update_layout(height=480, margin={"l": 90, "r": 60, "t": 60, "b": 30})
    return parts


def _dimension(key: str, values: Sequence[Any]) -> dict[str, Any]:
    """An axis: few values are named, each at its own place; many numbers are a scale."""
    known = sorted(dict.fromkeys(values), key=_place)
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in known)
    if numbers and len(known) > _MOST_TICKS:
        if min(known) > 0 and max(known) > 100 * min(known):
            return {"label": f"log10 {key}", "values": [math.log10(v) for v in values]}
        return {"label": key, "values": list(values)}
    at = {value: place for place, value in enumerate(known)}
    return {
        "label": key,
        "values": [at[value] for value in values],
        "tickvals": list(range(len(known))),
        "ticktext": [plain(text) for text in value_texts(known)],
    }


def _place(value: Any) -> tuple[int, float, str]:
    """Null first, then numbers, then texts."""
    if value is None:
        return 0, 0.0, ""
    if isinstance(value, str):
        return 2, 0.0, value
    return 1, float(value), ""


def aside(view: View) -> list[Any]:
    if view.importance is None:
        return []
    rows, keys, metric, sql = _asked(view)
    kept = _finite(rows, metric)
    own = [key for key in keys if len({row.get(key) for row in kept}) > 1]
    if len(kept) < FEWEST or not own:
        return [
            heading("Importance"),
            message(
                f"An importance needs {FEWEST} trials with a finite {metric} and a key that varies;"
                f" there are {len(kept)} and {len(own)}."
            ),
        ]
    values = [float(row[metric]) for row in kept]
    if view.at.first("scale", "rank") == "rank":
        values = ranks(values)
    shares = view.importance([{key: row.get(key) for key in own} for row in kept], values)
    ordered = sorted(shares.items(), key=lambda item: item[1])
    figure = go.Figure(
        go.Bar(
            x=[share for _, share in ordered],
            y=[plain(key) for key, _ in ordered],
            orientation="h",
            marker={"color": COLOURS[0]},
            text=[f"{share:.3f}" for _, share in ordered],
        )
    )
    figure.update_xaxes(title="share of the variance", range=[0, 1.05])
    figure.update_yaxes(type="category")
    figure.update_layout(height=110 + 34 * len(ordered))
    what = "rank of " if view.at.first("scale", "rank") == "rank" else ""
    says = (
        f"fANOVA (Hutter et al. 2014, as optuna has it) of the {what}{metric} over {len(kept)} "
        "trials: the share of its variance that each key explains alone. It holds for this grid."
    )
    return [
        heading("Importance"),
        graph(view, "importance", figure, says),
        html.P(says, className="note"),
        sql_of(sql, view.at, "the trials that it is computed from"),
    ]


def ranks(values: Sequence[float]) -> list[float]:
    """Each value's place among all, 0 the least; equal values share the mean of their places."""
    order = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    first = 0
    while first < len(order):
        last = first
        while last + 1 < len(order) and values[order[last + 1]] == values[order[first]]:
            last += 1
        for place in order[first : last + 1]:
            found[place] = (first + last) / 2
        first = last + 1
    return found


PAGE = Page(
    "parallel",
    "Keys",
    main,
    ("metric", "keys"),
    controls=controls,
    aside=aside,
    aside_reads=("metric", "keys", "scale"),
)
