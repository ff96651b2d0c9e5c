"""Groups with bands, against enumeration; and pages of any width."""

from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results import Store, StoreError
from results.figures.heatmaps import usual_range
from results.figures.page import Page
from results.figures.style import log_ticks
from results.plotting import figure, plot
from tests.support.made_up_rows import publish_rows, space_of, trial_rows

DEPTHS, SEEDS, EPOCHS = (1, 2, 3), range(5), 4
DIVERGED = (3, 4)


@pytest.fixture
def losses(store: Store, seed: int) -> dict[tuple[int, int], list[float]]:
    """Losses of 15 trials; one becomes non-finite in epoch 2."""
    rng = np.random.default_rng(seed)
    drawn = {key: list(rng.uniform(1, 2, EPOCHS) * key[0]) for key in
             itertools.product(DEPTHS, SEEDS)}  # fmt: skip
    rows = []
    for (depth, s), own in drawn.items():
        bad = (depth, s) == DIVERGED
        rows.append(trial_rows(
            f"d{depth}s{s}", [*own[:2], math.nan] if bad else own,
            config={"depth": depth, "seed": s}, status="diverged" if bad else "done",
            bad_epoch=2 if bad else None,
        ))  # fmt: skip
    publish_rows(store, rows)
    ids = [f"d{depth}s{s}" for depth, s in drawn]
    store.write_space("demo/grid", space_of(ids, swept=["depth", "seed"]))
    return drawn


def lines(fig: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in fig.data if trace.name and trace.x[0] is not None}


def test_more_than_twelve_lines_are_medians_with_intervals(
    store: Store, losses: dict[tuple[int, int], list[float]]
) -> None:
    fig: Any = figure(store, "demo/grid", "training_loss")
    found = lines(fig)
    assert [name for name in found if ":" not in name and "depth" in name] == [
        "depth 1 (×5)", "depth 2 (×5)", "depth 3 (×5, 1 diverged)"]  # fmt: skip
    assert (
        "Lines: median over seed; bands: its 95% bootstrap interval."
        in fig.layout.title.subtitle.text
    )
    for depth in (1, 3):
        own = np.array([losses[depth, s] for s in SEEDS])
        if depth == 3:
            own[4, 2:] = np.inf
        name = next(n for n in found if n.startswith(f"depth {depth} ") and ":" not in n)
        assert list(found[name].y) == pytest.approx(np.median(own, axis=0))
        draws = np.median(own[list(itertools.product(range(5), repeat=5))], axis=1)
        for what, share in (("low", 0.025), ("high", 0.975)):
            ends = np.array(found[f"{name}: {what}"].customdata, float)
            near = [np.quantile(draws, np.clip(share + d, 0, 1), axis=0, method="inverted_cdf")
                    for d in (-0.02, 0.02)]  # fmt: skip
            assert (near[0] <= ends).all()
            assert (ends <= near[1]).all()


def test_what_is_grouped_and_what_the_band_is_can_be_asked(
    store: Store, losses: dict[tuple[int, int], list[float]]
) -> None:
    fig: Any = figure(store, "demo/grid", metric="loss", options={"by": "seed", "band": "sd"})
    found = lines(fig)
    own = np.array([losses[depth, 0] for depth in DEPTHS])
    assert list(found["seed 0 (×3)"].y) == pytest.approx(own.mean(axis=0))
    high = found["seed 0 (×3): high"].customdata
    assert list(high) == pytest.approx(own.mean(axis=0) + own.std(axis=0, ddof=1))
    assert (
        "Lines: mean over depth; bands: one standard deviation." in fig.layout.title.subtitle.text
    )
    plain = figure(store, "demo/grid", "training_loss", options={"over": "depth,seed",
                                                                "band": "none"})  # fmt: skip
    assert list(lines(plain)) == ["all trials (×15, 1 diverged)"]
    for asked, sentence in (({"by": "dept"}, "did you mean depth"),
                            ({"band": "cl"}, "did you mean ci")):  # fmt: skip
        with pytest.raises(StoreError, match=sentence):
            figure(store, "demo/grid", "training_loss", options=asked)


def test_a_page_has_its_width_and_the_data_are_beside_it(
    store: Store, losses: dict[tuple[int, int], list[float]], tmp_path: Path
) -> None:
    fig: Any = figure(store, "demo/grid", "training_loss", page=Page("paper", "85mm", 7, False))
    assert fig.layout.width == round(85 / 25.4 * 96)
    assert fig.layout.font.size == pytest.approx(7 * 96 / 72)
    assert not fig.layout.title.text
    path = plot(store, "demo/grid", "curve", metric="loss", output=tmp_path, data=True,
                options={"by": "depth", "band": "none"})  # fmt: skip
    with path.with_suffix(".csv").open() as text:
        rows = [row for row in csv.DictReader(text) if row["trace"] == "depth 2 (×5)"]
    middle = np.median([losses[2, s] for s in SEEDS], axis=0)
    assert [float(row["y"]) for row in rows] == pytest.approx(middle)
    smoke = figure(store, {**store.spaces()["demo/grid"], "smoke": True}, "training_loss")
    assert "Smoke run" in str(smoke.layout.title.subtitle.text)
    for wrong, sentence in ((Page("papre"), "did you mean paper"), (Page(width="85"), "a length"),
                            (Page(font_size=200), "between 4 and 72 points"),
                            (Page(width="9mm"), "between 30mm and 2000mm")):  # fmt: skip
        with pytest.raises(StoreError, match=sentence):
            figure(store, "demo/grid", "training_loss", page=wrong)


def test_one_exploding_cell_does_not_flatten_the_colours() -> None:
    values = [10.0**v for v in np.linspace(-2, 0, 41)]
    assert usual_range(values) == pytest.approx((-2, 0)), "nothing is cut without one"
    low, high = usual_range([*values, 1e30, math.nan, 0.0, None])
    assert low == pytest.approx(-2)
    first, third = np.quantile(np.log10([*values, 1e30]), [0.25, 0.75])
    assert high == pytest.approx(third + 3 * (third - first))


@pytest.mark.parametrize("ends", [(-5, 3), (-1, 2), (0.2, 1.1), (3.2, 4.3), (-2.5, 2.4)])
def test_ticks_of_an_axis_are_of_one_kind(ends: tuple[float, float]) -> None:
    marks = log_ticks(*ends)
    assert len({"<sup>" in text for text in marks.values()}) == 1
    for value, text in marks.items():
        assert ends[0] <= math.log10(value) <= ends[1]
        if "<sup>" not in text:
            assert float(text) == pytest.approx(value)
