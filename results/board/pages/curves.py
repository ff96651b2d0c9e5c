"""A metric along training, of groups with a median and a band over their trials."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from dash import html

from results.board.components import (
    cell,
    choice,
    graph,
    grid,
    heading,
    message,
    number,
    places,
    sql_of,
    ticks,
)
from results.board.looks import COLOURS, faint, plain
from results.board.page import Page, View
from results.board.pages.common import (
    cells_keys,
    has,
    holders,
    keys_of,
    metrics_of,
    selected,
)
from results.board.questions.curves import ALONG, BANDS, curves, ends
from results.config_values import value_texts
from results.errors import StoreError

LINES = 40
"""Groups that are drawn at most: more colours and dashes cannot be told apart."""

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_UNITS = {"epoch": "epoch", "step": "optimizer steps", "seconds": "seconds of training"}


def controls(view: View) -> list[Any]:
    space = view.stores.space(view.at)
    metrics = metrics_of(view, space)
    at = view.at
    return [
        *places(view),
        choice("metric", "Metric", metrics, _metric(view, metrics)),
        choice("by", "Group by", keys_of(view, space), _by(view, space), several=True),
        choice("along", "Along", ALONG, at.first("along", "epoch")),
        choice("band", "Band over trials", BANDS, at.first("band", "quartiles")),
        number("smooth", "Mean of epochs", at.number("smooth", 1), 1, 1000),
        ticks("log", "Log axes", {"y": "metric", "x": "training"}, at.several("log")),
    ]


def _metric(view: View, known: list[str]) -> str:
    name = view.at.first("metric")
    if name and name not in known:
        raise StoreError(f"no epoch of this space has {name!r}; there are {', '.join(known)}.")
    if not name and not known:
        raise StoreError("no epoch of this space has been recorded yet.")
    return name or known[0]


def _by(view: View, space: str) -> list[str]:
    """The keys that make a group; if none is given, all that vary but the seed."""
    return view.at.several("by", cells_keys(view, space))


def main(view: View) -> list[Any]:
    at = view.at
    space = view.stores.space(at)
    metric, by = _metric(view, metrics_of(view, space)), _by(view, space)
    along, band = at.first("along", "epoch"), at.first("band", "quartiles")
    if along not in ALONG or band not in BANDS:
        raise StoreError(f"along is one of {', '.join(ALONG)}, band one of {', '.join(BANDS)}.")
    smooth = min(1000, max(1, at.number("smooth", 1)))
    chosen: dict[str, list[str]] = {}
    for shown, trial in selected(view):
        chosen.setdefault(shown.name, []).append(trial)
    figure, table, sql, ended = go.Figure(), [], "", ""
    for shown in holders(view, space):
        only = chosen.get(shown.name, [])
        if chosen and not only:
            continue
        own = has(shown, by)
        sql = curves(space, metric, along, own, band, smooth, only)
        ended = ends(space, own, only)
        rows, marks = shown.ask(sql).rows(), shown.ask(ended).rows()
        head = [shown.name] if len(view.stores.chosen(at)) > 1 else []
        for key, (label, points) in _split(rows, own).items():
            label = ", ".join([*head, *label]) or "all trials"
            counts = [row for row in marks if tuple(row[name] for name in own) == key]
            row = _count(label, counts, points)
            table.append(row)
            if len(table) <= LINES:
                gone = f" ({row['diverged']} of {row['trials']} diverged)"
                _line(figure, len(table) - 1, label + gone * bool(row["diverged"]), points, counts)
    if not table:
        return [message(f"No epoch of these trials has {metric} yet.")]
    figure.update_layout(height=560, legend={"title": {"text": plain(", ".join(by))}})
    figure.update_xaxes(title=_UNITS[along], type="log" if at.has("log", "x") else "linear")
    figure.update_yaxes(title=plain(metric), type="log" if at.has("log", "y") else "linear")
    more = f" {LINES} of {len(table)} groups are drawn." if len(table) > LINES else ""
    says = (
        "Lines are medians over the trials of a group that are finite at that epoch; "
        f"bands: {band}. A cross marks where trials became non-finite, a bar where they were "
        f"pruned.{more}"
    )
    return [
        heading(f"{metric} of {space}"),
        graph(view, "curves", figure, f"{metric} by {_UNITS[along]}, a line a group. {says}"),
        html.P(says, className="note"),
        grid(view, "curve-groups", list(table[0]), table, height=None if len(table) < 20 else 480),
        sql_of(sql, at),
        sql_of(ended, at, "the counts of diverged and pruned trials"),
    ]


_Points = list[dict[str, Any]]


def _split(rows: _Points, by: list[str]) -> dict[tuple, tuple[list[str], _Points]]:
    """Rows by group, each with the words that tell it from the others."""
    found: dict[tuple, _Points] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in by), []).append(row)
    texts = [value_texts([key[i] for key in found]) for i in range(len(by))]
    words = [
        [text[n] for i, text in enumerate(texts) if key[i] is not None]
        for n, key in enumerate(found)
    ]
    return {key: (own, found[key]) for key, own in zip(found, words, strict=True)}


def _count(label: str, ends: list[dict[str, Any]], points: list[dict[str, Any]]) -> dict[str, Any]:
    """A row of the table below the figure."""
    count = dict.fromkeys((None, "diverged", "pruned"), 0)
    for row in ends:
        count[row["status"]] += row["trials"]
    last = [row for row in points if row["median"] is not None][-1:] or [points[-1]]
    numbers = {name: last[0][name] for name in ("epoch", "median", "low", "high", "finite")}
    row = {"group": label, "trials": count[None], "diverged": count["diverged"],
           "pruned": count["pruned"], **numbers}  # fmt: skip
    return {name: cell(value) for name, value in row.items()}


def _line(
    figure: go.Figure,
    index: int,
    label: str,
    points: list[dict[str, Any]],
    ends: list[dict[str, Any]],
) -> None:
    colour = COLOURS[index % len(COLOURS)]
    name = plain(label)
    banded = [row for row in points if row["low"] is not None and row["high"] is not None]
    if banded and any(row["low"] < row["high"] for row in banded):
        figure.add_scatter(
            x=[row["x"] for row in banded] + [row["x"] for row in reversed(banded)],
            y=[row["high"] for row in banded] + [row["low"] for row in reversed(banded)],
            fill="toself", fillcolor=faint(colour, 0.2), line={"width": 0}, mode="lines",
            legendgroup=name, showlegend=False, hoverinfo="skip",
        )  # fmt: skip
    figure.add_scatter(
        x=[row["x"] for row in points],
        y=[row["median"] for row in points],
        name=name,
        legendgroup=name,
        mode="lines+markers" if len(points) < 3 else "lines",
        line={"color": colour, "dash": _DASHES[index // len(COLOURS) % len(_DASHES)], "width": 2},
        customdata=[[row["epoch"], row["finite"]] for row in points],
        hovertemplate="%{y:.4g} at epoch %{customdata[0]}, %{customdata[1]} trials",
    )
    for status, symbol in (("diverged", "x-thin"), ("pruned", "line-ns")):
        for row in ends:
            if row["status"] != status:
                continue
            before = [p for p in points if p["epoch"] <= row["ended"] and p["median"] is not None]
            if not before:
                continue
            figure.add_scatter(
                x=[before[-1]["x"]], y=[before[-1]["median"]], mode="markers",
                marker={"symbol": symbol, "size": 13, "line": {"width": 3, "color": colour}},
                name=name, legendgroup=name, showlegend=False,
                hovertemplate=f"{row['trials']} {status} after epoch {row['ended']}",
            )  # fmt: skip


PAGE = Page(
    "curves",
    "Curves",
    main,
    ("metric", "by", "along", "band", "smooth", "log", "trial"),
    controls=controls,
)
