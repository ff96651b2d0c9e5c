"""Figures of study herranz2023 from made-up stores, against numbers worked out apart from SQL."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results import Store, StoreError, run_named
from results.figures.herranz2023.pairs import Comparison, comparisons, matched
from results.figures.herranz2023.starts import in_order, mean_and_spread, outcomes, start_of
from results.figures.style import BAD_NAME, ZERO_NAME
from results.plotting import figure as drawn
from results.plotting import plot
from tests.support import gallery_herranz2023 as gallery
from tests.support.made_up_rows import publish_rows, publish_trial, space_of, trial_rows


@pytest.fixture(scope="module")
def two(new_store: Callable[[], Store], request: pytest.FixtureRequest) -> tuple[Store, Any]:
    store = new_store()
    seed = int(request.config.option.seed)
    return store, gallery.figure2(store, seed, tasks=("mnist", "cifar10"), epochs=3, depth=4)


@pytest.fixture(scope="module")
def three(new_store: Callable[[], Store], request: pytest.FixtureRequest) -> tuple[Store, Any]:
    store = new_store()
    return store, gallery.figure3(store, int(request.config.option.seed))


@pytest.fixture(scope="module")
def four(new_store: Callable[[], Store], request: pytest.FixtureRequest) -> tuple[Store, Any]:
    store = new_store()
    return store, gallery.figure4(store, int(request.config.option.seed))


def figure(*words: Any) -> Any:
    """A figure; Plotly's types know nothing of what is in it."""
    return drawn(*words)


def traces(fig: Any, **like: Any) -> list[Any]:
    every: tuple[Any, ...] = fig.data
    return [t for t in every if all(getattr(t, k, None) == v for k, v in like.items())]


def text_of(fig: Any) -> str:
    return str(fig.layout.title.subtitle.text).replace("<br>", " ")


def at_best(made: Any, trial: str, name: str, by: str, sign: int) -> float | None:
    """A metric at the epoch best in another, straight from the rows."""
    rows = []
    for row in made.rows["epochs"]:
        if row["trial_id"] == trial:
            known = {**row, **dict(row.get("metrics") or ())}
            rank = known.get(by)
            if rank is not None and math.isfinite(rank):
                rows.append((sign * rank, row["epoch"], known.get(name)))
    return min(rows)[2] if rows else None


# ---- figure 2 ----------------------------------------------------------------------------------


def test_figure2_is_the_mean_at_the_best_validation_loss(two: tuple[Store, Any]) -> None:
    store, made = two
    fig = figure(store, "herranz2023/figure2", "figure2")
    heads = [a.text for a in fig.layout.annotations]
    assert heads == [
        f"<b>{a}, {t}</b>" for a in ("sin", "relu", "cos") for t in ("mnist", "cifar10")
    ]
    lines = traces(fig, mode="lines+markers")
    assert len(lines) == len(heads) * 3
    drawn = 0
    for line in lines:
        axis = line.xaxis.removeprefix("x") or "1"
        activation, task = heads[int(axis) - 1].removeprefix("<b>").removesuffix("</b>").split(", ")
        for lr, mean in zip(line.x, line.y, strict=True):
            values = [
                at_best(made, trial, "test_accuracy", "val_loss", 1)
                for trial, config in made.configs.items()
                if config["stage"] == "train"
                and (config["activation"], config["task"], config["lr"]) == (activation, task, lr)
                and start_of(config) == line.name
            ]
            kept = [v for v in values if v is not None]
            assert mean == pytest.approx(np.mean(kept), rel=1e-12)
            drawn += 1
    assert drawn == 3 * 2 * 3 * 4 - 2, "all points but the two that never ran"
    assert {t.name for t in traces(fig, showlegend=True)} == {"LSC, ρ = 1", "Glorot", "He"}


def test_figure2_says_what_is_missing(two: tuple[Store, Any]) -> None:
    text = text_of(figure(two[0], "herranz2023/figure2", "figure2"))
    assert "abcd0000" in text
    assert "2 of 72 points have no trial yet" in text
    assert "sin, mnist, He at lr 0.01: 2" in text, "one diverged before its first epoch ended"
    assert "became non-finite" in text


