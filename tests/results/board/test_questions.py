"""The SQL of the board's pages, against numbers computed here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from results import Store
from results.board.questions import curves, gradients, sweeps, trial, trials
from tests.support.board_sweep import LOSSES, SPACE, fill, trial_id


@pytest.fixture(scope="module")
def store(new_store: Callable[[], Store]) -> Store:
    return fill(new_store())


def test_a_sweep_is_counted_with_its_speed_and_what_is_left(store: Store) -> None:
    (row,) = store.query_user(sweeps.sweeps()).rows()
    epochs = sum(map(len, LOSSES.values()))
    planned = np.mean([len(losses) for losses in LOSSES.values()])
    found = {name: row[name] for name in ("trials", "done", "diverged", "waiting", "epochs")}
    assert found == {"trials": 7, "done": 5, "diverged": 1, "waiting": 1, "epochs": epochs}
    assert row["epochs_left"] == pytest.approx(planned)
    assert row["percent"] == pytest.approx(100 * epochs / (epochs + planned))
    assert row["epochs_per_second"] == pytest.approx(epochs / 30)  # from first start to last end
    assert store.query_user(sweeps.failures()).rows() == []


@pytest.mark.parametrize("band", curves.BANDS)
def test_curves_are_medians_and_bands_over_what_is_finite(store: Store, band: str) -> None:
    rows = store.query_user(curves.curves(SPACE, "loss", "step", ["lr"], band)).rows()
    assert len(rows) == 12
    for row in rows:
        values = [
            losses[row["epoch"]]
            for (lr, _), losses in LOSSES.items()
            if lr == row["lr"] and row["epoch"] < len(losses)
        ]
        finite = [value for value in values if math.isfinite(value)]
        ends = {
            "quartiles": np.percentile(finite, [25, 75]),
            "range": (min(finite), max(finite)),
            "sd": np.mean(finite) + np.array([-1, 1]) * np.std(finite, ddof=1),
            "none": (None, None),
        }[band]
        assert row["x"] == 10 * (row["epoch"] + 1)
        assert row["median"] == pytest.approx(np.median(finite))
        assert (row["finite"], row["not_finite"]) == (len(finite), len(values) - len(finite))
        assert [row["low"], row["high"]] == ([None] * 2 if band == "none" else pytest.approx(ends))


def test_a_smoothed_curve_is_the_mean_of_the_epochs_before(store: Store) -> None:
    one = [trial_id(0.1, 1)]
    rows = store.query_user(curves.curves(SPACE, "loss", "epoch", [], "none", 3, one)).rows()
    losses = LOSSES[0.1, 1]
    wanted = [np.mean(losses[max(0, epoch - 2) : epoch + 1]) for epoch in range(6)]
    assert [row["median"] for row in rows] == pytest.approx(wanted)


def test_what_diverged_is_counted_where_it_ended(store: Store) -> None:
    rows = store.query_user(curves.ends(SPACE, ["lr"])).fetchall()
    assert sorted(rows, key=str) == [
        (0.1, None, None, 3), (0.5, "diverged", 1, 1), (0.5, None, None, 3),
    ]  # fmt: skip


def test_trials_have_the_last_values_and_groups_leave_out_what_is_not_finite(store: Store) -> None:
    keys = ["it's", "lr", "seed"]
    (different,) = store.query_user(trials.different_values(SPACE, keys)).rows()
    assert different == {"it's": 1, "lr": 2, "seed": 3}
    rows = store.query_user(trials.trials(SPACE, keys, ["loss"], True)).rows()
    by_id = {row["trial_id"]: row for row in rows}
    for key, losses in LOSSES.items():
        row = by_id[trial_id(*key)]
        assert (row["lr"], row["seed"]) == key
        assert (row["loss"], row["epochs_run"]) == (losses[-1], len(losses))
        assert row["verdict"]
    assert by_id["f" * 16]["status"] == "not started"
    groups = store.query_user(trials.groups(SPACE, ["lr"], ["loss"])).rows()
    last = {row["lr"]: row for row in groups}[0.5]
    ends = [losses[-1] for (lr, _), losses in LOSSES.items() if lr == 0.5][:2]
    assert (last["trials"], last["diverged"], last["loss_count"]) == (3, 1, 2)
    assert last["loss_median"] == pytest.approx(np.median(ends))
    assert (last["loss_min"], last["loss_max"]) == (min(ends), max(ends))
    two = store.query_user(trials.configs([trial_id(0.1, 0), trial_id(0.1, 1)], keys)).rows()
    assert [row["seed"] for row in two] == [0, 1]


def test_gradients_are_whole_layers_by_epoch(store: Store) -> None:
    one = trial_id(0.1, 0)
    rows = store.query_user(gradients.heat_map(one)).rows()
    assert len(rows) == 4 * 6  # three layers and the readout
    assert all(row["grad_norm"] == pytest.approx(10.0 ** -row["layer"]) for row in rows[: 3 * 6])
    profile = store.query_user(gradients.profile(one, 5)).rows()
    assert [row["layer_name"] for row in profile] == ["rnn.0", "rnn.1", "rnn.2", "fc"]
    assert store.query_user(gradients.last_epoch(one)).rows() == [{"last": 5}]
    cells = store.query_user(gradients.verdict_map(SPACE, ["lr"])).rows()
    judged = dict(store.sql("SELECT trial_id, verdict FROM diagnosis").fetchall())
    wanted = Counter((lr, judged[trial_id(lr, seed)]) for lr, seed in LOSSES)
    assert {(row["lr"], row["verdict"]): row["trials"] for row in cells} == wanted
    assert wanted[0.5, "exploding"] == 1


def test_one_trial_has_its_config_attempts_and_epochs(store: Store) -> None:
    one = trial_id(0.5, 2)
    (summary,) = store.query_user(trial.summary(one)).rows()
    assert (summary["status"], summary["bad_epoch"]) == ("diverged", 1)
    (config,) = store.query_user(trial.config(one, ["it's", "lr"])).rows()
    assert (config["it's"], config["lr"]) == ("x", 0.5)
    assert len(store.query_user(trial.attempts(one))) == 1
    epochs = store.query_user(trial.epochs(one, ["loss"])).rows()
    assert [row["loss"] for row in epochs] == LOSSES[0.5, 2]
    assert store.query_user(trial.verdict(one)).rows()[0]["trial_id"] == one
