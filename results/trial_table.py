"""Every trial of a space as an HTML table that a browser sorts and filters (`html_report.js`)."""

from __future__ import annotations

import html
from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from results.ask.units import loss_unit, metrics_of, unit_of, with_unit
from results.html_tables import texts_of
from results.schema import CENSORED
from results.store.metric_columns import MetricColumn

if TYPE_CHECKING:
    from results.store.store import Store

MOST_CHOICES = 12
"""Values of a column that are offered in a list; of more, words are typed."""


def trial_table(store: Store, space: Mapping[str, Any]) -> str:
    """A row for each trial: its id, the config keys that vary, how it ended, and its diagnosis; how
    many epochs were planned where some are known up to an epoch only."""
    columns = store.config_columns
    varying = [key for key in space.get("swept") or () if key in columns and key != "stage"]
    stages = ["t.stage"] if "stage" in (space.get("swept") or ()) else []
    quoted = [f't."{columns[key]}"' for key in varying]
    ids = list(space.get("trials") or ())
    metrics = metrics_of(store, ids)
    asked = store.sql(
        "SELECT DISTINCT monitor FROM monitors WHERE trial_id IN (SELECT unnest($ids))",
        {"ids": ids},
    ).fetchall()
    watched = ", d.monitor, d.monitor_end, d.monitor_best" if asked else ""
    early = store.sql(
        "SELECT count(*) FROM all_trials WHERE trial_id IN (SELECT unnest($ids)) "
        "AND status IN (SELECT unnest($censored))",
        {"ids": ids, "censored": list(CENSORED)},
    ).fetchall()
    planned = ", t.epochs_planned" if early[0][0] else ""
    rows = store.sql(
        f"""
        SELECT {", ".join(["asked.trial_id", *stages, *quoted])},
            coalesce(t.status, 'not started') AS status, d.verdict, d.first_bad_epoch,
            t.epochs_done{planned}, d.loss_end{watched}, d.largest_norm, d.smallest_norm,
            d.depth_slope, t.reason
        FROM (SELECT unnest($ids) AS trial_id) asked
        LEFT JOIN all_trials t USING (trial_id) LEFT JOIN diagnosis d USING (trial_id)
        ORDER BY status, asked.trial_id
        """,
        {"ids": ids},
    )
    unit = loss_unit(store, space.get("trials") or (), space.get("loss_unit"))
    units = space.get("keys") or {}
    config = range(1, 1 + len(stages) + len(varying))
    names = ["trial_id", *(["stage"] if stages else []), *varying, *rows.columns[config.stop :]]
    heads = [
        with_unit(name, units.get(name, {}).get("unit", ""))
        if at in config
        else _head(name, unit, metrics, [one for (one,) in asked])
        for at, name in enumerate(names)
    ]
    values = rows.fetchall()
    by_column = enumerate(zip(*values, strict=True))
    texts = [texts_of(list(column), at in config) for at, column in by_column]
    cells = [
        [_cell(value, texts[at][line]) for at, value in enumerate(row)]
        for line, row in enumerate(values)
    ]
    listed = [*config, *(names.index(name) for name in ("status", "verdict"))]
    head = "".join(f"<th><button>{html.escape(text)}</button></th>" for text in heads)
    body = "".join(f"<tr>{''.join(cell for _, cell in row)}</tr>" for row in cells)
    return (
        '<div class="trials"><p>'
        '<input type="search" placeholder="words in a row" aria-label="words in a row"> '
        f"{_choices(names, cells, listed)} <output>{len(cells)} of {len(cells)} trials</output></p>"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        "</div></div>"
    )


def _head(
    name: str, loss_unit: str, metrics: Mapping[str, MetricColumn], watched: Sequence[str]
) -> str:
    """A column's name as words, with its unit; of the watched number that of the metric where all
    trials watch one."""
    of = watched[0] if name.startswith("monitor_") and len(watched) == 1 else name
    return with_unit(name.replace("_", " "), unit_of(of, loss_unit, metrics))


def _cell(value: Any, text: str) -> tuple[str, str]:
    """The text of a cell, and the cell."""
    mark = ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        mark = f' data-v="{_number(value)}"'
    return text, f"<td{mark}>{html.escape(text)}</td>"


def _number(value: float) -> str:
    """As JavaScript reads it."""
    return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(repr(value), repr(value))


def _choices(
    names: Sequence[str], cells: Sequence[Sequence[tuple[str, str]]], listed: Container[int]
) -> str:
    """A list of the values of each of these columns that has a few."""
    found = []
    for at, name in enumerate(names):
        values = dict.fromkeys(row[at][0] for row in cells)
        if at not in listed or not 1 < len(values) <= MOST_CHOICES:
            continue
        options = "".join(
            f'<option value="={html.escape(v)}">{html.escape(v) or "(none)"}</option>'
            for v in sorted(values)
        )
        found.append(
            f"<label>{html.escape(name.replace('_', ' '))} "
            f'<select data-column="{at}"><option value="*">all</option>{options}</select></label>'
        )
    return " ".join(found)