def test_bands_are_half_a_deviation_to_each_side(two: tuple[Store, Any]) -> None:
    fig = figure(two[0], "herranz2023/figure2", "figure2")
    bands, lines = traces(fig, fill="toself"), traces(fig, mode="lines+markers")
    for band, line in zip(bands, lines, strict=True):
        count = len(line.x)
        spread = [row[0] for row in line.customdata]
        upper, lower = band.y[:count], list(reversed(band.y[count:]))
        assert list(np.subtract(upper, lower)) == pytest.approx(spread, abs=1e-12)
    values = [0.2, 0.5, 0.9]
    assert mean_and_spread(values) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert mean_and_spread([2.0]) == (2.0, 0.0)


def test_one_trial_shows_its_panel(two: tuple[Store, Any]) -> None:
    store, made = two
    trial = next(t for t, c in made.configs.items() if c.get("activation") == "relu" and "lr" in c)
    fig = figure(store, "herranz2023/figure2", "figure2", trial[:8])
    assert [a.text for a in fig.layout.annotations] == ["<b>relu, mnist</b>"]
    with pytest.raises(StoreError, match="not one of this figure"):
        figure(store, "herranz2023/figure2", "figure2", next(iter(made.parents.values())))


# ---- figure 3 ----------------------------------------------------------------------------------


def brute_force(made: Any, first: str, second: str, keep: Callable[[dict], bool]) -> Comparison:
    """Wins of one start over another, by looking at every pair of trials."""
    counts = {"wins": 0, "ties": 0, "losses": 0, "missing": 0}
    best: dict[tuple, dict[str, float]] = {}
    for trial, config in made.configs.items():
        if config["stage"] != "train" or not keep(config):
            continue
        name, sign = (
            ("batch_perplexity", 1) if config["task"] == "wordptb" else ("mode_accuracy", -1)
        )
        value = at_best(made, trial, f"test_{name}", f"val_{name}", sign)
        cell = tuple(config[k] for k in ("task", "model", "depth", "seed"))
        best.setdefault(cell, {})[start_of(config)] = -math.inf if value is None else -sign * value
    for found in best.values():
        if first not in found or second not in found:
            counts["missing"] += 1
            continue
        one, other = found[first], found[second]
        counts["wins" if one > other else "ties" if one == other else "losses"] += 1
    return Comparison(first, second, **counts)


@pytest.mark.parametrize(
    "keep",
    [
        lambda c: True,
        lambda c: c["model"] == "malsnn",
        lambda c: c["depth"] == 5,
        lambda c: c["task"] == "wordptb" and c["model"] != "rsimplernn",
    ],
)
def test_wins_ties_and_gaps_are_counted(
    three: tuple[Store, Any], keep: Callable[[dict], bool]
) -> None:
    store, made = three
    _, found = outcomes(store, store.spaces()["herranz2023/figure3"])
    swept = ["task", "model", "depth", "seed", "pretrain", "lsc_target"]
    got = comparisons(matched(found, swept), lambda one: keep(one.shown.config))
    order = ["LSC, ρ = ½", "LSC, ρ = 1", "default start"]
    assert got == [brute_force(made, *pair, keep) for pair in itertools.combinations(order, 2)]
    assert sum(one.ties for one in got) > 0


def test_figure3_draws_percentages_of_pairs(three: tuple[Store, Any]) -> None:
    store, made = three
    fig = figure(store, "herranz2023/figure3", "figure3")
    wins = {t.name: dict(zip(t.x, t.y, strict=True)) for t in traces(fig, type="bar", base=None)}
    assert set(wins) == {
        "LSC, ρ = ½ beats LSC, ρ = 1", "LSC, ρ = ½ beats default start",
        "LSC, ρ = 1 beats default start",
    }  # fmt: skip
    assert list(wins["LSC, ρ = 1 beats default start"]) == [
        "all", "without rsimplernn,<br>as published", "spiking nets", "other nets",
        "depth 2", "depth 5", "heidelberg", "wordptb",
    ]  # fmt: skip
    one = brute_force(made, "LSC, ρ = ½", "LSC, ρ = 1", lambda c: c["model"] == "malsnn")
    assert wins["LSC, ρ = ½ beats LSC, ρ = 1"]["spiking nets"] == pytest.approx(one.win_percent)
    assert "LSC, ρ = 1 / default start: 1" in text_of(fig), "the pair with a missing trial"
    assert [s.y0 for s in fig.layout.shapes] == [50]


