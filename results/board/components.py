"""Pieces that several pages are made of: controls, tables, the SQL of a view."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dash_ag_grid as dag
import plotly.graph_objects as go
from dash import dcc, html

from results.board.address import Address
from results.board.looks import dark, dressed
from results.board.page import View
from results.result import Result

ROWS = 5_000
"""Rows of a table at most."""


def named(label: str, **more: str) -> dict[str, Any]:
    """What a screen reader says of an element, and other attributes with a hyphen."""
    return {"aria-label": label, **{name.replace("_", "-"): text for name, text in more.items()}}


def control(name: str) -> dict[str, str]:
    """Id of a control whose value is a name of the address."""
    return {"type": "control", "name": name}


def choice(
    name: str, label: str, options: Iterable[str], value: Any, several: bool = False
) -> html.Div:
    """A labelled list to choose from."""
    kept = [{"label": text, "value": text} for text in options]
    return html.Div(
        [
            html.Label(label, htmlFor=f"choice-{name}", id=f"label-{name}"),
            dcc.Dropdown(
                id=control(name),
                options=kept,
                value=value,
                multi=several,
                clearable=several,
                searchable=len(kept) > 8,
            ),
        ],
        className="control wide" if several else "control",
        role="group",
        **named(label),
    )


def ticks(name: str, label: str, options: Mapping[str, str], value: list[str]) -> html.Div:
    """Labelled boxes to tick: value -> text."""
    return html.Div(
        [
            html.Span(label, className="label"),
            dcc.Checklist(
                id=control(name),
                options=[{"label": text, "value": key} for key, text in options.items()],
                value=value,
                inline=True,
            ),
        ],
        className="control",
        role="group",
        **named(label),
    )


def number(name: str, label: str, value: int, least: int, most: int) -> html.Div:
    """A labelled whole number."""
    return html.Div(
        [
            html.Span(label, className="label"),
            dcc.Input(
                id=control(name), type="number", value=value, min=least, max=most, step=1,
                debounce=True,
            ),
        ],
        className="control",
        role="group",
        **named(label),
    )  # fmt: skip


def places(view: View, space: bool = True) -> list[Any]:
    """The controls that choose stores and a space."""
    own = [shown.name for shown in view.stores.chosen(view.at)]
    found = [choice("store", "Stores", view.stores.all, own, several=True)]
    if space:
        spaces = view.stores.spaces(view.at)
        found.append(choice("space", "Space", spaces, view.stores.space(view.at)))
    return found


def link(at: Address, text: str, **properties: Any) -> dcc.Link:
    return dcc.Link(text, href=at.href, **properties)


def message(text: str) -> html.P:
    return html.P(text, className="message", role="status")


def heading(text: str) -> html.H2:
    return html.H2(text)


def sql_of(sql: str, at: Address, what: str = "this view") -> html.Details:
    """The SQL of a view, to read, copy and go on from."""
    return html.Details(
        [
            html.Summary(f"SQL of {what}"),
            html.Pre(sql, className="sql", tabIndex="0"),
            dcc.Clipboard(content=sql, title="Copy the SQL", className="copy"),
            link(at.elsewhere("query", sql=sql), "Go on from it on the query page"),
        ],
        className="asked",
    )


def cell(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)


def cells(result: Result, most: int = ROWS) -> list[dict[str, Any]]:
    """Rows of a result as JSON can hold them."""
    few = Result(result.table.slice(0, most))
    return [{name: cell(value) for name, value in row.items()} for row in few.rows()]


def grid(
    view: View,
    name: str,
    columns: Sequence[str],
    rows: list[dict[str, Any]],
    *,
    linked: Mapping[str, str] | None = None,
    key: str | None = None,
    selected: Sequence[str] | None = None,
    height: int | None = None,
) -> html.Div:
    """A table that sorts and filters, reached and moved in by keyboard.

    Args:
      linked: column -> the field of a row that has the address it leads to.
      key: the field that tells rows apart; needed for `selected`.
      selected: keys of selected rows; None if rows cannot be selected.
    """
    links = linked or {}
    sorts: dict[str, str] = {}
    for text in view.at.several("sort"):
        column, _, way = text.partition(":")
        sorts[column] = way
    defined = []
    for column in columns:
        numeric = any(isinstance(row.get(column), float) for row in rows) or (
            any(isinstance(row.get(column), int) for row in rows)
        )
        one: dict[str, Any] = {
            "field": column,
            "headerName": column,
            "filter": "agNumberColumnFilter" if numeric else "agTextColumnFilter",
        }
        if numeric:
            one["valueFormatter"] = {"function": "shownNumber(params.value)"}
            one["comparator"] = {"function": "byNumber"}
            one["type"] = "rightAligned"
        if column in links:
            one["cellRenderer"] = "BoardLink"
            one["cellRendererParams"] = {"to": links[column]}
        if sorts.get(column):
            one["sort"] = sorts[column]
        defined.append(one)
    options: dict[str, Any] = {
        "theme": {"function": "themeQuartz.withParams({spacing: 5, fontSize: 13})"},
        "enableCellTextSelection": True,
        "ensureDomOrder": True,
        "animateRows": False,
        "suppressFieldDotNotation": True,
    }
    more: dict[str, Any] = {}
    if selected is not None:
        options["rowSelection"] = {"mode": "multiRow"}
        if selected:  # an empty list, applied late, would undo the first click
            more["selectedRows"] = {"ids": list(selected)}
    if key is not None:
        more["getRowId"] = f"params.data.{key}"
    if height is None:
        options["domLayout"] = "autoHeight"
    table = dag.AgGrid(
        id={"type": "grid", "name": name},
        columnDefs=defined,
        rowData=rows,
        defaultColDef={"sortable": True, "resizable": True, "minWidth": 60},
        columnSize="autoSize",
        dashGridOptions=options,
        style={"height": f"{height}px" if height else None, "width": "100%"},
        **more,
    )
    mode = "dark" if dark(view.at) else "light"
    return html.Div(table, className="grid", **named(name, data_ag_theme_mode=mode))


def graph(view: View, name: str, figure: go.Figure, says: str) -> html.Div:
    """A figure in the page's colours, with a sentence for who cannot see it."""
    drawn = dcc.Graph(
        id={"type": "graph", "name": name},
        figure=dressed(figure, view.at),
        config={"displaylogo": False, "responsive": True},
    )
    return html.Div(drawn, role="img", className="graph", **named(says))
