"""Figures of trials without epochs: paths through a grid, gradients of grids, covariances."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from results import Store, StoreError
from results.plotting import figure as drawn
from results.plotting import plot
from tests.support.made_up_rows import attempt_row, space_of, table

RHOS = (0.5, 1.0)


def figure(*words: Any) -> Any:
    """A figure; Plotly's types know nothing of what is in it."""
    return drawn(*words)


def publish(store: Store, trial: str, config: dict[str, Any], **probes: list[dict]) -> None:
    for name, rows in probes.items():
        own = [{"trial_id": trial, "attempt": 0, "epoch": 0, **row} for row in rows]
        store.publish(f"probes/{name}", table(own))
    stage = str(config["stage"])
    store.publish("trials", table([attempt_row(trial, config=config, stage=stage)]))


def paths(weight: float, steps: int = 6, layers: int = 4) -> list[dict[str, Any]]:
    return [
        {"steps": t, "layers": n, "paths": float(math.comb(t + n, n)),
         "diagonal_paths": float(math.comb(t, n)), "counted": float(math.comb(t + n, n)),
         "weighted": math.comb(t + n, n) * weight ** (t + n)}
        for t in range(steps + 1)
        for n in range(layers + 1)
    ]  # fmt: skip


def growth() -> list[dict[str, Any]]:
    def row(curve: str, t: int, n: int) -> dict[str, Any]:
        return {"curve": curve, "steps": t, "layers": n,
                "log10_paths": math.log10(math.comb(t + n, n))}  # fmt: skip

    return [
        *(row("time", t, 5) for t in range(1, 30)),
        *(row("depth", 5, n) for n in range(1, 10)),
        *(row("both", 100 * n, n) for n in range(1, 10)),
    ]


def pascal(rho: float, rule: str, steps: int = 30) -> list[dict[str, Any]]:
    return [
        {"sample": sample, "t": t, "gradient": (1 + sample) * rho ** (steps - t),
         "closed_form": rho ** (steps - t) if rule == "linear" else math.nan}
        for sample in range(3)
        for t in range(steps)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def store(new_store: Callable[[], Store]) -> Store:
    made = new_store()
    ids = []

    def add(config: dict[str, Any], **probes: list[dict]) -> None:
        ids.append(f"{len(ids):04x}".ljust(16, "e"))
        publish(made, ids[-1], config, **probes)

    for weight in RHOS:
        config = {"stage": "binomial", "rho_t": weight, "rho_l": weight}
        add(config, binomial=growth(), paths=paths(weight))
    for rule in ("linear", "he"):
        for rho in RHOS:
            add({"stage": "pascal", "grid_rule": rule, "rho": rho}, pascal=pascal(rho, rule))
    for net in ("lstm", "alif"):
        for seed in range(3):
            rows = [{"order": k, "interaction": (seed + 1) * 10.0**-k} for k in (2, 3, 4)]
            add(
                {"stage": "covariance", "cov_net": net, "task": "mnist", "seed": seed},
                covariance=rows,
            )
    for model in ("lstm", "malsnn"):
        rows = [
            {"layer": n, "t": t, "covariance": 0.1, "correlation": math.nan if t == 5 else 0.5**t,
             "p_value": 0.01 * t}
            for n in range(2)
            for t in range(1, 9)
        ]  # fmt: skip
        add({"stage": "decay", "model": model, "task": "sl_mnist", "seed": 0}, decay=rows)
    space = space_of(
        [*ids, "absent0000000000"], swept=["stage", "rho", "grid_rule", "model"], space="all",
        select={"over": "seed"},
    )  # fmt: skip
    made.write_space("demo/all", space)
    return made


def note(fig: Any) -> str:
    return str(fig.layout.title.subtitle.text).replace("<br>", " ")


def test_a_grid_shows_its_counted_paths(store: Store) -> None:
    fig = figure(store, "demo/all", "figure1a")
    left, right = (t for t in fig.data if t.mode == "markers+text")
    counts = dict(zip(zip(left.x, left.y, strict=True), left.text, strict=True))
    assert counts == {(t, n): str(math.comb(t + n, n)) for t in range(6) for n in range(4)}
    assert dict(zip(zip(right.x, right.y, strict=True), right.text, strict=True))[5, 3] == "10"
    assert (2, 3) not in zip(right.x, right.y, strict=True), "out of a diagonal's reach"
    heads = [a.text for a in fig.layout.annotations]
    assert "56 paths" in heads[0]
    assert "10 paths" in heads[1]
    walks = [t for t in fig.data if t.mode == "lines" and t.line.width == 3]
    assert len(walks) == 6
    for walk in walks:
        steps = np.round(np.diff(walk.x)), np.round(np.diff(walk.y))
        assert (steps[0].sum(), steps[1].sum()) == (5, 3)


def test_growth_of_paths(store: Store) -> None:
    fig = figure(store, "demo/all", "figure1b")
    assert len(fig.data) == 3
    assert fig.data[0].y[-1] == pytest.approx(math.log10(math.comb(34, 5)))
    assert f"add up to {210 * 0.5**10:.3g} where they are 0.5 and 0.5; 210 where" in note(fig)
    assert "2 of 3 trials. Missing, without a row: absent00." in note(fig), "no other stage is"


def test_gradients_of_grids(store: Store) -> None:
    fig = figure(store, "demo/all", "figure1c")
    marks = [t for t in fig.data if t.name == "ρ = 0.5" and t.mode == "markers"]
    assert len(marks) == 1, "with a closed form the line is that form's"
    closed = next(t for t in fig.data if t.mode == "lines" and t.legendgroup == "ρ = 0.5")
    assert closed.y[0] == pytest.approx(0.5**30)
    assert marks[0].y[0] == pytest.approx(2 * 0.5**30), "median over samples"
    assert marks[0].x[-1] == 29
    assert fig.layout.yaxis2.type == "log"


def test_interactions_of_radii(store: Store) -> None:
    fig = figure(store, "demo/all", "covariance")
    lstm = next(t for t in fig.data if t.name == "lstm")
    assert list(lstm.x) == ["2", "3", "4"]
    assert list(lstm.y) == pytest.approx([2e-2, 2e-3, 2e-4])
    assert list(lstm.error_y.array) == pytest.approx([1e-2, 1e-3, 1e-4])
    assert fig.layout.yaxis.type == "log"


def test_decay_of_correlations(store: Store) -> None:
    fig = figure(store, "demo/all", "decay")
    assert len(fig.data) == 4
    line = fig.data[0]
    assert list(line.x) == [1, 2, 3, 4, 6, 7, 8], "NaN is no point"
    assert [c == "white" for c in line.marker.color] == [t >= 5 for t in line.x]


@pytest.mark.parametrize("name", ["figure1a", "figure1b", "figure1c", "covariance", "decay"])
def test_they_are_written_and_need_their_rows(store: Store, name: str, tmp_path: Any) -> None:
    assert "Plotly.newPlot" in plot(store, "demo/all", name, output=tmp_path / "f.html").read_text()
    assert "1 of 1" not in note(figure(store, "demo/all", name))
    with pytest.raises(StoreError, match="has rows of"):
        figure(store, space_of(["nothing"]), name)


def test_one_analysis(store: Store) -> None:
    trial = store.sql("SELECT min(trial_id) FROM covariance").fetchall()[0][0]
    assert trial in note(figure(store, "demo/all", "covariance", trial))