def test_nothing_to_pair_is_one_sentence(store: Store) -> None:
    publish_trial(store, "a", [1.0], config={"pretrain": "none"}, extra={0: {"val_accuracy": 0.5}})
    with pytest.raises(StoreError, match="no two trials of demo/grid differ in their start only"):
        figure(store, space_of(["a"], swept=["seed"]), "figure3")


def test_bars_are_means_by_net_task_and_start(three: tuple[Store, Any]) -> None:
    store, made = three
    fig = figure(store, "herranz2023/figure3", "start_bars")
    heads = [note.text for note in fig.layout.annotations if note.text.startswith("<b>")]
    assert heads == [f"<b>{t}, depth {d}</b>" for t in ("heidelberg", "wordptb") for d in (2, 5)]
    count = 0
    for bars in traces(fig, type="bar"):
        axis = (bars.xaxis or "x").removeprefix("x") or "1"
        task, depth = (
            heads[int(axis) - 1].removeprefix("<b>").removesuffix("</b>").split(", depth ")
        )
        for net, height, spread in zip(bars.x, bars.y, bars.error_y.array, strict=True):
            name, sign = ("batch_perplexity", 1) if task == "wordptb" else ("mode_accuracy", -1)
            values = [
                at_best(made, trial, f"test_{name}", f"val_{name}", sign)
                for trial, c in made.configs.items()
                if c["stage"] == "train"
                and (c["task"], str(c["depth"]), c["model"]) == (task, depth, net)
                and start_of(c) == bars.name
            ]
            kept = np.array([v for v in values if v is not None])
            assert height == pytest.approx(kept.mean())
            assert spread == pytest.approx(kept.std(ddof=1) if len(kept) > 1 else 0)
            count += 1
    assert count > 20


# ---- figure 4, table 1 -------------------------------------------------------------------------


def test_figure4_has_a_curve_for_each_start_and_dashes_the_clipped(four: tuple[Store, Any]) -> None:
    store, made = four
    fig = figure(store, "herranz2023/figure4", "figure4")
    thick = traces(fig, mode="lines+markers")
    assert len(thick) == 2 * 4 * 2
    assert {t.line.dash for t in thick if t.name.endswith("clipped")} == {"dash"}
    assert {t.line.dash for t in thick if not t.name.endswith("clipped")} == {"solid"}
    line = next(t for t in thick if t.name == "default start" and t.xaxis == "x")
    trials = [
        t for t, c in made.configs.items()
        if c["depth"] == 3 and c["clip_norm"] is None and start_of(c) == "default start"
    ]  # fmt: skip
    first = [
        dict(r["metrics"])["val_batch_perplexity"]
        for r in made.rows["epochs"]
        if r["trial_id"] in trials and r["epoch"] == 0
    ]
    assert line.y[0] == pytest.approx(np.median(first))
    assert "Validation perplexity" in str(fig.layout.yaxis.title.text)
    assert fig.layout.yaxis.type == "log"


def test_table1_has_means_and_says_which_is_best(four: tuple[Store, Any]) -> None:
    store, made = four
    fig = figure(store, "herranz2023/figure4", "table1")
    (table,) = fig.data
    heads = [h.replace("<b>", "").replace("</b>", "") for h in table.header.values]
    assert heads[1:] == [
        f"depth {d}<br>{s} perplexity" for d in (3, 6) for s in ("validation", "test")
    ]
    names = list(table.cells.values[0])
    assert names == [
        f"{start}{clip}"
        for clip in ("", ", clipped")
        for start in in_order(list(gallery.UNBALANCED))
    ]
    for column, (depth, split) in enumerate(itertools.product((3, 6), ("val", "test")), 1):
        means = {}
        for line, text in zip(names, table.cells.values[column], strict=True):
            values = [
                at_best(made, t, f"{split}_batch_perplexity", "val_batch_perplexity", 1)
                for t, c in made.configs.items()
                if c["depth"] == depth
                and start_of(c) == line.removesuffix(", clipped")
                and (c["clip_norm"] is not None) is line.endswith("clipped")
            ]
            kept = np.array([v for v in values if v is not None])
            means[line] = kept.mean()
            plain = f"{kept.mean():.1f} ± {kept.std(ddof=1):.1f} ({len(kept)})"
            assert text.replace("<b>", "").replace("</b>", "") == plain
        for clip in (False, True):
            own = {n: m for n, m in means.items() if n.endswith("clipped") is clip}
            bold = [
                n
                for n, t in zip(names, table.cells.values[column], strict=True)
                if t.startswith("<b>") and n in own
            ]
            assert bold == [min(own, key=lambda n: own[n])]


