"""Figures over the scans of study zucchet2024, from a made-up store, against numbers by hand."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from results import Store, StoreError
from results.plotting import figure as drawn
from tests.support.made_up_rows import attempt_row, epoch_row, space_of, table

SELECT = {"choose": "lr", "metric": "loss", "mode": "min", "report": "loss_ratio", "over": "seed"}
SEEDS = (2023, 2024, 2025)
Losses = dict[tuple[Any, ...], float]


class Scans:
    """A store with scans whose last losses are known."""

    def __init__(self, store: Store, seed: int):
        self.store, self.rng, self.count = store, np.random.default_rng(seed), 0

    def scan(
        self, name: str, key: str, values: tuple[Any, ...], base: Mapping[str, Any], level: float,
        bad: tuple[Any, ...] = (), gone: int = 0,
    ) -> Losses:  # fmt: skip
        """Three seeds at two learning rates, the second of which is ten times as good; the losses
        by (value, lr, seed), the last epoch's. `bad` is a cell whose trial diverged."""
        found: Losses = {}
        ids, rows = [], {"epochs": [], "trials": [], "probes/effective_lr": []}
        for value, lr, seed in itertools.product(values, (1e-2, 1e-3), SEEDS):
            trial = f"{self.count:05x}".ljust(16, "a")
            self.count += 1
            ids.append(trial)
            loss = level * (10 if lr == 1e-2 else 1) * 10 ** self.rng.normal(0, 0.1)
            dead = (value, lr, seed) == bad
            found[value, lr, seed] = loss
            for epoch in range(2):
                now = loss * (2 - epoch)
                rows["epochs"].append(epoch_row(trial, epoch, now, loss_ratio=now / 10))
                rows["probes/effective_lr"].append(
                    {"trial_id": trial, "attempt": 0, "epoch": epoch, "layer": 0,
                     "layer_name": "rnn.0", "tensor": "a", "lr": lr, "lr_mean": lr / 2,
                     "lr_min": lr / 4, "lr_max": lr, "lr_probe": lr / 3, "negative": 0.1}
                )  # fmt: skip
            config = {"stage": "train", **base, key: value, "lr": lr, "seed": seed}
            rows["trials"].append(
                attempt_row(trial, config=config, epochs_done=2, epochs_planned=2, rows={},
                            status="diverged" if dead else "done")
            )  # fmt: skip
        for part, own in rows.items():
            self.store.publish(part, table(own))
        missing = [f"bbbb{i:012x}" for i in range(gone)]
        space = space_of([*ids, *missing], space=name, study="zucchet2024", select=SELECT,
                         swept=sorted({key, "lr", "seed"}), targets=[*ids, *missing])  # fmt: skip
        self.store.write_space(f"zucchet2024/{name}", space)
        return found


@pytest.fixture(scope="module")
def scans(new_store: Callable[[], Store], request: pytest.FixtureRequest) -> Any:
    made = Scans(new_store(), int(request.config.option.seed))
    nus = (0.36, 0.99)
    losses = {
        "lru": made.scan("comparison_lru", "min_nu", nus, {"model": "lru"}, 1e-3,
                         bad=(0.99, 1e-3, 2024)),
        "rnn": made.scan("comparison_rnn", "min_nu", nus, {"model": "linear_rnn"}, 1.0, gone=2),
        "blocks": made.scan("ablation_p2", "heads", (32,), {"model": "linear_rnn"}, 1e-4),
        "heads": made.scan("heads", "heads", (1, 32), {"model": "linear_rnn"}, 1e-2),
    }  # fmt: skip
    return made.store, losses


def traces(fig: Any, name: str) -> list[Any]:
    return [t for t in fig.data if t.name == name]


def text_of(fig: Any) -> str:
    return str(fig.layout.title.subtitle.text).replace("<br>", " ")


def figure(store: Store, space: str, name: str) -> Any:
    return drawn(store, f"zucchet2024/{space}", name)


def test_the_curse_of_memory_shows_medians_and_means_at_the_best_rate(scans: Any) -> None:
    store, losses = scans
    for asked in ("comparison_lru", "comparison_rnn"):
        fig = figure(store, asked, "curse_of_memory")
        (line,) = traces(fig, "dense RNN")
        want = [
            statistics.median(losses["rnn"][nu, 1e-3, s] / 10 for s in SEEDS) for nu in (0.36, 0.99)
        ]
        assert list(line.y) == pytest.approx(want, rel=1e-9)
        assert list(line.x) == [0.36, 0.99]
        (means,) = traces(fig, "LRU, mean")
        kept = [losses["lru"][0.99, 1e-3, s] / 10 for s in (2023, 2025)]
        assert means.y[1] == pytest.approx(statistics.fmean(kept), rel=1e-9)
        error = statistics.stdev(kept) / 2**0.5
        assert means.error_y.array[1] == pytest.approx(error, rel=1e-9)
        assert list(means.customdata[1]) == ["0.001", 2, 1]
        text = text_of(fig)
        assert "comparison_lru: 1 chosen seeds diverged." in text


def test_a_diverged_seed_is_the_worst_of_the_median(scans: Any) -> None:
    store, losses = scans
    (line,) = traces(figure(store, "comparison_lru", "curse_of_memory"), "LRU")
    kept = [losses["lru"][0.99, 1e-3, s] / 10 for s in (2023, 2025)]
    assert line.y[1] == pytest.approx(max(kept), rel=1e-9)


def test_an_ablation_says_which_scans_are_missing(scans: Any) -> None:
    store, losses = scans
    fig = figure(store, "ablation_p2", "ablation")
    (points,) = traces(fig, "ν₀ .99")
    assert list(points.x) == ["dense RNN", "2×2 blocks"]
    want = statistics.median(losses["blocks"][32, 1e-3, s] / 10 for s in SEEDS)
    assert points.y[1] == pytest.approx(want, rel=1e-9)
    assert "ablation_p1 is missing" in text_of(fig)
    assert "ablation_p3 is missing" in text_of(fig)
    with pytest.raises(StoreError, match="shrink_p1 is missing: it was not launched"):
        figure(store, "ablation_p2", "concentration")


def test_heads_follow_loss_and_rate_of_the_chosen_trials(scans: Any) -> None:
    store, losses = scans
    fig = figure(store, "heads", "heads")
    lines = traces(fig, "32 heads, lr 0.001")
    assert len(lines) == 2
    middle = statistics.median(losses["heads"][32, 1e-3, s] / 10 for s in SEEDS)
    assert list(lines[0].y) == pytest.approx([2 * middle, middle], rel=1e-9)
    assert list(lines[1].y) == pytest.approx([5e-4, 5e-4])


def test_effective_rates_of_one_trial(scans: Any) -> None:
    store, _ = scans
    fig = figure(store, "heads", "effective_lr")
    (line,) = traces(fig, "a")
    assert list(line.y) == pytest.approx([5e-3, 5e-3])
    assert [t.name for t in fig.data if t.line.dash == "dot"] == [None]
