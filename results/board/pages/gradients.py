"""Gradients: verdicts over the grid of a space; of one trial, norms by layer and epoch."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go
from dash import dcc, html

from results.board.components import (
    choice,
    control,
    graph,
    heading,
    link,
    message,
    named,
    places,
    sql_of,
    ticks,
)
from results.board.looks import COLOURS, VERDICTS, faint, plain
from results.board.page import Page, View
from results.board.pages.common import cells_keys, holders, keys_of, one_trial, varying
from results.board.questions.gradients import heat_map, last_epoch, profile, verdict_map
from results.board.stores import Shown
from results.config_values import value_texts


def controls(view: View) -> list[Any]:
    space = view.stores.space(view.at)
    keys = keys_of(view, space)
    across, down = _axes(view, space)
    shown, trial = one_trial(view)
    last = _last(shown, trial)
    found: list[Any] = [
        *places(view),
        choice("x", "Grid across", keys, across),
        choice("y", "Grid down", ["", *keys], down),
        ticks("show", "Grid", {"verdict": "verdicts"}, _show(view)),
    ]
    if last:
        slider = dcc.Slider(
            id=control("epoch"),
            min=0,
            max=last,
            step=1,
            value=min(last, max(0, view.at.number("epoch", last))),
            marks={0: "0", last: str(last)},
            tooltip={"placement": "bottom"},
        )
        found.append(
            html.Div(
                [
                    html.Span(f"Epoch of the layer profile of {trial[:8]}", className="label"),
                    slider,
                ],
                className="control slider",
                role="group",
                **named("Epoch of the layer profile"),
            )
        )
    return found


def _axes(view: View, space: str) -> tuple[str, str]:
    own = [*cells_keys(view, space), *varying(view, space), ""]
    across = view.at.first("x", own[0])
    rest = [key for key in own if key != across]
    return across, view.at.first("y", rest[0] if rest else "")


def _show(view: View) -> list[str]:
    quick = all(shown.quick() for shown in view.stores.chosen(view.at))
    return view.at.several("show", ["verdict"] if quick else [])


def _last(shown: Shown, trial: str) -> int:
    rows = shown.ask(last_epoch(trial)).rows()
    return int(rows[0]["last"] or 0) if rows else 0


def main(view: View) -> list[Any]:
    space = view.stores.space(view.at)
    found: list[Any] = []
    if "verdict" in _show(view):
        for shown in holders(view, space)[:1]:
            found += _verdicts(view, shown, space)
    shown, trial = one_trial(view)
    return found + _heat_map(view, shown, trial)


def _verdicts(view: View, shown: Shown, space: str) -> list[Any]:
    keys = [key for key in dict.fromkeys(_axes(view, space)) if key]
    if not keys:
        return [message("Every key is equal in all trials of this space: there is no grid.")]
    sql = verdict_map(space, keys)
    rows = shown.ask(sql).rows()
    if not rows:
        return [message("No trial of this space has been diagnosed yet.")]
    at: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        at.setdefault((row[keys[0]], row[keys[1]] if len(keys) > 1 else ""), []).append(row)
    across, down = _ordered(x for x, _ in at), _ordered(y for _, y in at)
    order = list(VERDICTS)
    z, text, places = [], [], []
    for y in down:
        cells = [at.get((x, y), []) for x in across]
        most = [max(cell, key=_weight, default=None) for cell in cells]
        z.append([None if one is None else order.index(one["verdict"]) for one in most])
        text.append([_counts(cell) for cell in cells])
        places.append(
            [
                None if one is None
                else view.at.elsewhere("gradients", trial=[one["trial_id"]], store=shown.name).href
                for one in most
            ]
        )  # fmt: skip
    figure = go.Figure(
        go.Heatmap(
            x=list(map(plain, value_texts(across))), y=list(map(plain, value_texts(down))), z=z,
            text=text, customdata=places, zmin=-0.5, zmax=len(order) - 0.5, showscale=False,
            colorscale=_steps(order), texttemplate="%{text}", xgap=2, ygap=2,
            hovertemplate="%{x}, %{y}<br>%{text}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title=plain(keys[0]), type="category", showgrid=False)
    figure.update_yaxes(
        title=plain(keys[1]) if len(keys) > 1 else "", type="category", showgrid=False
    )
    figure.update_layout(height=150 + 60 * len(down))
    says = "Each cell has the colour of its most frequent verdict; click it for one of its trials."
    return [
        heading(f"Verdicts over the grid of {space}"),
        graph(view, "verdicts", figure, says),
        html.P(says, className="note"),
        sql_of(sql, view.at),
    ]


def _weight(row: dict[str, Any]) -> tuple[int, bool]:
    """Of verdicts that are equally frequent the one that is not healthy gives the colour."""
    return row["trials"], row["verdict"] != "healthy"


def _counts(cell: list[dict[str, Any]]) -> str:
    ordered = sorted(cell, key=lambda row: -row["trials"])
    return "<br>".join(f"{row['trials']} {plain(row['verdict'])}" for row in ordered)


def _ordered(values: Any) -> list[Any]:
    """Values in their order, numbers before texts, none first."""
    known = dict.fromkeys(values)
    return sorted(
        known,
        key=lambda v: (v is not None, isinstance(v, str), v if isinstance(v, str) else v or 0),
    )


def _steps(order: list[str]) -> list[list[Any]]:
    """A colour scale of one colour a verdict."""
    n = len(order)
    return [
        [edge / n, VERDICTS[verdict]]
        for i, verdict in enumerate(order)
        for edge in (i, i + 1)
    ]  # fmt: skip


def _heat_map(view: View, shown: Shown, trial: str) -> list[Any]:
    sql = heat_map(trial)
    rows = shown.ask(sql).rows()
    place = view.at.elsewhere("trial", trial=[trial], store=shown.name)
    head = [heading(f"Gradient norms of {trial}"), link(place, "Everything about this trial")]
    if not rows:
        return [*head, message("This trial has no rows of layers yet.")]
    epochs = sorted({row["epoch"] for row in rows})
    layers = {row["layer"]: row["layer_name"] for row in rows}
    at = {(row["layer"], row["epoch"]): row for row in rows}
    order = sorted(layers)
    z = [[_log(at.get((layer, epoch))) for epoch in epochs] for layer in order]
    text = [[_said(at.get((layer, epoch))) for epoch in epochs] for layer in order]
    figure = go.Figure(
        go.Heatmap(
            x=epochs, y=[f"{layer} {plain(layers[layer])}" for layer in order], z=z, text=text,
            colorscale="Viridis", colorbar={"title": "log10 norm"},
            hovertemplate="%{y}, epoch %{x}<br>%{text}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title="epoch", showgrid=False)
    figure.update_yaxes(type="category", title="layer, 0 nearest the input", showgrid=False)
    figure.update_layout(height=max(340, 130 + 18 * len(order)))
    blank = sum(value is None for line in z for value in line)
    gone = f" {blank} cells are blank: the norm was 0, not finite or not recorded." if blank else ""
    says = f"Mean 2-norm of each layer's gradient over an epoch, before clipping.{gone}"
    return [
        *head,
        graph(view, "gradients", figure, says),
        html.P(says, className="note"),
        sql_of(sql, view.at),
    ]


def _log(row: dict[str, Any] | None) -> float | None:
    norm = None if row is None else row["grad_norm"]
    return math.log10(norm) if norm and math.isfinite(norm) and norm > 0 else None


def _said(row: dict[str, Any] | None) -> str:
    if row is None or row["grad_norm"] is None:
        return "not recorded"
    words = f"{row['grad_norm']:.4g}"
    if row["nonfinite_steps"]:
        words += f", {row['nonfinite_steps']} steps not finite"
    return words + (f", {row['zero_steps']} steps exactly 0" if row["zero_steps"] else "")


def aside(view: View) -> list[Any]:
    shown, trial = one_trial(view)
    last = _last(shown, trial)
    epoch = min(last, max(0, view.at.number("epoch", last)))
    sql = profile(trial, epoch)
    rows = [row for row in shown.ask(sql).rows() if row["grad_norm"] is not None]
    if not rows:
        return [message(f"Epoch {epoch} of {trial} has no rows of layers.")]
    layers = [f"{row['layer']} {plain(row['layer_name'])}" for row in rows]
    figure = go.Figure()
    kept = [row["grad_norm_min"] and row["grad_norm_max"] for row in rows]
    if all(kept):
        figure.add_scatter(
            x=layers + layers[::-1],
            y=[row["grad_norm_max"] for row in rows] + [r["grad_norm_min"] for r in rows[::-1]],
            fill="toself", fillcolor=faint(COLOURS[0], 0.2), line={"width": 0}, mode="lines",
            name="least to greatest step", hoverinfo="skip",
        )  # fmt: skip
    for name, column, colour in (
        ("gradient", "grad_norm", COLOURS[0]),
        ("update", "update_norm", COLOURS[1]),
        ("parameters", "param_norm", COLOURS[2]),
    ):
        figure.add_scatter(
            x=layers, y=[row[column] for row in rows], mode="lines+markers", name=name,
            line={"color": colour}, visible=True if name == "gradient" else "legendonly",
        )  # fmt: skip
    figure.update_xaxes(title="layer, 0 nearest the input", type="category")
    seen = [row["grad_norm_max"] or 0 for row in rows] + [row["grad_norm_min"] or 0 for row in rows]
    decades = _decades([value for value in seen if value > 0 and math.isfinite(value)])
    figure.update_yaxes(
        title="2-norm", type="log", exponentformat="power", dtick="D2" if decades < 3 else None
    )
    figure.update_layout(height=440, showlegend=True)
    says = f"Mean norm of each layer's gradient in epoch {epoch}, and its range over steps."
    return [
        heading(f"Layer profile of {trial} in epoch {epoch}"),
        graph(view, "profile", figure, says),
        html.P(f"{says} A norm of exactly 0 has no place on a log axis.", className="note"),
        sql_of(sql, view.at),
    ]


def _decades(values: list[float]) -> float:
    """How far the values are apart."""
    return math.log10(max(values) / min(values)) if values else 0.0


PAGE = Page(
    "gradients",
    "Gradients",
    main,
    ("x", "y", "show", "trial"),
    controls=controls,
    controls_reads=("trial",),
    aside=aside,
    aside_reads=("trial", "epoch"),
)
