"""Pruned trials in figures and the report: drawn to their last epoch, and in no comparison of what
trials came to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from results import Store
from results.figures.selection import select_trials
from results.html_report import report
from results.plotting import figure
from tests.support.made_up_rows import publish_rows, space_of, trial_rows

EPOCHS = {"whole": 6, "early": 2, "waits": 3}
STATUS = {"whole": "done", "early": "pruned", "waits": "paused"}


def publish(store: Store, *names: str) -> Store:
    """A trial of each, at rates of their own."""
    rows = []
    for at, name in enumerate(names):
        n = EPOCHS[name]
        own = trial_rows(
            name, [2.0 - 0.2 * epoch for epoch in range(n)], layers=[[0.5, 1.0, 2.0]] * n,
            steps=True, timeline=True, status=STATUS[name], config={"lr": 10.0**-at},
            extra={e: {"val_loss": 1.0, "test_loss": 1.0} for e in range(n)},
        )  # fmt: skip
        own["trials"][0]["epochs_planned"] = 6
        rows.append(own)
    publish_rows(store, rows)
    figures = ["training_loss", "overview"]
    store.write_space("demo/grid", space_of(names, swept=["lr", "seed"], figures=figures))
    return store


@pytest.fixture(scope="module")
def mixed(new_store: Callable[[], Store]) -> Store:
    return publish(new_store(), *STATUS)


def subtitle(fig: go.Figure) -> str:
    return str(fig.layout.title.subtitle.text)


@pytest.mark.parametrize("name", ["training_loss", "metric", "grad_norms"])
def test_curves_go_to_the_last_epoch_and_end_with_a_mark(mixed: Store, name: str) -> None:
    fig: Any = figure(mixed, "demo/grid", name)
    lengths = [len(trace.x) for trace in fig.data if "lines" in trace.mode]
    assert set(lengths) == {*EPOCHS.values()}
    ends = {trace.name: trace.x[0] for trace in fig.data if trace.showlegend is False
            and str(trace.name).endswith(" here")}  # fmt: skip
    assert ends == {"pruned here": 1, "paused here": 2}
    explained = {trace.name for trace in fig.data if trace.x == (None,)}
    assert explained == {*ends}
    assert subtitle(fig) == "3 of 3 trials. 1 pruned and 1 paused."


@pytest.mark.parametrize("name", ["overview", "grad_per_layer", "grad_norms_last_10", "timeline"])
def test_what_compares_last_values_leaves_them_out(mixed: Store, name: str) -> None:
    fig = figure(mixed, "demo/grid", name)
    said = "1 of 3 trials. 1 pruned and 1 paused: known up to an epoch only, left out."
    assert subtitle(fig).startswith(said)
    drawn = str(fig.to_dict())
    assert "lr 0.1" not in drawn
    assert "lr 0.01" not in drawn
    alone = figure(mixed, "demo/grid", name, "early")
    assert subtitle(alone).startswith("Trial early (lr 0.1, seed 0), pruned after 2 of 6 epochs, ")


def test_where_no_trial_is_whole_those_there_are_drawn(store: Store) -> None:
    publish(store, "early", "waits")
    assert subtitle(figure(store, "demo/grid", "overview")).startswith(
        "2 of 2 trials. 1 pruned and 1 paused."
    )
    chosen = select_trials(store, store.spaces()["demo/grid"], None)
    assert chosen.ended() is chosen
    heads = [each.text for each in figure(store, "demo/grid", "grad_heatmap").layout.annotations]
    assert "pruned after 2 of 6 epochs" in heads[0]


def test_the_report_says_how_far_they_are_known(mixed: Store, tmp_path: Path) -> None:
    page = report(mixed, "demo/grid", output=tmp_path / "page.html").read_text()
    assert "1 pruned and 1 paused of 3 trials: known up to the epoch at which they ended" in page
    assert "1 of 3 trials were pruned: known up to an epoch only" in page, "above the best table"
    assert "<th><button>epochs planned</button></th>" in page


def test_the_report_of_whole_trials_speaks_of_none(store: Store, tmp_path: Path) -> None:
    publish(store, "whole")
    page = report(store, "demo/grid", output=tmp_path / "page.html").read_text()
    assert "pruned" not in page.split("<h2>Every trial")[0].split("</script></head>")[1]
    assert "epochs planned" not in page
