"""One trial: config, attempts, what went wrong, weights, and the command that runs it again."""

from __future__ import annotations

import json
import shlex
from typing import Any

import plotly.graph_objects as go
from dash import dcc, html

from results.board.components import cell, cells, choice, graph, grid, heading, link, places, sql_of
from results.board.looks import COLOURS, plain
from results.board.page import Page, View
from results.board.pages.common import metrics_of, one_trial
from results.board.questions.trial import attempts, config, epochs, summary, verdict
from results.board.stores import Shown


def controls(view: View) -> list[Any]:
    space = view.stores.space(view.at)
    known = metrics_of(view, space)
    return [
        *places(view),
        choice("metric", "Metrics", known, view.at.several("metric", known[:3]), several=True),
    ]


def main(view: View) -> list[Any]:
    shown, trial = one_trial(view)
    at = view.at
    sql = summary(trial)
    (known,) = shown.ask(sql).rows() or [{}]
    keys = sorted(set(shown.columns().values()) - {"stage"})
    asked = config(trial, keys)
    (values,) = shown.ask(asked).rows() or [{}]
    tries = shown.ask(attempts(trial))
    rows = cells(tries)
    said = [(row["attempt"], row.pop("error", None)) for row in rows]
    found: list[Any] = [
        heading(f"Trial {trial}"),
        html.P(
            [
                link(at.elsewhere("gradients", trial=[trial]), "its gradients"), ", ",
                link(at.elsewhere("curves", trial=[trial], by=[]), "its curves"),
            ]
        ),
        _pairs(known),
        sql_of(sql, at),
        *_commands(shown, trial, known),
        *_curves(view, shown, trial),
        heading("Attempts"),
        grid(view, "attempts", [name for name in tries.columns if name != "error"], rows),
        sql_of(attempts(trial), at),
    ]  # fmt: skip
    for attempt, error in said:
        if error:
            found += [heading(f"Traceback of attempt {attempt}"), html.Pre(error, tabIndex="0")]
    found += [*_weights(shown, trial), heading("Config"), _pairs(values), sql_of(asked, at)]
    if shown.quick():
        (judged,) = shown.ask(verdict(trial)).rows() or [{}]
        evidence = judged.pop("evidence", None)
        found += [heading("Verdict"), _pairs(judged)]
        if evidence:
            text = json.dumps(json.loads(evidence), indent=1)
            found.append(html.Details([html.Summary("Evidence and thresholds"), html.Pre(text)]))
        found.append(sql_of(verdict(trial), at))
    return found


def _pairs(row: dict[str, Any]) -> html.Dl:
    """Names and values, none of them missing."""
    pairs = []
    for name, value in row.items():
        if value is not None and value != "":
            pairs.append(html.Div([html.Dt(name), html.Dd(str(cell(value)))]))
    return html.Dl(pairs, className="pairs")


def _commands(shown: Shown, trial: str, known: dict[str, Any]) -> list[Any]:
    store = shlex.quote(shown.store.uri)
    lines = [f"gradsweep debug --trial {trial} --store {store}"]
    if known.get("bad_epoch") is not None:
        lines.append(f"{lines[0]} --check-nans")
    found: list[Any] = [heading("Run it in this process")]
    for line in lines:
        copy = dcc.Clipboard(content=line, title="Copy the command", className="copy")
        found.append(html.Div([copy, html.Code(line)], className="command"))
    return found


def _curves(view: View, shown: Shown, trial: str) -> list[Any]:
    known = metrics_of(view, view.stores.space(view.at))
    names = [name for name in view.at.several("metric", known[:3]) if name in known]
    if not names:
        return []
    sql = epochs(trial, names)
    rows = shown.ask(sql).rows()
    figure = go.Figure()
    for index, name in enumerate(names):
        figure.add_scatter(
            x=[row["epoch"] for row in rows], y=[row[name] for row in rows], name=plain(name),
            mode="lines+markers" if len(rows) < 30 else "lines",
            line={"color": COLOURS[index % len(COLOURS)]},
        )  # fmt: skip
    figure.update_xaxes(title="epoch")
    figure.update_layout(height=380, showlegend=True)
    says = f"{', '.join(names)} of each epoch"
    return [heading("Epochs"), graph(view, "trial", figure, says), sql_of(sql, view.at)]


def _weights(shown: Shown, trial: str) -> list[Any]:
    """Which epochs' weights the store keeps."""
    kept = sorted(
        {
            entry["epoch"]
            for save in shown.store.list_artifacts()
            for entry in save["lanes"]
            if entry["trial_id"] == trial and entry.get("epoch") is not None
        }
    )
    if not kept:
        return [heading("Weights"), html.P("No weights are kept of this trial.")]
    store = repr(shown.store.uri)
    line = f"results.open_store({store}).weights({trial!r}, epoch={kept[-1]})"
    return [
        heading("Weights"),
        html.P(f"Kept after epochs {', '.join(map(str, kept))}. In Python:"),
        html.Div(
            [dcc.Clipboard(content=line, title="Copy", className="copy"), html.Code(line)],
            className="command",
        ),
    ]


PAGE = Page("trial", "Trial", main, ("trial", "metric"), controls=controls)
