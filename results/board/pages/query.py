"""One SELECT over the chosen stores, as a table and a quick plot."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from dash import dcc, html

from results.ask.named_queries import named_queries
from results.board.components import (
    ROWS,
    cells,
    choice,
    graph,
    grid,
    heading,
    link,
    message,
    places,
)
from results.board.looks import COLOURS, plain
from results.board.page import Page, View
from results.board.stores import Shown
from results.result import Result

_FIRST = "SELECT status, count(*) AS trials FROM trials GROUP BY ALL ORDER BY ALL"
_KINDS = ("none", "points", "lines", "bars")


def controls(view: View) -> list[Any]:
    sql = view.at.first("sql", _FIRST)
    shown = view.stores.chosen(view.at)[0]
    names = _columns(shown, sql)
    at = view.at
    return [
        *places(view, space=False),
        choice("plot", "Plot", _KINDS, at.first("plot", "none")),
        choice("x", "Across", ["", *names], at.first("x", names[0] if names else "")),
        choice("y", "Up", ["", *names], at.first("y", names[-1] if names else "")),
        choice("colour", "Colour", ["", *names], at.first("colour")),
    ]


def _columns(shown: Shown, sql: str) -> list[str]:
    from results.errors import StoreError

    try:
        return shown.ask(sql).columns
    except StoreError:
        return []


def main(view: View) -> list[Any]:
    sql = view.at.first("sql", _FIRST)
    links = [
        link(view.at.changed({"sql": query.sql, "x": None, "y": None}), name, title=query.doc)
        for name, query in named_queries().items()
    ]
    return [
        heading("Query"),
        html.Label("One SELECT in DuckDB's SQL, read-only", htmlFor="sql-text"),
        dcc.Textarea(
            id={"type": "draft", "name": "sql"}, value=sql, spellCheck=False, className="sql-text"
        ),
        html.Button("Run", id={"type": "send", "name": "sql"}, className="send"),
        html.P(["Named queries: ", *links], className="queries"),
        html.P(
            "`gradsweep query --schema` explains every view and column.", className="note"
        ),
    ]  # fmt: skip


def aside(view: View) -> list[Any]:
    at = view.at
    sql = at.first("sql", _FIRST)
    found: list[Any] = []
    for shown in view.stores.chosen(at):
        result = shown.ask(sql)
        cut = f"; the first {ROWS} are shown" if len(result) > ROWS else ""
        found.append(heading(f"{len(result)} rows of {shown.name}{cut}"))
        found += _plot(view, shown, result)
        rows = cells(result)
        for row in rows:
            if isinstance(row.get("trial_id"), str):
                place = at.elsewhere("trial", store=shown.name, trial=[row["trial_id"]])
                row["board_href"] = place.href
        found.append(
            grid(
                view,
                f"query-{shown.name}",
                result.columns,
                rows,
                linked={"trial_id": "board_href"},
                height=None if len(rows) <= 25 else 560,
            )
        )
    return found


def _plot(view: View, shown: Shown, result: Result) -> list[Any]:
    at = view.at
    kind = at.first("plot", "none")
    if kind == "none" or not result.columns:
        return []
    x, y = at.first("x", result.columns[0]), at.first("y", result.columns[-1])
    colour = at.first("colour")
    for name in filter(None, (x, y, colour)):
        if name not in result.columns:
            return [message(f"The result has no column {name!r}; choose another.")]
    groups: dict[Any, tuple[list[Any], list[Any]]] = {}
    for row in result.rows():
        xs, ys = groups.setdefault(row[colour] if colour else None, ([], []))
        xs.append(row[x])
        ys.append(row[y])
    figure = go.Figure()
    for index, (group, (xs, ys)) in enumerate(groups.items()):
        own = COLOURS[index % len(COLOURS)]
        name = plain(y if group is None else group)
        if kind == "bars":
            figure.add_bar(x=xs, y=ys, name=name, marker={"color": own})
        else:
            mode = "markers" if kind == "points" else "lines"
            figure.add_scattergl(x=xs, y=ys, name=name, mode=mode, marker={"color": own})
    figure.update_xaxes(title=plain(x))
    figure.update_yaxes(title=plain(y))
    figure.update_layout(height=460, showlegend=len(groups) > 1)
    return [graph(view, f"query-{shown.name}", figure, f"{y} by {x} of {shown.name}")]


PAGE = Page(
    "query",
    "Query",
    main,
    ("sql",),
    controls=controls,
    controls_reads=("sql",),
    aside=aside,
    aside_reads=("sql", "plot", "x", "y", "colour"),
)
