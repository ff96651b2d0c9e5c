"""Statistics over seeds against enumeration: every resample, every swap, every pair."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from results import Store, StoreError
from results.ask.aggregate import aggregate
from results.ask.best import best
from results.ask.compare import compare
from results.ask.seeds import (
    improvement,
    interquartile_mean,
    interval,
    permutation_p,
    spread,
)
from tests.fuzz.command_line import told
from tests.support.made_up_rows import publish_rows, space_of, trial_rows

INF = math.inf


@pytest.mark.parametrize("values", [[0.3, 1.0, 1.1, 2.5, 7.0], [1.0, 2.0, 3.0, INF, INF]])
@pytest.mark.parametrize("statistic", [np.median, np.mean, interquartile_mean])
@pytest.mark.parametrize("confidence", [0.5, 0.8])
def test_an_interval_is_that_of_all_resamples(
    values: list[float], statistic: Callable[..., Any], confidence: float
) -> None:
    """All 5^5 of them, each as probable; drawn are 9999, so the ends may be of nearby ranks."""
    every = np.array(list(itertools.product(values, repeat=5)))
    exact = np.sort(statistic(every, axis=-1))
    low, high = interval(values, statistic, confidence)
    tail = (1 - confidence) / 2
    for end, share in ((low, tail), (high, 1 - tail)):
        near = np.quantile(exact, [share - 0.015, share + 0.015], method="inverted_cdf")
        assert near[0] <= end <= near[1]
        assert end in exact, "an end is a value that the statistic has"


def test_numbers_by_hand() -> None:
    assert interquartile_mean([9.0, 1.0, 2.0, 3.0, 100.0]) == pytest.approx((2 + 3 + 9) / 3)
    assert interquartile_mean([1.0, 5.0, 3.0]) == 3.0, "of three nothing is cut"
    one = spread([4.0], 0, INF)
    assert (one["median"], one["mean"], one["n"]) == (4.0, 4.0, 1)
    assert math.isnan(one["stderr"])
    assert all(map(math.isnan, interval([4.0], np.median))), "one seed has no interval"
    # A is better in 3 of 4 pairs and equal in one; in the other stratum never.
    assert improvement([1.0, 2.0], [2.0, 3.0]) == pytest.approx(3.5 / 4)
    assert improvement([1.0, 2.0], [2.0, 3.0], [5.0], [4.0]) == pytest.approx(3.5 / 8)
    assert improvement([INF], [INF]) == 0.5


def test_p_is_that_of_all_swaps() -> None:
    first, second = np.array([1.0, 2, 4, 3, 7, 6]), np.array([2.0, 2.5, 3, 5, 9, 9])
    differences = first - second
    swaps = np.array(list(itertools.product([1, -1], repeat=6)))
    null = (swaps * differences).mean(axis=1)
    exact = (np.abs(null) >= abs(differences.mean()) - 1e-12).mean()
    assert permutation_p(list(first), list(second)) == pytest.approx(exact)
    assert permutation_p([1.0, 2.0], [3.0, 4.0]) == 0.5, "two pairs show nothing"


@pytest.fixture
def store(store: Store, seed: int) -> Store:
    """Two depths, two inits and six seeds; one trial diverged, one was pruned, one is missing."""
    rng, rows, ids = np.random.default_rng(seed), [], []
    for depth, init, s in itertools.product((1, 2), ("xavier", "zero"), range(6)):
        name = f"{init}{depth}{s}"
        loss = depth + (init == "zero") + rng.uniform(0, 0.8)
        status = {"zero10": "diverged", "zero20": "pruned", "xavier25": "failed"}.get(name, "done")
        rows.append(trial_rows(
            name, [loss], config={"depth": depth, "init": init, "seed": s}, status=status,
            extra={0: {"val_loss": loss, "test_accuracy": 1 / (1 + loss)}},
            bad_epoch=0 if status == "diverged" else None,
        ))  # fmt: skip
        ids.append(name)
    publish_rows(store, rows)
    select = {"metric": "val_loss", "mode": "min", "over": "seed"}
    swept = ["depth", "init", "seed"]
    store.write_space("demo/grid", space_of([*ids, "later"], swept=swept, select=select))
    return store


def losses(store: Store, init: str, depth: int) -> dict[int, float]:
    rows = store.sql(
        "SELECT seed, epochs.val_loss FROM runs JOIN epochs USING (trial_id) "
        "WHERE init = $init AND depth = $depth AND status = 'done'",
        {"init": init, "depth": depth},
    ).rows()
    return {row["seed"]: row["val_loss"] for row in rows}


def test_aggregate_and_best_have_one_definition(store: Store) -> None:
    table: Any = aggregate(store, "demo/grid")
    assert list(zip(table.depth, table.init, strict=True)) == [
        (1, "xavier"), (1, "zero"), (2, "xavier"), (2, "zero")]  # fmt: skip
    assert table.n.tolist() == [6, 5, 5, 5]
    assert table.n_diverged.tolist() == [0, 1, 0, 0]
    assert table.n_pruned.tolist() == [0, 0, 0, 1]
    assert table.n_missing.tolist() == [0, 0, 1, 0]
    assert table.attrs["says"].endswith(
        "1 diverged trial counts as worse than every number, and is in no mean. In no number: 1 "
        "pruned, 1 without a result, 1 not started."
    )
    zero = sorted(losses(store, "zero", 1).values())
    line = table.iloc[1]
    assert line["median"] == pytest.approx((zero[2] + zero[3]) / 2), "the sixth is the worst"
    assert line["mean"] == pytest.approx(np.mean(zero))
    assert line["iqm"] == pytest.approx(np.mean(zero[1:5]))
    chosen: Any = best(store, "demo/grid").sort_values(["depth", "init"])
    for name in ("median", "mean", "stderr", "n", "n_diverged", "n_missing", "median_low",
                 "median_high", "mean_low", "mean_high", "iqm", "iqm_low", "iqm_high"):  # fmt: skip
        assert table[name].tolist() == pytest.approx(chosen[name].tolist(), nan_ok=True), name
    assert (table.median_low <= table["median"]).all()
    left: Any = aggregate(store, "demo/grid", diverged="left_out", where=["init=zero"])
    assert left["median"][0] == pytest.approx(zero[2])
    assert "1 diverged trial is left out." in left.attrs["says"]
    pooled: Any = aggregate(store, "demo/grid", by=["init"])
    assert pooled.n.tolist() == [11, 10]
    assert "Trials that differ in depth are one cell." in pooled.attrs["says"]
    accuracy: Any = aggregate(store, "demo/grid", metric="test_accuracy")
    assert accuracy["median"][1] == pytest.approx((1 / (1 + zero[2]) + 1 / (1 + zero[3])) / 2)


def test_compare_is_what_loops_say(store: Store) -> None:
    sides = ("demo/grid", {"init": "xavier"}), "demo/grid:init=zero"
    (row,) = compare(store, *sides).to_dict("records")
    shares, differences, ranked = [], [], []
    for depth in (1, 2):
        a, b = losses(store, "xavier", depth), losses(store, "zero", depth)
        b |= {0: INF} if depth == 1 else {}
        both = sorted({*a} & {*b})
        differences += [a[s] - b[s] for s in both if b[s] < INF]
        ranked += [(a[s], b[s]) for s in both]
        shares.append(np.mean([(a[i] < b[j]) + 0.5 * (a[i] == b[j]) for i in both for j in both]))
    assert (row["n"], row["n_diverged_a"], row["n_diverged_b"]) == (10, 0, 1)
    assert row["n_unpaired"] == 2, "partners of the pruned and of the failed one"
    assert row["difference"] == pytest.approx(np.mean(differences))
    assert row["difference_low"] < row["difference"] < row["difference_high"]
    assert row["p_improvement"] == pytest.approx(np.mean(shares))
    order = sorted({v for pair in ranked for v in pair})
    ranks = np.array([order.index(a) - order.index(b) for a, b in ranked])
    swaps = np.array(list(itertools.product([1, -1], repeat=len(ranks))))
    exact = (np.abs(swaps @ ranks) >= abs(ranks.sum()) - 1e-9).mean()
    assert row["p_value"] == pytest.approx(exact)
    by_depth: Any = compare(store, *sides, by=["depth"], diverged="left_out")
    assert by_depth.n.tolist() == [5, 4]
    assert "1 diverged trial is left out." in by_depth.attrs["says"]
    assert "4 pairs allow no p below 0.125." in by_depth.attrs["says"]
    turned: Any = compare(store, *sides[::-1], metric="test_accuracy").iloc[0]
    assert turned["p_improvement"] == pytest.approx(1 - row["p_improvement"])
    assert turned["difference"] < 0, "the accuracy of the worse side less that of the better"


@pytest.mark.parametrize(
    ("sides", "how", "sentence"),
    [
        (("demo/grid", "demo/gird"), {}, "holds no space 'demo/gird'"),
        (("demo/grid:init=xavier", "demo/grid:init=one"), {}, "no trial of demo/grid has init=one"),
        (("demo/grid:init=xavier", "demo/grid:init=zero"), {"by": ["init"]}, "keys .* are depth"),
        (("demo/grid:init=xavier", "demo/grid"), {}, "two trials of demo/grid have depth=1, seed="),
        (("demo/grid:depth=1", "demo/grid:depth=2"), {"diverged": "best"}, "worst or left_out"),
    ],
)
def test_wrong_comparisons(
    store: Store, sides: tuple[str, str], how: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(StoreError, match=sentence):
        compare(store, *sides, **how)


def test_the_command_prints_intervals_with_their_centre(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADSWEEP_STORE", store.uri)
    words = ["compare", "demo/grid:init=xavier", "demo/grid:init=zero"]
    (row,) = json.loads(told(*words, "--json").out)
    text = told(*words, "--by", "depth").out
    assert text.startswith("A is demo/grid with init=xavier, B is demo/grid with init=zero: val")
    assert "difference_low" not in text
    assert "p values are not corrected for 2 tests." in text
    shown = told(*words).out
    ends = f"{row['difference']:.4g} [{row['difference_low']:.4g}, {row['difference_high']:.4g}]"
    assert ends in shown
    said = told("best", "demo/grid").out
    (line, *_) = json.loads(told("best", "demo/grid", "--json").out)
    assert f"{line['median']:.4g} [{line['median_low']:.4g}, {line['median_high']:.4g}]" in said
