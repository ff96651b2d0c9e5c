"""One self-contained HTML page about a space: what ran, what came out, every figure."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plotly.offline

from results.ask.best import best
from results.ask.named_queries import space_name, space_of, targets_of
from results.ask.units import unit_of, with_unit
from results.ask.watched import best_watched
from results.errors import StoreError, printable
from results.figures.declaration import FigureFunction
from results.figures.selection import joined
from results.html_tables import table_of
from results.plotting import FIGURES, figure, place_of, plain_name, write_bytes
from results.schema import CENSORED
from results.trial_table import trial_table

if TYPE_CHECKING:
    from results.store.store import Store

STYLE = """
body { font: 16px/1.5 "Open Sans", Helvetica, Arial, sans-serif; color: #222; margin: 2rem auto;
       max-width: 1360px; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: 0; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: 0.88rem; }
.wide { overflow: auto; max-height: 80vh; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #ddd;
         white-space: nowrap; }
th { border-bottom: 2px solid #444; background: #fff; position: sticky; top: 0;
     white-space: normal; vertical-align: bottom; }
td:first-child, th:first-child { text-align: left; }
td:last-child { max-width: 24rem; overflow: hidden; text-overflow: ellipsis; }
th button { font: inherit; font-weight: bold; border: 0; background: none; padding: 0;
            cursor: pointer; text-align: inherit; }
th[aria-sort="ascending"] button::after { content: " \\25B2"; }
th[aria-sort="descending"] button::after { content: " \\25BC"; }
label { white-space: nowrap; margin-left: 0.8rem; font-size: 0.88rem; }
.quiet { color: #555; } .warning { background: #fdf0d5; padding: 0.5rem 0.8rem; }
"""


def report(
    store: Store,
    space: str | Mapping[str, Any],
    *,
    output: str | Path | None = None,
    figures: Mapping[str, FigureFunction] | None = None,
) -> Path:
    """Writes the page and returns its path.

    It holds the space's purpose, trials by status and verdict, the `best` table, every figure of
    the space, every trial with the config keys that vary, and files that could not be read. It
    needs no network; its own script sorts and filters the trials.

    Args:
      output: the file to write, ending in `.html`, or an existing folder for one named as by
        default: `figures/<study>-<space>-report.html`.

    Raises:
      StoreError: no such space, or a place that is not writable.
    """
    data = space_of(store, space) if isinstance(space, str) else dict(space)
    name = space_name(data)
    path, _ = place_of(output, f"{plain_name(name)}-report", ("html",))
    parts = [
        _heading(store, data, name),
        *(f'<p class="warning">{html.escape(w)}</p>' for w in store.warnings),
        _verdicts(store, data),
        _best(store, data),
        *_figures(store, data, FIGURES if figures is None else figures),
        f"<h2>Every trial</h2>{trial_table(store, data)}",
    ]
    script = files("results").joinpath("html_report.js").read_text(encoding="utf-8")
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{printable(html.escape(name))}</title><style>{STYLE}</style>"
        f"<script>{plotly.offline.get_plotlyjs()}</script></head>"
        f"<body>{printable(''.join(parts))}<script>{script}</script></body></html>"
    )
    write_bytes(path, page.encode())
    return path


def _heading(store: Store, data: Mapping[str, Any], name: str) -> str:
    lines = [f"<h1>{html.escape(name)}</h1>"]
    title = ", ".join(str(data[key]) for key in ("title", "paper") if data.get(key))
    if title:
        lines.append(f'<p class="quiet">{html.escape(title)}</p>')
    if data.get("feeds"):
        lines.append(f"<p>Reproduces {html.escape(str(data['feeds']))}.</p>")
    if data.get("smoke"):
        lines.append('<p class="warning">The smoke variant: small, not the published grid.</p>')
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines.append(f'<p class="quiet">From {html.escape(store.uri)}, {now}.</p>')
    return "".join(lines)


def _verdicts(store: Store, data: Mapping[str, Any]) -> str:
    rows = store.sql(
        """
        SELECT coalesce(t.status, 'not started') AS status, coalesce(d.verdict, '') AS verdict,
            count(*) AS trials, sum(t.seconds) AS seconds
        FROM (SELECT unnest($ids) AS trial_id) asked
        LEFT JOIN all_trials t USING (trial_id) LEFT JOIN diagnosis d USING (trial_id)
        GROUP BY ALL ORDER BY trials DESC, status, verdict
        """,
        {"ids": list(data.get("trials") or ())},
    ).fetchall()
    heads = heads_of(("status", "verdict", "trials", "seconds"))
    table = _wide(table_of(heads, rows))
    early = {status: sum(row[2] for row in rows if row[0] == status) for status in CENSORED}
    told = joined([f"{count} {status}" for status, count in early.items() if count])
    note = ""
    if told:
        note = (
            f'<p class="quiet">{told} of {sum(row[2] for row in rows)} trials: known up to the '
            "epoch at which they ended, and judged on the epochs up to there. What compares last "
            "or best values leaves them out.</p>"
        )
    return "<h2>Trials by status and verdict</h2>" + note + table


def _wide(table: str) -> str:
    return f'<div class="wide">{table}</div>'


def _best(store: Store, data: Mapping[str, Any]) -> str:
    try:
        frame = best(store, data)
    except StoreError as error:
        return f"<h2>Best</h2><p>{html.escape(str(error))}</p>"
    rows = frame.astype(object).where(frame.notna(), None).itertuples(index=False)
    table = table_of([str(column) for column in frame.columns], rows, store.config_columns)
    return f'<h2>Best</h2><p class="quiet">{html.escape(frame.attrs["says"])}</p>{_wide(table)}'


def _figures(
    store: Store, data: Mapping[str, Any], known: Mapping[str, FigureFunction]
) -> Iterable[str]:
    """Those of the space, then each number that its trials watch, val_loss left out."""
    watched = [row["monitor"] for row in best_watched(store, targets_of(data))]
    asked = [(name, None) for name in data.get("figures") or ()]
    for name, metric in [*asked, *(("metric", monitor) for monitor in watched)]:
        yield f"<h2>{html.escape(metric or str(name).replace('_', ' '))}</h2>"
        try:
            drawn = figure(store, data, name, figures=known, metric=metric)
        except StoreError as error:
            yield f"<p>{html.escape(str(error))}</p>"
            continue
        place = f"figure-{plain_name(metric or name)}"
        yield drawn.to_html(include_plotlyjs=False, full_html=False, div_id=place)


def heads_of(columns: Sequence[str], loss_unit: str = "") -> list[str]:
    """Column names as words, with units."""
    return [with_unit(column.replace("_", " "), unit_of(column, loss_unit)) for column in columns]
