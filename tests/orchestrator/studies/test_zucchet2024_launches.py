"""Learning results of zucchet2024 in a tenth of the steps, through `launch`, `best` and SQL alone.

Bounds are those of docs/specs/zucchet2024.md, checks 8 to 10 and 14.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from results import Store, best, open_store
from tests.support.launches import run, start, wait_for
from tests.support.stores import attempts, differing, seen, whole

pytestmark = pytest.mark.ray

SHORT = ("epochs=10", "seed=2023,2024,2025")
MEMORIES = "min_nu=0.36,0.84,0.99"
HARD = "t.min_nu = 0.99"
DENSE, LRU = "t.model = 'linear_rnn' AND t.heads = 1", "t.lru_param = 'exp'"


@pytest.fixture(scope="module")
def learned(ray_session: str, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """1,000 steps of each student, three seeds."""
    path = tmp_path_factory.mktemp("curse") / "store"
    launches: dict[str, tuple[str, ...]] = {
        "comparison_rnn": ("lr=1e-3,3.2e-4", MEMORIES),
        "comparison_lru": ("lr=0.032", MEMORIES),
        "ablation_p1": ("lr=0.0032", "lru_param=default", "lru_gamma=none"),
        "ablation_p2": ("lr=0.0032",),
        "heads": ("lr=0.001", "heads=8"),
    }
    for name, sets in launches.items():
        result = run(path, *SHORT, *sets, space=f"zucchet2024/{name}", tiny=())
        assert result.exit_status == 0, result.reasons
    return open_store(str(path))


def _median(store: Store, where: str, column: str = "loss_ratio") -> float:
    """Over seeds, of the last epoch; a value that is not finite is the worst."""
    found = store.sql(
        f"SELECT median(coalesce({column}, 'inf'::DOUBLE)) FROM all_epochs e "
        f"JOIN all_trials t USING (trial_id) WHERE e.epoch = 9 AND {where}"
    )
    return float(found.fetchall()[0][0])


@pytest.mark.study
def test_a_long_memory_is_hard_for_a_dense_recurrence_alone(learned: Store) -> None:
    ratios = {}
    for name, space in (
        ("rnn", "comparison_rnn"),
        ("lru", "comparison_lru"),
        ("complex", "ablation_p1"),
        ("blocks", "ablation_p2"),
    ):
        rows = best(learned, f"zucchet2024/{space}").to_dict("records")
        ratios[name] = min(row["median"] for row in rows if row.get("min_nu", 0.99) == 0.99)
    print(ratios)
    assert ratios["rnn"] >= 3e-2
    assert max(ratios["lru"], ratios["complex"], ratios["blocks"]) <= 1e-3
    assert ratios["rnn"] / ratios["lru"] >= 100


@pytest.mark.study
def test_it_gets_harder_with_memory(learned: Store) -> None:
    rnn, lru = (
        [
            _median(learned, f"{who} AND t.lr = {lr} AND t.min_nu = {nu}")
            for nu in (0.36, 0.84, 0.99)
        ]
        for who, lr in ((DENSE, 0.001), (LRU, 0.032))
    )
    print(f"dense {rnn}, LRU {lru}")
    assert rnn == sorted(rnn)
    assert lru == sorted(lru)
    assert rnn[2] >= 1e4 * rnn[0]
    assert lru[2] <= 1e3 * lru[0]
    assert rnn[0] <= lru[0]
    assert rnn[1] >= 10 * lru[1]
    assert rnn[2] >= 100 * lru[2]


_RATE = """
    SELECT median(rate) FROM (
        SELECT avg(r.lr_mean) AS rate FROM effective_lr r JOIN all_trials t USING (trial_id)
        WHERE r.tensor = 'a' AND r.epoch >= 5 AND {} AND {} GROUP BY trial_id
    )
"""


@pytest.mark.study
def test_more_heads_learn_better_with_larger_rates(learned: Store) -> None:
    cells = [
        f"t.heads = {heads} AND t.lr = {lr}" for heads, lr in ((1, 1e-3), (8, 1e-3), (32, 3.2e-3))
    ]
    losses = [_median(learned, f"{HARD} AND {cell}", "loss") for cell in cells]
    rates = [float(learned.sql(_RATE.format(HARD, cell)).fetchall()[0][0]) for cell in cells]
    print(f"losses {losses}, rates of A {rates}")
    assert losses == sorted(losses, reverse=True)
    assert rates == sorted(rates)
    assert losses[0] / losses[2] >= 300
    assert rates[2] / rates[0] >= 100


# ---- a published scan as a sweep (check 14) ------------------------------------------------------

SCAN = "zucchet2024/ablation_p2"
BRIEF = ("epochs=2", "steps_per_epoch=20")


@pytest.fixture(scope="module")
def scan(ray_session: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scan of forty trials, launched without interruption."""
    path = tmp_path_factory.mktemp("scan") / "store"
    result = run(path, *BRIEF, space=SCAN, tiny=())
    assert result.counts == {"done": 40}
    return path


@pytest.mark.slow
def test_a_scan_is_a_row_for_every_trial_and_epoch(scan: Path) -> None:
    found = open_store(str(scan)).sql(
        "SELECT count(*), count(DISTINCT (trial_id, epoch)), count(loss), count(loss_ratio), "
        "count(grad_norm), count(DISTINCT trial_id) FROM epochs"
    )
    assert found.fetchall() == [(80, 80, 80, 80, 80, 40)]


@pytest.mark.study
def test_a_killed_scan_is_finished_and_the_same(scan: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    driver = start(store, *BRIEF, address=None, space=SCAN, tiny=())
    wait_for(lambda: len(_done(store)) >= 5, of=driver)
    driver.killed()
    before = _done(store)
    assert 5 <= len(before) < 40
    result = run(store, *BRIEF, space=SCAN, tiny=())
    assert result.exit_status == 0
    assert len(_done(store)) == 40
    again = {row["trial_id"] for row in attempts(store) if row["attempt"]}
    assert not again & before
    whole(store)
    assert differing(scan, store) == {}


def _done(store: Path) -> set[str]:
    """Trials that are done, by what is published."""
    return {
        trial for trial, status in seen(store, "trials", "trial_id", "status") if status == "done"
    }


@pytest.mark.study
def test_a_trial_that_diverges_is_a_row(ray_session: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run(store, *BRIEF, "lr=1e12,0.001", "seed=2023", space=SCAN, tiny=())
    statuses = open_store(str(store)).sql("SELECT lr, status FROM all_trials ORDER BY lr")
    assert statuses.fetchall() == [(0.001, "done"), (1e12, "diverged")]


@pytest.mark.slow
def test_selection_is_that_of_a_script(scan: Path) -> None:
    """Best learning rate by mean loss, then mean and standard error over seeds, from the parts."""
    rows = pd.read_parquet(scan / "epochs")
    last = rows.sort_values("epoch").groupby("trial_id").tail(1).set_index("trial_id")
    trials = open_store(str(scan)).sql("SELECT trial_id, lr FROM trials").df().set_index("trial_id")
    cells: Any = last.join(trials).groupby("lr")
    chosen = cells["loss"].mean().idxmin()
    ratio = cells["loss_ratio"].get_group(chosen)
    (row,) = best(open_store(str(scan)), SCAN, average="published").to_dict("records")
    assert (row["lr"], row["n"]) == (chosen, 10)
    assert row["mean"] == pytest.approx(ratio.mean(), rel=1e-12)
    assert row["stderr"] == pytest.approx(ratio.std() / math.sqrt(10), rel=1e-12)
    assert row["median"] == pytest.approx(ratio.median(), rel=1e-12)