# ---- pretraining -------------------------------------------------------------------------------


def test_radii_by_kind_with_their_target(three: tuple[Store, Any]) -> None:
    store, made = three
    fig = figure(store, "herranz2023/figure3", "lsc_radius")
    assert "8 of 8 trials" in text_of(fig)
    assert "6 of 8 cells" in text_of(fig)
    names = [t.name for t in traces(fig, showlegend=True)]
    assert [n.split()[0] for n in names] == ["recurrent", "input", "depth", "decoder", "target"]
    trial = next(iter(made.parents.values()))
    one = figure(store, "herranz2023/figure3", "lsc_radius", trial[:8])
    (line,) = [t for t in traces(one, mode="lines", legendgroup="rec") if t.name]
    rows = [r for r in made.rows["probes/lsc"] if r["trial_id"] == trial and r["kind"] == "rec"]
    late = [r["radius"] for r in rows if r["iteration"] >= 197]
    assert len(line.y) <= 60
    assert line.y[-1] == pytest.approx(np.mean(late), abs=0.1)
    assert all(math.isfinite(v) for v in line.y), "iterations that were not finite are left out"
    (target,) = traces(one, name="target")
    assert set(target.y) == {made.configs[trial]["lsc_target"]}
    assert trial in text_of(one)


def test_variances_of_radii_by_kind(three: tuple[Store, Any]) -> None:
    """Of one trial's recurrent Jacobians in the last of the figure's 20 spans of iterations."""
    store, made = three
    trial = next(iter(made.parents.values()))
    fig = figure(store, "herranz2023/figure3", "lsc_variance", trial[:8])
    rows = [r for r in made.rows["probes/lsc"] if r["trial_id"] == trial and r["kind"] == "rec"]
    total = 1 + max(r["iteration"] for r in rows)
    late = [r for r in rows if r["iteration"] * 20 // total == 19 and math.isfinite(r["radius"])]
    radii = np.array([r["radius"] for r in late])
    (variance,) = [t for t in traces(fig) if str(t.name).endswith("−1</sub>, variance")]
    (distance,) = [t for t in traces(fig) if str(t.name).endswith("−1</sub>, squared distance")]
    assert variance.y[-1] == pytest.approx(np.var(radii), rel=1e-6)
    assert distance.y[-1] == pytest.approx(np.mean((radii - late[0]["target"]) ** 2), rel=1e-6)
    assert variance.line.dash == "solid"
    assert distance.line.dash == "dash"


def test_a_store_without_pretrainings_says_so(store: Store) -> None:
    publish_trial(store, "a", [1.0], config={"pretrain": "none"})
    with pytest.raises(
        StoreError,
        match="no trial of demo/grid has rows of lsc \\(1 done\\); its trials record none",
    ):
        figure(store, space_of(["a"]), "lsc_radius")
    with pytest.raises(StoreError, match="recorded its layers"):
        figure(store, space_of(["a"]), "before_after")


def test_gradients_by_layer_and_start(two: tuple[Store, Any]) -> None:
    store, made = two
    fig = figure(store, "herranz2023/figure2", "before_after")
    assert "lr 0.001 of 1e-05, 0.0001, 0.001, 0.01." in text_of(fig)
    assert "3 of 6 settings" in text_of(fig)
    maps = traces(fig, type="heatmap")
    assert len(maps) == 9
    first = maps[0]
    trials = [
        t for t, c in made.configs.items()
        if (c.get("activation"), c.get("lr"), c.get("task"), c.get("pretrain")) ==
        ("sin", 1e-3, "mnist", "lsc") and c["stage"] == "train"
    ]  # fmt: skip
    norms = [
        r["grad_norm"]
        for r in made.rows["layers"]
        if r["trial_id"] in trials and (r["tensor"], r["layer"], r["epoch"]) == ("*", 2, 1)
    ]
    assert first.z[2][1] == pytest.approx(math.log10(float(np.median(norms))), rel=1e-5)
    bad = next(t for t, c in made.configs.items() if c.get("lr") == 1e-2 and
               (c["activation"], c["init"]) == ("sin", "he_normal"))  # fmt: skip
    named = {t.name for t in traces(figure(store, "herranz2023/figure2", "before_after", bad))}
    assert "He" in named
    assert named.isdisjoint({BAD_NAME, ZERO_NAME}), "medians over seeds, of which one is not finite"


def test_histograms_of_weights_from_each_start(store: Store) -> None:
    """Bars of a matrix of two starts after the first and the last epoch; a bias of 0 has none."""
    rng = np.random.default_rng(0)
    found: dict[tuple[str, int], np.ndarray] = {}
    starts = {"a": {"pretrain": "lsc", "lsc_target": 1.0}, "b": {"init": "he_normal"}}
    trials = []
    for trial, config in starts.items():
        rows = trial_rows(trial, [1.0, 0.5, 0.2], config={"lr": 0.1, "pretrain": "none", **config})
        rows["probes/weight_histogram"] = []
        for epoch in (0, 2):
            counts, edges = np.histogram(rng.normal(size=500) * (1 + epoch), 40)
            found[trial, epoch] = counts / 500 / np.diff(edges)
            for tensor, low, high in (("w", edges[:-1], edges[1:]), ("b", [0.0], [0.0])):
                rows["probes/weight_histogram"] += [
                    {"trial_id": trial, "attempt": 0, "epoch": epoch, "layer": 1,
                     "layer_name": "hidden.1", "tensor": tensor, "low": float(lo),
                     "high": float(hi), "share": float(share) / 500}
                    for lo, hi, share in zip(low, high, counts, strict=False)
                ]  # fmt: skip
        trials.append(rows)
    publish_rows(store, trials)
    fig = figure(store, space_of(["a", "b"], swept=["pretrain", "init"]), "weight_histograms")
    assert [a.text for a in fig.layout.annotations if "<b>" in a.text] == ["<b>hidden.1 w</b>"]
    lines = {(t.name, t.line.dash): t for t in traces(fig)}
    for trial, name in (("a", "LSC, ρ = 1"), ("b", "He")):
        for epoch, dash in ((0, "dot"), (2, "solid")):
            line = lines.pop((name, dash))
            heights = [value or 0.0 for value in line.y]
            assert heights == pytest.approx(np.repeat(found[trial, epoch], 2).tolist())
            assert np.trapezoid(heights, line.x) == pytest.approx(1)
    assert not lines


# ---- as a whole --------------------------------------------------------------------------------


def test_starts_in_words() -> None:
    assert start_of({"pretrain": "lsc", "lsc_target": 0.75, "init": "he_normal"}) == "LSC, ρ = 0.75"
    assert start_of({"stage": "lsc"}) == "LSC, ρ = 1"
    assert in_order(["He", "default start", "LSC, ρ = 1", "LSC, ρ = 0.75", "Glorot"]) == [
        "LSC, ρ = 0.75", "LSC, ρ = 1", "Glorot", "He", "default start"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["figure2", "figure3", "lsc_radius", "lsc_variance", "before_after"]
)
def test_html_holds_all_it_needs(two: tuple[Store, Any], tmp_path: Path, name: str) -> None:
    path = plot(two[0], "herranz2023/figure2", name, output=tmp_path / f"{name}.html")
    assert "Plotly.newPlot" in path.read_text()


def test_queries_of_the_study(two: tuple[Store, Any]) -> None:
    store, made = two
    lsc = run_named(store, "lsc").rows()
    assert {row["trial_id"] for row in lsc} == set(made.parents.values())
    assert {row["children"] for row in lsc} == {4}
    assert {row["radius"] for row in lsc} == {1.01}
    pairs = run_named(store, "pairs").rows()
    expected = {
        (one, other)
        for one, other in itertools.product(made.configs, repeat=2)
        if (a := made.configs[one])["stage"] == (b := made.configs[other])["stage"] == "train"
        and a["pretrain"] == "lsc" and b["pretrain"] == "none"
        and all(a[k] == b[k] for k in ("task", "activation", "seed", "lr", "depth"))
    }  # fmt: skip
    assert {(row["trial_id"], row["other_id"]) for row in pairs} == expected
    for row in pairs[:5]:
        gain = row["test_accuracy"] - row["other_test_accuracy"]
        assert row["test_accuracy_gain"] == pytest.approx(gain)
        best = at_best(made, row["trial_id"], "test_accuracy", "val_loss", 1)
        assert row["test_accuracy"] == best
