"""Every figure from Parquet alone, with zeros, non-finite values and missing trials in it."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from results import Store, StoreError
from results.figures.style import BAD_NAME, ZERO_NAME, LinearScale, LogScale, scale_for
from results.html_report import report
from results.plotting import FIGURES, GENERAL, figure, plot, register_figure
from tests.support import gallery
from tests.support.made_up_rows import publish_trial, space_of


@pytest.fixture(scope="module")
def demo(new_store: Callable[[], Store], request: pytest.FixtureRequest) -> Store:
    store = new_store()
    seed = int(request.config.option.seed)
    gallery.fill(store, seed, depths=(3, 6), epochs=5)
    return store


def traces(fig: Any) -> list[Any]:
    return list(fig.data)


def text_of(fig: go.Figure) -> str:
    return str(fig.to_dict())


def trial_of(store: Store, kind: str) -> str:
    return store.sql(
        "SELECT trial_id FROM trials WHERE trial_id LIKE $k ORDER BY 1", {"k": f"__{kind[:2]}%"}
    ).fetchall()[0][0]


@pytest.mark.parametrize("name", list(GENERAL))
def test_whole_space(demo: Store, name: str) -> None:
    fig = figure(demo, "demo/grid", name)
    text = text_of(fig)
    assert traces(fig)
    assert "16 of 17 trials" in text
    assert "ffff0000" in text, "the missing trial is named"
    assert fig.layout.width == 1000
    assert fig.layout.title.text


@pytest.mark.parametrize("name", list(GENERAL))
@pytest.mark.parametrize("kind", gallery.KINDS)
def test_one_trial(demo: Store, name: str, kind: str) -> None:
    trial = trial_of(demo, kind)
    fig = figure(demo, "demo/grid", name, trial[:5])
    assert trial in text_of(fig)


@pytest.mark.parametrize("name", ["grad_per_layer", "grad_heatmap", "overview", "timeline"])
@pytest.mark.parametrize(("kind", "mark"), [("dead layer", ZERO_NAME), ("exploding", BAD_NAME)])
def test_zeros_and_non_finite_values_are_drawn_and_named(
    demo: Store, name: str, kind: str, mark: str
) -> None:
    fig = figure(demo, "demo/grid", name, trial_of(demo, kind))
    named = [trace.name for trace in traces(fig) if trace.name and mark in trace.name]
    assert named, f"no legend entry for {mark}"


def test_the_heat_map_has_a_cell_per_tensor_and_epoch(demo: Store) -> None:
    fig = figure(demo, "demo/grid", "grad_heatmap", trial_of(demo, "vanishing"))
    cells = traces(fig)[0]
    assert (len(cells.y), len(cells.x)) == (3 * 4 + 2, 5)
    assert cells.y[0] == "rnn.0.w_ih"
    assert fig.layout.yaxis.autorange == "reversed"


def test_updates_are_shown_against_weights_and_activations_by_layer_and_epoch(demo: Store) -> None:
    trial = trial_of(demo, "healthy")
    ratios = traces(figure(demo, "demo/grid", "update_ratio", trial))[0]
    norms = traces(figure(demo, "demo/grid", "grad_heatmap", trial))[0]
    assert ratios.y == norms.y
    assert ratios.customdata[2][1] == pytest.approx(0.005 * norms.customdata[2][1])
    maps = traces(figure(demo, "demo/grid", "activations", trial))
    assert [list(one.y) for one in maps] == [["rnn.0 tanh", "rnn.1 tanh", "rnn.2 tanh", "fc"]] * 4
    assert [one.z[2][4] for one in maps] == pytest.approx([-0.2, 0.9, 2 / 3, 1 / 3])
    assert list(maps[3].z[3]) == [None] * 5, "no share is known of the answer"
    lines = traces(figure(demo, "demo/grid", "activation_profile", trial))
    assert [list(line.y) for line in lines if len(line.x) == 3][-1] == [0, 1 / 6, 1 / 3]


def test_values_are_those_of_the_store(demo: Store) -> None:
    trial = trial_of(demo, "healthy")
    fig = figure(demo, "demo/grid", "training_loss", trial)
    expected = demo.sql(
        "SELECT loss FROM epochs WHERE trial_id = $t ORDER BY epoch", {"t": trial}
    ).fetchall()
    assert [(y,) for y in traces(fig)[0].y] == expected


def test_paths_differ_by_figure_and_trial(
    demo: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trials = [trial_of(demo, kind) for kind in gallery.KINDS[:2]]
    written = {plot(demo, "demo/grid", "training_loss", trial=t) for t in (None, *trials)}
    written.add(plot(demo, "demo/grid", "grad_norms"))
    assert len(written) == 4
    for path in written:
        text = path.read_text()
        assert "Plotly.newPlot" in text
        assert "<script src=" not in text, "plotly.js is inside"


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def test_png_has_a_fixed_size(demo: Store, tmp_path: Path) -> None:
    """Drawn wherever there is a browser to draw it."""
    if not os.environ.get("BROWSER_PATH") and not any(map(shutil.which, BROWSERS)):
        pytest.skip("no Chromium on this machine")
    drawn: Any = figure(demo, "demo/grid", "overview")
    path = plot(demo, "demo/grid", "overview", output=tmp_path / "a.png")
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert struct.unpack(">II", content[16:24]) == (2000, 2 * drawn.layout.height)


def test_no_browser_is_one_sentence(
    demo: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("kaleido")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "no-browser"))
    with pytest.raises(StoreError, match="install gradsweep"):
        plot(demo, "demo/grid", "overview", output=tmp_path / "x.png")


def test_wrong_requests(demo: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="did you mean grad_norms"):
        figure(demo, "demo/grid", "grad_norm")
    with pytest.raises(StoreError, match="starts several"):
        figure(demo, "demo/grid", "overview", "0")
    with pytest.raises(StoreError, match="give a file that ends in"):
        plot(demo, "demo/grid", "overview", output=tmp_path / "x.bmp")
    with pytest.raises(StoreError, match="no space"):
        plot(demo, "demo/none")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        plot(demo, "demo/grid", "overview", output=tmp_path / "file" / "x.html")


def test_a_store_without_the_rows_says_so(store: Store) -> None:
    space = space_of(["a"])
    for name in FIGURES:
        with pytest.raises(StoreError, match="launch"):
            figure(store, space, name)
    publish_trial(store, "a", [1.0, 0.0, float("nan")])
    for name in ("overview", "grad_heatmap", "grad_per_layer", "depth", "timeline"):
        with pytest.raises(StoreError, match="launch"):
            figure(store, space, name)
    curve = figure(store, space, "training_loss")
    assert {ZERO_NAME, BAD_NAME} <= {(t.name or "").split(" (")[0] for t in traces(curve)}


def test_a_users_figure(demo: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def mine(store: Store, space: Any, trial: str | None) -> go.Figure:
        """Mine."""
        return go.Figure(go.Scatter(y=[len(space["trials"])]))

    drawn = figure(demo, "demo/grid", "mine", figures={"mine": mine})
    assert traces(drawn)[0].y == (17,)
    monkeypatch.setitem(FIGURES, "mine", mine)
    register_figure("mine", mine)
    with pytest.raises(StoreError, match="exists already"):
        register_figure("overview", mine)


def test_the_report_is_one_page(demo: Store, tmp_path: Path) -> None:
    path = report(demo, "demo/grid", output=tmp_path / "report.html")
    text = path.read_text()
    for name in gallery.FIGURES:
        assert f'id="figure-{name}"' in text
    assert "<script src=" not in text
    for word in ("not started", "exploding", "vanishing", "n_diverged", "Vanishing Gradients"):
        assert word in text


@pytest.mark.parametrize(
    ("values", "decades"),
    [([1.0, 100.0], (0, 2)), ([0.0, 1e-30], (-30.075, -29.925)), ([], (-1, 0)),
     ([float("nan"), None, 10.0, 1.0], (0, 1))],
)  # fmt: skip
def test_log_scale(values: list[float | None], decades: tuple[float, float]) -> None:
    scale = LogScale()
    scale.see(values)
    assert scale.decades == pytest.approx(decades)
    low, high = scale.axis()["range"]
    assert low < decades[0] < decades[1] < high
    assert scale.floor < 10 ** decades[0]
    assert scale.ceiling > 10 ** decades[1]


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [([-1.0, 3.0], -1, 3), ([2.0, 2.0], 1.98, 2.02), ([0.0], -0.5, 0.5), ([], 0, 1),
     ([None, float("nan"), -2.0, -1.0], -2, -1)],
)  # fmt: skip
def test_linear_scale(values: list[float | None], low: float, high: float) -> None:
    scale = LinearScale()
    scale.see(values)
    bottom, top = scale.axis()["range"]
    assert bottom < low < high < top
    assert bottom == pytest.approx(low - 0.06 * (high - low))
    assert scale.bads == any(value is not None and value != value for value in values)
    if scale.bads:
        assert high < scale.ceiling < top
    assert not scale.zeros
    assert scale.shows(-5.0)


@pytest.mark.parametrize(
    ("values", "decades", "logarithmic"),
    [
        ([1.0, 100.0], 1.0, True), ([1.0, 5.0], 1.0, False), ([1.0, 5.0], 0.0, True),
        ([-1.0, 100.0], 1.0, False), ([0.0, 1.0, 100.0], 1.0, True), ([0.0], 0.0, False),
        ([0.01, 1.0], float("inf"), False), ([None, float("nan")], 0.0, False),
    ],
)  # fmt: skip
def test_which_axis_fits(values: list[float | None], decades: float, logarithmic: bool) -> None:
    assert isinstance(scale_for(values, decades), LogScale) == logarithmic


def measured(store: Store, values: list[float], **says: Any) -> dict[str, Any]:
    """The space of a trial whose metric `val_rmse` has these values."""
    extra = {e: {"metrics": [("val_rmse", v)]} for e, v in enumerate(values)}
    text = json.dumps({"val_rmse": {"unit": "m", "mode": "min", **says}})
    publish_trial(store, "a", [2.0] * len(values), extra=extra, metric_columns=text)
    space = space_of(["a"], swept=[])
    store.write_space("demo/grid", space)
    return space


def test_a_metric_against_epochs_with_its_unit_and_better_end(store: Store) -> None:
    space = measured(store, [4.0, 0.25, 0.1])
    fig: Any = figure(store, space, metric="val_rmse")
    assert fig.layout.yaxis.title.text == "val_rmse (m), lower is better"
    assert fig.layout.yaxis.type == "log"
    assert (list(fig.data[0].x), list(fig.data[0].y)) == ([0, 1, 2], [4.0, 0.25, 0.1])
    assert figure(store, space, "metric", metric="loss").layout.yaxis.title.text.startswith("loss")
    with pytest.raises(StoreError, match="overview draws no metric of one's choice; metric does"):
        figure(store, space, "overview", metric="val_rmse")
    with pytest.raises(StoreError, match=r"metric needs val_rmes \(did you mean val_rmse\?\)"):
        figure(store, space, metric="val_rmes")


def test_values_below_0_have_their_own_place(store: Store) -> None:
    fig: Any = figure(
        store, measured(store, [0.5, -0.5, -2.0], mode="max", unit=""), metric="val_rmse"
    )
    assert fig.layout.yaxis.type == "linear"
    assert fig.layout.yaxis.title.text == "val_rmse, higher is better"
    assert list(fig.data[0].y) == [0.5, -0.5, -2.0]
    assert ZERO_NAME not in text_of(fig)


def test_a_loss_below_0_is_drawn_as_it_is(store: Store) -> None:
    publish_trial(store, "a", [1.0, -1.0, -3.0], chance_loss=None)
    space = space_of(["a"], swept=[], chance_loss=None)
    fig: Any = figure(store, space, "training_loss")
    assert list(fig.data[0].y) == [1.0, -1.0, -3.0]
    assert fig.layout.yaxis.type == "linear"


def test_the_file_of_a_metric_has_its_name(store: Store, tmp_path: Path) -> None:
    measured(store, [1.0, 2.0])
    path = plot(store, "demo/grid", metric="val_rmse", output=tmp_path)
    assert path.name == "demo-grid-metric-val_rmse.html"
