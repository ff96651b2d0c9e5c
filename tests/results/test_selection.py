"""`best` against an independent computation in pandas."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from results import Store, StoreError
from results.selection import best
from tests.results.synthetic import publish_trial, space_of

DEPTHS, LRS, SEEDS = (3, 20), (0.001, 0.01, 0.1), (0, 1, 2, 3)


def grid(store: Store, seed: int) -> pd.DataFrame:
    """A grid of trials with random final losses, two of them diverged and one without a result."""
    rng = np.random.default_rng(seed)
    rows = []
    for i, (depth, lr, s) in enumerate(itertools.product(DEPTHS, LRS, SEEDS)):
        val, test = rng.uniform(0.5, 2.5, 2)
        diverged = (depth, lr, s) in {(3, 0.01, 1), (20, 0.1, 2), (20, 0.1, 3), (20, 0.1, 0)}
        missing = (depth, lr, s) == (3, 0.001, 0)
        publish_trial(
            store, f"t{i:03d}", [2.5, 2.0],
            config={"depth": depth, "lr": lr, "seed": s},
            extra={1: {"val_loss": val, "test_loss": test, "test_accuracy": 1 - test / 3,
                       "metrics": [("score", val * 2)]}},
            status="diverged" if diverged else "interrupted" if missing else "done",
            bad_epoch=1 if diverged else None,
        )  # fmt: skip
        if not missing:
            rows.append({"depth": depth, "lr": lr, "seed": s, "val": val, "test": test,
                         "diverged": diverged})  # fmt: skip
    ids = [f"t{i:03d}" for i in range(len(DEPTHS) * len(LRS) * len(SEEDS))]
    store.write_space("demo/grid", space_of([*ids, "later"], swept=["depth", "lr", "seed"]))
    return pd.DataFrame(rows)


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
            "median": np.median(chosen.test.where(~chosen.diverged, np.inf)),
            "mean": kept.mean(),
            "stderr": kept.std(ddof=1) / math.sqrt(len(kept)),
            "n": len(kept),
            "n_diverged": int(chosen.diverged.sum()),
        }
    return out


@pytest.mark.parametrize("rule", ["median", "published"])
@pytest.mark.parametrize("offset", range(3))
def test_best_is_what_pandas_says(store: Store, seed: int, offset: int, rule: str) -> None:
    frame = grid(store, seed + offset)
    got = best(store, "demo/grid", rule="median" if rule == "median" else "published")
    for depth, numbers in expected(frame, rule).items():
        row = got[got.depth == depth].iloc[0]
        for name, value in numbers.items():
            assert row[name] == pytest.approx(value, rel=1e-12, nan_ok=True), (depth, name)
        assert row.partial == (row.n_diverged > 0)
    assert list(got.n_missing) == [1, 0]


def test_other_metrics_and_ends(store: Store, seed: int) -> None:
    grid(store, seed)
    loss = best(store, "demo/grid", metric="test_loss", report="test_loss")
    accuracy = best(store, "demo/grid", metric="test_accuracy", mode="max", report="test_loss")
    pd.testing.assert_frame_equal(loss, accuracy)
    scored = best(store, "demo/grid", metric="score", report="metrics.score")
    plain = best(store, "demo/grid", report="val_loss")
    assert list(scored["mean"]) == pytest.approx(list(2 * plain["mean"]), rel=1e-12)
    by = best(store, "demo/grid", by=["seed"], over=[], choose="lr")
    assert list(by.seed) == list(SEEDS)


def test_a_diverged_seed_is_worst_at_either_end(store: Store) -> None:
    for seed, status in enumerate(["done", "diverged", "diverged"]):
        publish_trial(store, f"t{seed}", [1.0], config={"seed": seed}, status=status,
                      extra={0: {"val_loss": 1.0, "test_accuracy": 0.5}})  # fmt: skip
    space = space_of(["t0", "t1", "t2"], swept=["lr", "seed"])
    low = best(store, space, report="val_loss").iloc[0]
    high = best(store, space, report="test_accuracy").iloc[0]
    assert (low["median"], high["median"]) == (math.inf, -math.inf)
    assert (low["mean"], high["mean"], low.n, low.n_diverged) == (1.0, 0.5, 1, 2)


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
    with pytest.raises(StoreError, match="at is last or best; got first"):
        best(store, {**space, "select": {**select, "at": "first"}})


def test_parents_are_left_out(store: Store) -> None:
    for trial, lr in (("child", 0.1), ("parent", 0.2)):
        publish_trial(store, trial, [1.0], config={"lr": lr},
                      extra={0: {"val_loss": lr, "test_loss": lr}})  # fmt: skip
    got = best(store, space_of(["child", "parent"], parents={"child": "parent"}))
    assert got.n.sum() == 1


def test_wrong_requests(store: Store, seed: int) -> None:
    grid(store, seed)
    with pytest.raises(StoreError, match="did you mean val_loss"):
        best(store, "demo/grid", metric="val loss")
    with pytest.raises(StoreError, match="choose another --metric"):
        best(store, space_of(["t001"]), metric="unheard_of")
    with pytest.raises(StoreError, match="did you mean depth"):
        best(store, "demo/grid", by=["dept"])
    with pytest.raises(StoreError, match="has a result yet"):
        best(store, space_of(["t000"]))
    with pytest.raises(StoreError, match="holds no space"):
        best(store, "demo/gird")
