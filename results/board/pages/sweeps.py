"""Every sweep of every store: how far it is."""

from __future__ import annotations

from typing import Any

from dash import html

from results.board.components import cells, grid, heading, message, sql_of
from results.board.page import Page, View
from results.board.questions.sweeps import failures, sweeps

_NOTE = (
    "Epochs a second are those of the newest launch; the time left follows from them. Hosts and "
    "packs are those that train now. Device memory is not in a store; Ray's "
    "dashboard shows it."
)


_SELDOM = ("running", "waiting", "gate_failed", "epochs_left", "seconds_left", "hosts", "packs")
"""Columns that are shown only where they are not 0."""


def main(view: View) -> list[Any]:
    rows = _rows(view, sweeps(), "trials")
    if not rows:
        return [message("No space has been launched into these stores yet.")]
    columns = [name for name in rows[0] if name != "href" and (
        name not in _SELDOM or any(row[name] for row in rows)
    )]  # fmt: skip
    found: list[Any] = [
        heading("Sweeps"),
        grid(view, "sweeps", columns, rows, linked={"space": "href"}),
        html.P(_NOTE, className="note"),
        sql_of(sweeps(), view.at),
    ]
    failed = _rows(view, failures(), "trial")
    if failed:
        columns = [name for name in failed[0] if name != "href"]
        found += [
            heading("Why trials failed"),
            grid(view, "failures", columns, failed, linked={"trial_id": "href"}),
            sql_of(failures(), view.at),
        ]
    return found


def _rows(view: View, sql: str, page: str) -> list[dict[str, Any]]:
    """Rows of all stores, each with its store and where it leads."""
    found = []
    for shown in view.stores.all.values():
        for row in cells(shown.ask(sql)):
            one = [row["trial_id"]] if "trial_id" in row else None
            place = view.at.elsewhere(page, store=shown.name, space=row["space"], trial=one)
            found.append({"store": shown.name, **row, "href": place.href})
    return found


PAGE = Page("sweeps", "Sweeps", main, ())
