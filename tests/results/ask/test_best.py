"""`best` against an independent computation in pandas."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
import pytest

from results import Store, StoreError
from results.ask.best import best
from results.ask.trial_values import metric_sql
from results.plotting import figure
from tests.support.made_up_rows import (
    attempt_row,
    publish_rows,
    publish_trial,
    space_of,
    trial_rows,
)

DEPTHS, LRS, SEEDS = (3, 20), (0.001, 0.01, 0.1), (0, 1, 2, 3)


@pytest.fixture(scope="module", params=range(3))
def grid(
    new_store: Callable[[], Store], seed: int, request: pytest.FixtureRequest
) -> tuple[Store, pd.DataFrame]:
    """A grid of trials with random final losses, some of them diverged and one without a result."""
    store, rng = new_store(), np.random.default_rng((seed, request.param))
    rows, published = [], []
    for i, (depth, lr, s) in enumerate(itertools.product(DEPTHS, LRS, SEEDS)):
        val, test = rng.uniform(0.5, 2.5, 2)
        diverged = (depth, lr, s) in {(3, 0.01, 1), (20, 0.1, 2), (20, 0.1, 3), (20, 0.1, 0)}
        missing = (depth, lr, s) == (3, 0.001, 0)
        published.append(trial_rows(
            f"t{i:03d}", [2.5, 2.0],
            config={"depth": depth, "lr": lr, "seed": s},
            extra={1: {"val_loss": val, "test_loss": test, "test_accuracy": 1 - test / 3,
                       "metrics": [("score", val * 2)]}},
            status="diverged" if diverged else "interrupted" if missing else "done",
            bad_epoch=1 if diverged else None,
        ))  # fmt: skip
        if not missing:
            rows.append({"depth": depth, "lr": lr, "seed": s, "val": val, "test": test,
                         "diverged": diverged})  # fmt: skip
    publish_rows(store, published)
    ids = [f"t{i:03d}" for i in range(len(DEPTHS) * len(LRS) * len(SEEDS))]
    store.write_space("demo/grid", space_of([*ids, "later"], swept=["depth", "lr", "seed"]))
    return store, pd.DataFrame(rows)


def finite(value: Any) -> float:
    return float(value) if np.isfinite(value) else math.nan


def expected(frame: pd.DataFrame, rule: str) -> dict[int, dict[str, float]]:
    out = {}
    for depth, cell in frame.groupby("depth"):
        if rule == "median":
            ranked = cell.assign(val=cell.val.where(~cell.diverged, np.inf)).groupby("lr").val
            lr = ranked.apply(np.median).idxmin()
        else:
            lr = cell[~cell.diverged].groupby("lr").val.mean().idxmin()
        chosen = cell[cell.lr == lr]
        kept = chosen.loc[~chosen.diverged, "test"]
        out[depth] = {
            "lr": lr,
            "median": finite(np.median(chosen.test.where(~chosen.diverged, np.inf))),
            "mean": kept.mean(),
            "stderr": kept.std(ddof=1) / math.sqrt(len(kept)),
            "n": len(kept),
            "n_diverged": int(chosen.diverged.sum()),
        }
    return out


@pytest.mark.parametrize("rule", ["median", "published"])
def test_best_is_what_pandas_says(grid: tuple[Store, pd.DataFrame], rule: str) -> None:
    store, frame = grid
    got = best(store, "demo/grid", average="median" if rule == "median" else "published")
    for depth, numbers in expected(frame, rule).items():
        row = got[got.depth == depth].iloc[0]
        for name, value in numbers.items():
            assert row[name] == pytest.approx(value, rel=1e-12, nan_ok=True), (depth, name)
        assert row.partial == (row.n_diverged > 0)
    assert dict(zip(got.depth, got.n_missing, strict=True)) == {3: 1, 20: 0}


def test_other_metrics_and_ends(grid: tuple[Store, pd.DataFrame]) -> None:
    store, _ = grid
    loss = best(store, "demo/grid", metric="test_loss", report="test_loss")
    accuracy = best(store, "demo/grid", metric="test_accuracy", mode="max", report="test_loss")
    pd.testing.assert_frame_equal(loss, accuracy)
    scored = best(store, "demo/grid", metric="score", report="metrics.score")
    plain = best(store, "demo/grid", report="val_loss")
    double = dict(zip(plain.depth, 2 * plain["mean"], strict=True))
    assert dict(zip(scored.depth, scored["mean"], strict=True)) == pytest.approx(double, rel=1e-12)
    pd.testing.assert_frame_equal(
        best(store, "demo/grid", over=["seed"]), best(store, "demo/grid", over="seed")
    )
    by = best(store, "demo/grid", by=["seed"], over=[], choose="lr")
    assert sorted(by.seed) == list(SEEDS)


def test_a_diverged_seed_is_worst_at_either_end(store: Store) -> None:
    for seed, status in enumerate(["done", "done", "diverged"]):
        publish_trial(store, f"t{seed}", [1.0], config={"seed": seed}, status=status,
                      extra={0: {"val_loss": 1.0 + seed, "test_accuracy": seed / 2}})  # fmt: skip
    space = space_of(["t0", "t1", "t2"], swept=["lr", "seed"])
    low = best(store, space, report="val_loss").iloc[0]
    high = best(store, space, report="test_accuracy").iloc[0]
    assert (low["median"], high["median"]) == (2.0, 0.0)
    assert (low["mean"], high["mean"], low.n, low.n_diverged) == (1.5, 0.25, 2, 1)


def test_the_best_epoch_is_chosen_on_the_metric_and_never_on_what_is_reported(
    store: Store,
) -> None:
    val = [[3.0, 1.0, 1.0, 2.0], [2.0, math.nan, 1.5, 4.0]]
    for seed, losses in enumerate(val):
        publish_trial(
            store, f"t{seed}", losses, config={"seed": seed},
            extra={e: {"val_loss": v, "test_accuracy": (10 * seed + e) / 20}
                   for e, v in enumerate(losses)},
        )  # fmt: skip
    select = {"metric": "val_loss", "mode": "min", "report": "test_accuracy", "over": "seed"}
    space = space_of(["t0", "t1"], swept=["seed"], select={**select, "at": "best"})
    assert best(store, space)["mean"].item() == pytest.approx((1 + 12) / 40)
    assert best(store, space, at="last")["mean"].item() == pytest.approx((3 + 13) / 40)
    worst = best(store, space, mode="max")["mean"].item()
    assert worst == pytest.approx((0 + 13) / 40), "of the other end, and NaN is no end"
    silent = best(store, {**space, "select": select})["mean"].item()
    assert silent == pytest.approx((3 + 13) / 40), "the last unless the space or the caller says"
    with pytest.raises(StoreError, match="at is last or best; got first"):
        best(store, {**space, "select": {**select, "at": "first"}})


def trials(store: Store, losses: Mapping[str, float | None], **columns: Any) -> list[str]:
    """Publishes trials called `<lr>/<seed>`, with their validation and test loss or, where that is
    none, diverged. Gives their ids."""
    rows = []
    for name, loss in losses.items():
        lr, seed = name.split("/")
        ended: Any = {"bad_epoch": None if loss is not None else 0}
        ended["status"] = "done" if loss is not None else "diverged"
        extra = {0: {"val_loss": loss, "test_loss": loss}}
        config = {"lr": float(lr), "seed": int(seed)}
        rows.append(trial_rows(name, [1.0], config=config, extra=extra, **ended | columns))
    publish_rows(store, rows)
    return list(losses)


def test_a_rate_at_which_most_seeds_diverged_is_never_chosen(store: Store) -> None:
    """Not even where the one that is left is the best of all: the median counts the others."""
    ids = trials(store, {"0.1/0": 0.01, "0.1/1": None, "0.1/2": None, "0.1/3": None,
                         "0.01/0": 1.0, "0.01/1": 1.1, "0.01/2": 1.2, "0.01/3": None})  # fmt: skip
    space = space_of(ids)
    (row,) = best(store, space).to_dict("records")
    assert row["lr"] == 0.01
    assert (row["median"], row["n"], row["n_diverged"], row["partial"]) == (1.15, 3, 1, True)
    assert row["stderr"] == pytest.approx(0.1 / math.sqrt(3)), "over those that did not"
    (row,) = best(store, space, average="published").to_dict("records")
    assert (row["lr"], row["n"]) == (0.1, 1), "which the papers' rule would take"


def test_a_rate_at_which_every_seed_diverged_is_the_worst_at_either_end(store: Store) -> None:
    ids = trials(store, {"0.1/0": None, "0.1/1": None, "0.2/0": 5.0, "0.2/1": 6.0})
    space = space_of(ids)
    rules: tuple[Literal["median", "published"], ...] = ("median", "published")
    modes: tuple[Literal["min", "max"], ...] = ("min", "max")
    for rule, mode in itertools.product(rules, modes):
        (row,) = best(store, space, average=rule, mode=mode).to_dict("records")
        assert (row["lr"], row["n"]) == (0.2, 2), (rule, mode)
        assert row["stderr"] == pytest.approx(math.sqrt(0.5) / math.sqrt(2))


def test_a_stopped_trial_with_a_bad_epoch_counts_as_diverged(store: Store) -> None:
    ids = trials(store, {"0.1/0": 1.0}, status="stopped", bad_epoch=0)
    ids += trials(store, {"0.2/0": 2.0}, status="stopped")
    (row,) = best(store, space_of(ids)).to_dict("records")
    assert (row["lr"], row["n_diverged"]) == (0.2, 0)
    (row,) = best(store, space_of(ids[:1])).to_dict("records")
    assert (row["n"], row["n_diverged"]) == (0, 1)
    assert all(math.isnan(row[name]) for name in ("median", "mean", "stderr"))


def test_the_best_cell_comes_first_and_those_without_a_number_last(store: Store) -> None:
    ids = trials(store, {"0.1/0": 3.0, "0.1/1": 5.0, "0.2/0": None, "0.2/1": None, "0.3/0": 1.0,
                         "0.3/1": None, "0.3/2": None, "0.4/0": 2.0, "0.5/0": 4.0,
                         "0.5/1": None})  # fmt: skip
    space = space_of(ids, swept=["lr", "seed"], select={"over": "seed"})
    low, high = best(store, space), best(store, space, report="val_loss", mode="max")
    nan = math.nan
    expected = {0.4: 2.0, 0.1: 4.0, 0.2: nan, 0.3: nan, 0.5: nan}
    assert list(low.lr) == list(expected), "and of those the smallest first"
    assert list(low["median"]) == pytest.approx(list(expected.values()), nan_ok=True)
    assert list(high.lr)[:2] == [0.1, 0.4]
    means = best(store, space, average="published")
    assert list(means["mean"]) == pytest.approx([1.0, 2.0, 4.0, 4.0, nan], nan_ok=True)


@pytest.mark.parametrize(
    ("select", "how", "sentence"),
    [
        ({"choose": "lr", "report": "test_accuracy", "over": "seed"}, {},
         ("lr is chosen by the lowest median val_loss over seed, each trial at its last epoch; "
          "reported is test_accuracy (fraction) at the chosen lr, the highest median comes "
          "first.")),
        ({"choose": "lr", "over": ["seed", "elsewhere"], "at": "best"}, {},
         ("lr is chosen by the lowest median val_loss over seed, each trial at the epoch of its "
          "lowest val_loss; reported is val_loss at the chosen lr, the lowest median comes "
          "first.")),
        ({"over": "seed", "metric": "val_accuracy", "mode": "max"}, {"average": "published"},
         ("val_accuracy (fraction) over seed, each trial at its last epoch; the highest mean "
          "comes first.")),
        ({"over": []}, {},
         "val_loss, each trial at its last epoch; the lowest median comes first."),
    ],
)  # fmt: skip
def test_it_says_what_it_chose_on(
    store: Store, select: dict[str, Any], how: dict[str, Any], sentence: str
) -> None:
    for seed in (0, 1):
        publish_trial(store, f"t{seed}", [1.0], config={"seed": seed}, extra={
            0: {"val_loss": 1.0, "val_accuracy": 0.5, "test_accuracy": 0.5}})  # fmt: skip
    space = space_of(["t0", "t1"], swept=["lr", "seed"], select=select)
    assert best(store, space, **how).attrs["says"] == sentence


def test_of_equally_good_values_the_smallest_is_chosen(store: Store) -> None:
    ids = trials(store, {"10/0": 1.0, "9/0": 1.0, "11/0": 1.0})  # ids sort as text
    (row,) = best(store, space_of(ids)).to_dict("records")
    assert row["lr"] == 9
    assert math.isnan(row["stderr"]), "of one seed nothing is known"


def test_parents_are_left_out(store: Store) -> None:
    """They are better here than any child. A space that names its targets needs no look at them."""
    ids = trials(store, {"0.1/0": 2.0, "0.1/1": 3.0})
    parents = trials(store, {"0.1/2": 0.1, "0.2/0": 0.2})
    own = dict(zip(ids, parents, strict=True))
    for space in (
        space_of([*ids, *parents], parents=own),
        space_of([*ids, *parents], targets=ids),
        space_of([*parents, *ids], parents={}, targets=ids),
    ):
        (row,) = best(store, space).to_dict("records")
        assert (row["lr"], row["n"], row["median"]) == (0.1, 2, 2.5)
    (row,) = best(store, space_of([*ids, *parents])).to_dict("records")
    assert row["lr"] == 0.2, "as they would be chosen"


def test_a_metric_that_is_null_or_no_number_is_missing(store: Store) -> None:
    trials(store, {"0.1/0": 1.0, "0.1/1": math.nan})
    publish_trial(store, "0.1/2", [1.0], config={"lr": 0.1, "seed": 2},
                  extra={0: {"val_loss": 1.0}})  # fmt: skip
    publish_trial(store, "0.1/3", [1.0], config={"lr": 0.1, "seed": 3}, status="running",
                  extra={0: {"val_loss": 0.5, "test_loss": 0.5}})  # fmt: skip
    space = space_of([f"0.1/{seed}" for seed in range(4)])
    (row,) = best(store, space).to_dict("records")
    assert (row["n"], row["n_missing"], row["median"]) == (1, 3, 1.0)


def test_a_cell_without_a_result_is_a_row_of_its_own(store: Store) -> None:
    trials(store, {"0.1/0": 1.0, "0.1/1": 2.0})
    publish_trial(store, "0.2/0", [1.0], config={"lr": 0.2, "seed": 0}, status="failed")
    got = best(store, space_of(["0.1/0", "0.1/1", "0.2/0"]), by=["lr"], choose="seed", over=[])
    first, second = got.to_dict("records")
    assert (first["lr"], first["seed"], first["n"], first["n_missing"]) == (0.1, 0, 1, 0)
    assert (second["lr"], second["n"], second["n_diverged"], second["n_missing"]) == (0.2, 0, 0, 1)
    assert second["seed"] is None or math.isnan(second["seed"])
    assert not second["partial"]
    assert all(math.isnan(second[name]) for name in ("median", "mean", "stderr"))


def test_what_a_space_says_is_what_counts(store: Store) -> None:
    """Its metric, end, key and averaged keys, each unless the caller says another; and what stands
    where it says nothing."""
    for number, (lr, seed) in enumerate(itertools.product((0.1, 0.2), (0, 1))):
        publish_trial(
            store, f"t{number}", [1.0], config={"lr": lr, "seed": seed},
            extra={0: {"val_loss": 1 + number, "test_loss": 10 + number,
                       "val_accuracy": number / 10}},
        )  # fmt: skip
    ids = [f"t{number}" for number in range(4)]
    bare = best(store, space_of(ids, select={}))
    assert list(bare.lr) == [0.1, 0.2], "no key is chosen: each value is a cell"
    assert list(bare["mean"]) == [1.5, 3.5], "val_loss, averaged over the seed"
    chosen = space_of(ids, select={"metric": "val_accuracy", "mode": "max", "choose": "lr"})
    (row,) = best(store, chosen).to_dict("records")
    assert (row["lr"], row["mean"]) == (0.2, pytest.approx(0.25))
    (row,) = best(store, chosen, mode="min", metric="val_loss").to_dict("records")
    assert (row["lr"], row["mean"]) == (0.1, 1.5)
    (row,) = best(store, chosen, report="test_loss").to_dict("records")
    assert (row["lr"], row["mean"]) == (0.2, 12.5)


@pytest.mark.parametrize(
    ("report", "recipe", "median"),
    [
        ("test_loss", {}, 2.5),
        ("test_accuracy", {}, 1.5),
        ("val_loss", {"mode": "max"}, 1.5),
        ("val_loss", {}, 2.5),
        ("score", {"report_mode": "max"}, 1.5),
        ("score", {}, 2.5),
    ],
)
def test_where_a_diverged_seed_stands_in_what_is_reported(
    store: Store, report: str, recipe: dict[str, str], median: float
) -> None:
    """Of 1, 2 and 3 and the diverged one, which is above all or below."""
    for seed in range(4):
        value = float(seed)
        publish_trial(store, f"t{seed}", [1.0], config={"seed": seed},
                      status="done" if seed else "diverged",
                      extra={0: {"val_loss": value, "test_loss": value, "test_accuracy": value,
                                 "metrics": [("score", value)]}})  # fmt: skip
    select = {"metric": "val_loss", "over": "seed", "report": report, **recipe}
    ids = [f"t{seed}" for seed in range(4)]
    (row,) = best(store, space_of(ids, select=select)).to_dict("records")
    assert row["median"] == median


def test_a_launch_in_which_all_failed_says_so(store: Store) -> None:
    """Neither a choice nor a figure asks for the launch again; all say where the reason is."""
    for trial in ("t0", "t1"):
        publish_rows(store, [{"trials": [attempt_row(trial, status="failed", error="mine")]}])
    space = space_of(["t0", "t1", "t2"], figures=["overview"])
    said = (
        r"^no trial of demo/grid has {}: 2 failed, 1 not started; `gradsweep show t0` says why of "
        r"one, `gradsweep status` of all\.$"
    )
    with pytest.raises(StoreError, match=said.format("a result")):
        best(store, space)
    for name, what in (("overview", "a row"), ("training_loss", "a row"), ("orbit2d", "a row"),
                       ("effective_lr", "a row"), ("lsc_radius", "rows of")):  # fmt: skip
        with pytest.raises(StoreError, match=said.format(f"{what}.*")):
            figure(store, space, name)
    with pytest.raises(StoreError, match="no trial of demo/grid has a result yet; launch it first"):
        best(store, space_of(["t2"]))


def test_wrong_requests(grid: tuple[Store, pd.DataFrame]) -> None:
    store, _ = grid
    with pytest.raises(StoreError, match="did you mean val_loss"):
        best(store, "demo/grid", metric="val loss")
    with pytest.raises(StoreError, match="choose another --metric"):
        best(store, space_of(["t001"]), metric="unheard_of")
    with pytest.raises(StoreError, match="did you mean depth"):
        best(store, "demo/grid", by=["dept"])
    with pytest.raises(StoreError, match=r"has a result: 1 interrupted; `gradsweep show t000`"):
        best(store, space_of(["t000"]))
    with pytest.raises(StoreError, match="holds no space"):
        best(store, "demo/gird")
    with pytest.raises(StoreError, match=r"mode is min or max .* got least, median"):
        best(store, "demo/grid", mode="least")  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="got min, mean"):
        best(store, "demo/grid", average=cast("Any", "mean"))
    with pytest.raises(StoreError, match="no trial of this space has val_loss and unheard_of"):
        best(store, space_of(["t001"]), report="unheard_of")
    with pytest.raises(StoreError, match="has a result yet"):
        best(store, space_of(["never launched"]))


def test_a_metric_is_a_column_of_numbers_or_a_name_in_the_map() -> None:
    for name in ("loss", "val_accuracy", "epoch"):
        assert metric_sql(name) == name
    for name in ("trial_id", "attempt", "finite", "metrics.finite"):
        assert metric_sql(name) == f"metrics['{name.removeprefix('metrics.')}']"
    with pytest.raises(StoreError, match=r"no metric 'lo ss' \(did you mean loss\?\)"):
        metric_sql("lo ss")


DECLARED = {
    "val_hits": {"unit": "fraction", "mode": "max"},
    "val_rmse": {"unit": "m", "mode": "min"},
}


@pytest.mark.parametrize(
    ("metric", "mode", "chosen"),
    [
        ("val_hits", None, 0.1),  # declared: higher is better
        ("val_hits", "min", 0.2),
        ("val_rmse", None, 0.2),
        ("val_other", None, 0.2),  # nothing says it: lower is
        ("val_other_accuracy", None, 0.1),
        (None, None, 0.1),  # as the space's rule says of its own metric
        ("val_loss", None, 0.2),  # which says nothing of another
    ],
)
def test_a_metric_s_better_end_is_the_one_that_is_declared(
    store: Store, metric: str | None, mode: Any, chosen: float
) -> None:
    for lr, value in ((0.1, 2.0), (0.2, 1.0)):
        names = ("val_hits", "val_rmse", "val_other", "val_other_accuracy")
        extra = {0: {"val_loss": value, "metrics": [(name, value) for name in names]}}
        publish_trial(store, f"t{lr}", [1.0], config={"lr": lr}, extra=extra,
                      metric_columns=json.dumps(DECLARED))  # fmt: skip
    select = {"metric": "val_other", "mode": "max", "choose": "lr", "over": "seed"}
    if metric == "val_other":
        select = {"metric": "val_loss", "choose": "lr", "over": "seed"}
    space = space_of(["t0.1", "t0.2"], swept=["lr"], select=select)
    assert best(store, space, metric=metric, mode=mode).lr.tolist() == [chosen]


def test_a_misspelt_metric_is_told_the_nearest(store: Store) -> None:
    publish_trial(store, "t0", [1.0], metric_columns=json.dumps(DECLARED))
    with pytest.raises(StoreError, match=r"has val_rmes \(did you mean val_rmse\?\)"):
        best(store, space_of(["t0"], swept=[]), metric="val_rmes", report="val_rmes")


@pytest.mark.parametrize("value", [1e-6, 1e6, None])
@pytest.mark.parametrize("average", ["median", "published"])
def test_a_pruned_trial_is_neither_better_nor_worse(
    store: Store, value: float | None, average: Literal["median", "published"]
) -> None:
    """Whatever its last value: the whole ones are compared as if it were not there, and it is
    counted, in a cell that has nothing else too."""
    whole = {(0, 0.1, 0): 1.0, (0, 0.1, 1): 2.0, (0, 0.2, 0): 1.6}
    early = [(0, 0.1, 2), (0, 0.2, 1), (0, 0.3, 0), (1, 0.1, 0), (1, 0.2, 0)]
    ids = []
    for (depth, lr, seed), loss in [*whole.items(), *((cell, value) for cell in early)]:
        ids.append(f"{depth}-{lr}-{seed}")
        publish_trial(
            store, ids[-1], [1.0], config={"depth": depth, "lr": lr, "seed": seed},
            status="done" if (depth, lr, seed) in whole else "pruned",
            extra={0: {"val_loss": loss, "test_loss": loss}},
        )  # fmt: skip
    swept = ["depth", "lr", "seed"]
    alone = best(store, space_of(ids[:3], swept=swept), average=average)
    found = best(store, space_of(ids, swept=swept), average=average)
    assert "n_pruned" not in alone
    shown = [column for column in alone if column != "partial"]
    pd.testing.assert_frame_equal(found.loc[[0], shown], alone.loc[[0], shown])
    assert len(alone) == 1
    first, second = found.to_dict("records")
    assert (first["lr"], first["n_pruned"], first["cell_pruned"], first["partial"]) == (
        0.1, 1, 3, True,
    )  # fmt: skip
    assert (second["depth"], second["n"], second["n_missing"]) == (1, 0, 0)
    assert (second["n_pruned"], second["cell_pruned"], second["partial"]) == (0, 2, False)
    assert math.isnan(second["median"])
    assert found.attrs["says"].endswith(
        " 5 of 8 trials were pruned: known up to an epoch only, they are in no choice and in no "
        "mean."
    )
    with pytest.raises(StoreError, match="has a result: 2 pruned"):
        best(store, space_of(ids[-2:], swept=swept))
