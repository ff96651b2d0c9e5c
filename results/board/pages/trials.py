"""A space's trials as a table: sort, filter, select, group, compare."""

from __future__ import annotations

import json
from typing import Any

from dash import html

from results.board.components import (
    ROWS,
    cell,
    cells,
    choice,
    grid,
    heading,
    link,
    message,
    places,
    sql_of,
    ticks,
)
from results.board.page import Page, View
from results.board.pages.common import (
    FIRST,
    has,
    holders,
    keys_of,
    metrics_of,
    selected,
    varying,
)
from results.board.questions.trials import configs, groups, trials


def controls(view: View) -> list[Any]:
    space = view.stores.space(view.at)
    found = metrics_of(view, space)
    return [
        *places(view),
        choice("metric", "Metrics", found, _metrics(view, found), several=True),
        choice("by", "Group by", keys_of(view, space), view.at.several("by"), several=True),
        ticks(
            "show",
            "Columns",
            {"equal": "keys that are equal everywhere", "verdict": "verdicts"},
            _show(view),
        ),
    ]


def _metrics(view: View, known: list[str]) -> list[str]:
    return view.at.several("metric", [name for name in FIRST if name in known][:3])


def _show(view: View) -> list[str]:
    """Verdicts are shown by themselves where they come at once."""
    quick = all(shown.quick() for shown in view.stores.chosen(view.at))
    return view.at.several("show", ["verdict"] if quick else [])


def main(view: View) -> list[Any]:
    space = view.stores.space(view.at)
    metrics = _metrics(view, metrics_of(view, space))
    if view.at.several("by"):
        return _groups(view, space, metrics)
    show = _show(view)
    keys = keys_of(view, space) if "equal" in show else varying(view, space)
    rows, columns, sql, total = [], {}, "", 0
    several = len(view.stores.chosen(view.at)) > 1
    for shown in holders(view, space):
        sql = trials(space, has(shown, keys), metrics, "verdict" in show)
        found = shown.ask(sql)
        total += len(found)
        columns |= dict.fromkeys(found.columns)
        for row in cells(found):
            place = view.at.elsewhere("trial", store=shown.name, trial=[row["trial_id"]])
            key = f"{shown.name}~{row['trial_id']}" if several else row["trial_id"]
            rows.append({"store": shown.name, **row, "href": place.href, "key": key})
    names = (["store"] if several else []) + list(columns)
    table = grid(
        view,
        "trials",
        names,
        rows,
        linked={"trial_id": "href"},
        key="key",
        selected=view.at.several("trial"),
        height=None if len(rows) <= 25 else 640,
    )
    filters = view.at.first("filter")
    if filters:
        table.children.filterModel = _model(filters)  # type: ignore[union-attr]
    cut = f" The first {ROWS} of each store are shown." if total > len(rows) else ""
    hidden = "" if "equal" in show else " Keys that are equal everywhere are hidden."
    return [
        heading(f"{total} trials of {space}"),
        html.P(
            f"Metrics are the last values recorded.{hidden}{cut} Select rows to compare them.",
            className="note",
        ),
        table,
        sql_of(sql, view.at),
    ]


def _model(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _groups(view: View, space: str, metrics: list[str]) -> list[Any]:
    rows, columns, sql = [], {}, ""
    for shown in holders(view, space):
        by = has(shown, view.at.several("by"))
        sql = groups(space, by, metrics)
        found = shown.ask(sql)
        columns |= dict.fromkeys(found.columns)
        rows += [{"store": shown.name, **row} for row in cells(found)]
    names = (["store"] if len(view.stores.chosen(view.at)) > 1 else []) + list(columns)
    return [
        heading(f"{space}, grouped"),
        html.P(
            "Of each trial the last value recorded counts. Values that are not finite are left out "
            "of medians and ranges, and counted: trials minus the metric's count.",
            className="note",
        ),
        grid(view, "groups", names, rows, height=None if len(rows) <= 25 else 640),
        sql_of(sql, view.at),
    ]


def aside(view: View) -> list[Any]:
    chosen = selected(view)
    if not chosen:
        return []
    texts = view.at.several("trial")
    links = html.P(
        [
            f"{len(chosen)} selected: ",
            link(view.at.elsewhere("curves", trial=texts, by=[]), "their curves"),
        ]
    )
    if len(chosen) < 2:
        return [links]
    ids: dict[str, list[str]] = {}
    for shown, trial in chosen:
        ids.setdefault(shown.name, []).append(trial)
    known: list[dict[str, Any]] = []
    sql = ""
    for name, own in ids.items():
        shown = view.stores.all[name]
        sql = configs(own, sorted(set(shown.columns().values()) - {"stage"}))
        known += shown.ask(sql).rows()
    if not known:
        return [links, message("None of the selected trials has started.")]
    keys = list(dict.fromkeys(key for row in known for key in row if key != "trial_id"))
    differing = [key for key in keys if len({str(row.get(key)) for row in known}) > 1]
    heads = [f"{row['trial_id'][:8]} ({n + 1})" for n, row in enumerate(known)]
    rows = [
        {"key": key, **{head: _text(row.get(key)) for head, row in zip(heads, known, strict=True)}}
        for key in differing
    ]
    return [
        heading(f"How the {len(known)} selected trials differ"),
        links,
        html.P(f"{len(keys) - len(differing)} keys are equal.", className="note"),
        grid(view, "difference", ["key", *heads], rows),
        sql_of(sql, view.at),
    ]


def _text(value: Any) -> str:
    return "" if value is None else str(cell(value))


PAGE = Page(
    "trials",
    "Trials",
    main,
    ("metric", "by", "show"),
    controls=controls,
    aside=aside,
    aside_reads=("trial",),
)
