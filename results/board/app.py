"""The Dash app: the address decides what is shown, and controls change the address."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import flask
from dash import ALL, Dash, Input, Output, State, ctx, dcc, html, no_update

from results.board.address import Address
from results.board.components import link, message, named
from results.board.looks import dark
from results.board.page import Draw, Importance, Page, View
from results.board.pages import PAGES
from results.board.stores import Stores
from results.errors import StoreError

REFRESH_MS = 5_000
"""Milliseconds between looks for what has been published; pages are drawn anew only where it is."""

_CONTROLS = {"type": "control", "name": ALL}
_GRIDS = {"type": "grid", "name": ALL}


def board_app(stores: Stores, server: flask.Flask, importance: Importance | None = None) -> Dash:
    """The app on a Flask server."""
    app = Dash(
        "gradsweep-board",
        server=cast("Any", server),  # which Dash takes, and does not declare
        assets_folder=str(Path(__file__).with_name("assets")),
        title="gradsweep board",
        update_title="",
        suppress_callback_exceptions=True,
        serve_locally=True,
    )
    app.index_string = app.index_string.replace("<html>", '<html lang="en">')
    app.layout = _layout()
    _follow_address(app, stores, importance)
    _follow_reader(app)
    return app


def _layout() -> html.Div:
    parts = ["nav", "controls", "main", "aside"]
    return html.Div(
        [
            dcc.Location(id="url", refresh=False),
            dcc.Interval(id="clock", interval=REFRESH_MS),
            dcc.Store(id="version"),
            *(dcc.Store(id=f"{part}-key") for part in parts),
            html.A("Skip to the page", href="#main", className="skip"),
            html.Header(html.Nav(id="nav", **named("Pages"))),
            html.Div(id="controls", role="region", **named("What to show")),
            dcc.Loading(html.Main(id="main", tabIndex="-1"), delay_show=400, type="dot"),
            html.Section(id="aside", **named("Details")),
        ],
        id="root",
        className="light",
    )


def _page(at: Address) -> Page:
    return PAGES.get(at.page or "sweeps", PAGES["sweeps"])


def _follow_address(app: Dash, stores: Stores, importance: Importance | None) -> None:
    @app.callback(
        Output("version", "data"), Input("clock", "n_intervals"), State("version", "data")
    )
    def look(_: int | None, shown: str | None) -> Any:
        try:
            version = stores.version()
        except StoreError as error:
            version = str(error)
        return no_update if version == shown else version

    @app.callback(
        Output("nav", "children"),
        Output("root", "className"),
        Input("url", "pathname"),
        Input("url", "search"),
    )
    def head(path: str, search: str) -> Any:
        at = Address.read(path, search)
        own = _page(at)
        links: list[Any] = [
            link(
                at.elsewhere(page.name),
                page.title,
                className="own" if page is own else "",
                **({"id": "own-page"} if page is own else {}),
            )
            for page in PAGES.values()
        ]
        light = at.changed({"theme": None if dark(at) else "dark"})
        light_link = link(light, "Light" if dark(at) else "Dark", className="theme")
        return [html.H1("gradsweep"), *links, light_link], "dark" if dark(at) else "light"

    @app.callback(
        Output("controls", "children"),
        Output("controls-key", "data"),
        Input("url", "pathname"),
        Input("url", "search"),
        State("controls-key", "data"),
        State(_CONTROLS, "value"),
        State(_CONTROLS, "id"),
    )
    def controls(path: str, search: str, key: Any, values: list[Any], ids: list[Any]) -> Any:
        at = Address.read(path, search)
        page = _page(at)
        reads = ("store", "space", *page.controls_reads)
        shape = [page.name, *([*at.values.get(name, ["-"])] for name in reads)]
        now = {"shape": shape, "values": {name: [*texts] for name, texts in at.values.items()}}
        before = key or {"shape": None, "values": {}}
        shown = {one["name"]: value for one, value in zip(ids, values, strict=True)}
        stale = [
            name
            for name, value in shown.items()
            if (name in at.values or name in before["values"])
            and at.changed({name: value}).values.get(name) != at.values.get(name)
        ]
        if shape == before["shape"] and not stale:
            return no_update, now
        return _drawn(page.controls, View(stores, at, importance)), now

    def follow(part: str) -> None:
        @app.callback(
            Output(part, "children"),
            Output(f"{part}-key", "data"),
            Input("url", "pathname"),
            Input("url", "search"),
            Input("version", "data"),
            State(f"{part}-key", "data"),
        )
        def draw(path: str, search: str, version: str | None, key: Any) -> Any:
            at = Address.read(path, search)
            page = _page(at)
            reads = ("store", "space", "theme", *getattr(page, f"{part}_reads"))
            now = [page.name, version, *([*at.values.get(name, ["-"])] for name in reads)]
            if now == key or version is None:
                return no_update, no_update
            return _drawn(getattr(page, part), View(stores, at, importance)), now

    follow("main")
    follow("aside")


def _drawn(draw: Draw, view: View) -> list[Any]:
    try:
        return draw(view)
    except StoreError as error:
        return [message(str(error))]


def _follow_reader(app: Dash) -> None:
    """Writes into the address what the reader chooses, selects, sorts and clicks."""

    @app.callback(
        Output("url", "search"),
        Input(_CONTROLS, "value"),
        Input(_GRIDS, "selectedRows"),
        Input(_GRIDS, "filterModel"),
        Input(_GRIDS, "columnState"),
        Input({"type": "send", "name": ALL}, "n_clicks"),
        State({"type": "draft", "name": ALL}, "value"),
        State("url", "pathname"),
        State("url", "search"),
        prevent_initial_call=True,
    )
    def choose(
        values: list[Any], selected: list[Any], filters: list[Any], columns: list[Any],
        sent: list[int | None], drafts: list[str | None], path: str, search: str,
    ) -> Any:  # fmt: skip
        at = Address.read(path, search)
        now = at
        changes = _changes(ctx.inputs_list, ctx.triggered)
        # Controls that have just been drawn come all at once, and have what the address says.
        drawn = len(values) > 1 and sum(what == "value" for what, _ in changes) == len(values)
        for what, value in changes:
            if what == "value" and drawn:
                continue
            if what == "value":
                now = now.changed(value)
            elif what == "n_clicks":
                now = now.changed({"sql": drafts[0] if drafts else None})
            else:
                now = _chosen_in_grid(now, what, value)
        return no_update if now == at else now.search

    @app.callback(
        Output("url", "href"),
        Input({"type": "graph", "name": ALL}, "clickData"),
        prevent_initial_call=True,
    )
    def click(points: list[Any]) -> Any:
        for point in (one["points"][0] for one in points if one and one.get("points")):
            place = point.get("customdata")
            place = place[0] if isinstance(place, list) and place else place
            if isinstance(place, str) and place.startswith("/"):
                return place
        return no_update


def _changes(inputs: Sequence[Any], triggered: Sequence[Any]) -> list[tuple[str, Any]]:
    """What the reader changed: the property and its value; of controls, name -> value."""
    names = {one["prop_id"] for one in triggered}
    found: list[tuple[str, Any]] = []
    for group in inputs:
        for one in group:
            text = json.dumps(one["id"], sort_keys=True, separators=(",", ":"))
            if f"{text}.{one['property']}" not in names:
                continue
            value = one.get("value")
            if one["property"] == "value":
                found.append(("value", {one["id"]["name"]: value}))
            elif one["property"] == "n_clicks":
                found += [("n_clicks", value)] if value else []
            elif one["id"]["name"] == "trials":
                found.append((one["property"], value))
    return found


def _chosen_in_grid(at: Address, what: str, value: Any) -> Address:
    if what == "selectedRows" and isinstance(value, list):
        return at.changed({"trial": [row["key"] for row in value] or None})
    if what == "filterModel" and value is not None:
        return at.changed({"filter": json.dumps(value, sort_keys=True) if value else None})
    if what == "columnState" and value:
        sorted_by = [one for one in value if one.get("sort")]
        sorted_by.sort(key=lambda one: one.get("sortIndex") or 0)
        return at.changed({"sort": [f"{one['colId']}:{one['sort']}" for one in sorted_by] or None})
    return at
