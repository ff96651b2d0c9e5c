"""The truth table of verdicts: every synthetic course gets the one expected (P0-8)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from results import Store, StoreError, open_store
from results.diagnosis import RULES, VERDICTS
from tests.results.synthetic import LN10, publish_trial

NAN = math.nan
LAYERS = 10


def profile(slope: float, top: float = 1.0) -> list[float]:
    """Layer norms that rise by `slope` decades per layer up to `top`."""
    return [top * 10 ** (slope * (layer - LAYERS + 1)) for layer in range(LAYERS)]


def flat(n: int) -> list[float]:
    return [LN10 * (1 + 0.001 * (n - i) / n) for i in range(n)]


def falling(n: int, to: float = 0.8) -> list[float]:
    return list(np.linspace(LN10, to, n))


@dataclass
class Case:
    verdict: str
    losses: Sequence[float]
    layers: Sequence[Sequence[float]] | None = None
    norms: Sequence[float] | None = None
    extra: dict[int, dict[str, Any]] = field(default_factory=dict)
    bad_epoch: int | None = None
    chance_loss: float | None = LN10


def bad(**columns: Any) -> dict[str, Any]:
    return {"bad_step": 2, "finite_steps": 2, "nonfinite_tensors": 3, **columns}


N = 10
CASES = {
    "healthy": Case("healthy", falling(N), [profile(0.02)] * N),
    "healthy without a chance loss": Case(
        "healthy", falling(N), [profile(0.02)] * N, chance_loss=None
    ),
    "decay with depth, loss stuck": Case("vanishing", flat(N), [profile(0.16)] * N, bad_epoch=0),
    "decay with depth from epoch 4 on": Case(
        "vanishing", flat(N), [profile(0.0)] * 4 + [profile(0.2)] * 6, bad_epoch=4
    ),
    "three epochs, as P0-6": Case("vanishing", [2.311, 2.309, 2.307], [profile(0.16)] * 3),
    "first to last ratio, no line": Case(
        "vanishing", flat(N), [[1e-3, *[1.0] * (LAYERS - 1)]] * N, bad_epoch=0
    ),
    "all layers below 1e-6": Case("vanishing", flat(N), [[1e-7] * LAYERS] * N, bad_epoch=0),
    "a layer at exactly 0": Case("vanishing", flat(N), [[0.0, *[1.0] * (LAYERS - 1)]] * N),
    "exponential decay over epochs": Case(
        "vanishing",
        flat(N),
        [profile(0.0, 10 ** (-0.3 * e)) for e in range(N)],
        [10 ** (-0.3 * e) for e in range(N)],
    ),
    "decay with depth, still learning": Case(
        "vanishing_mild", falling(N, 1.5), [profile(0.16)] * N, bad_epoch=0
    ),
    "decay with depth, no chance loss": Case(
        "vanishing_mild", flat(N), [profile(0.16)] * N, chance_loss=None
    ),
    "flat loss, even gradients": Case("plateau", flat(N), [profile(0.0)] * N, bad_epoch=5),
    "flat at last only": Case(
        "plateau", [3.0, 2.8, 2.6, 2.4, 2.3, 2.3, 2.3, 2.3, 2.3, 2.3], [profile(0.0)] * N
    ),
    "NaN at epoch 3": Case(
        "diverged", falling(4), [profile(0.0)] * 4, extra={3: bad()}, bad_epoch=3
    ),
    "nothing finite from the start": Case(
        "diverged",
        [NAN],
        extra={0: bad(finite_steps=0, grad_norm=NAN, grad_norm_max=NAN)},
        bad_epoch=0,
    ),
    "NaN after an explosion": Case(
        "exploding",
        [*falling(3), 40.0],
        [profile(0.0)] * 4,
        [1.0, 1.0, 1.0, 1e5],
        extra={3: bad()},
        bad_epoch=3,
    ),
    "greatest norm above 1e3": Case(
        "exploding", falling(N), norms=[1.0] * 4 + [2e3] + [1.0] * 5, bad_epoch=4
    ),
    "loss above ten times chance": Case("exploding", [6e3, 3e3, 330.0], bad_epoch=0),
    "a great loss without a chance loss": Case("healthy", [6e3, 3e3, 330.0], chance_loss=None),
    "gradients exactly 0": Case(
        "dead", flat(N), [[0.0] * LAYERS] * N, [1.0] * 3 + [0.0] * 7, bad_epoch=3
    ),
    "converged, gradients small everywhere": Case(
        "healthy",
        [LN10 * 10 ** (-0.4 * e) for e in range(N)],
        [profile(0.0, 10 ** (-1.0 * e)) for e in range(N)],
        [10 ** (-1.0 * e) for e in range(N)],
    ),
    "converged and flat, gradients tiny and uneven": Case(
        "healthy",
        [2.0, 1.0, 0.1, *[0.01] * 7],
        [profile(0.2, 1e-7)] * N,
        [1e-7] * N,
    ),
    "converged to exactly 0": Case(
        "healthy", [2.0, 1.0, *[0.0] * 8], [[0.0] * LAYERS] * N, [1.0, 0.5, *[0.0] * 8]
    ),
    "converged without a chance loss": Case(
        "healthy", [2.0, 1.0, 0.1, *[0.01] * 7], [[1e-9] * LAYERS] * N, chance_loss=None
    ),
    "one epoch": Case("undetermined", [LN10], [profile(0.0)]),
    "erratic": Case("undetermined", [2.3, 1.6, 2.2, 1.5, 2.1, 1.4], [profile(0.0)] * 6),
    "two layers and a readout say nothing of depth": Case("plateau", flat(N), [[0.1, 1.0]] * N),
}


def publish(store: Store, name: str, case: Case, **config: Any) -> None:
    publish_trial(
        store, name, case.losses, layers=case.layers, norms=case.norms, extra=case.extra,
        chance_loss=case.chance_loss, config=config,
    )  # fmt: skip


@pytest.fixture(scope="module")
def diagnosed(new_store: Callable[[], Store]) -> Store:
    store = new_store()
    for name, case in CASES.items():
        publish(store, name, case)
    return store


@pytest.mark.parametrize("name", CASES)
def test_truth_table(diagnosed: Store, name: str) -> None:
    case = CASES[name]
    row = diagnosed.sql("SELECT * FROM diagnosis WHERE trial_id = $t", {"t": name}).rows()[0]
    assert row["verdict"] == case.verdict, row["evidence"]
    if case.bad_epoch is not None:
        assert row["first_bad_epoch"] == case.bad_epoch
    if case.verdict in ("healthy", "undetermined"):
        assert row["first_bad_epoch"] is None


def test_every_verdict_has_a_case() -> None:
    assert {case.verdict for case in CASES.values()} == set(VERDICTS)


def test_evidence_is_json_and_holds_the_thresholds(diagnosed: Store) -> None:
    import json

    for (text,) in diagnosed.sql("SELECT evidence FROM diagnosis").fetchall():
        evidence = json.loads(text)
        assert evidence["rules"] == pytest.approx(RULES)


def test_the_plateau_rule_is_null_without_a_chance_loss(diagnosed: Store) -> None:
    got = diagnosed.sql(
        "SELECT plateau FROM diagnosis WHERE trial_id = 'decay with depth, no chance loss'"
    )
    assert got.fetchall() == [(None,)]


def test_configs_do_not_matter(new_store: Callable[[], Store], seed: int) -> None:
    """Any config, keys named as the diagnosis's own columns and rules included."""
    rng = np.random.default_rng(seed)
    names = ["loss", "plateau", "deep", "n", "chance_loss", "epochs", "smallest", "lr", "depth",
             *RULES]  # fmt: skip
    store = new_store()
    for name, case in CASES.items():
        publish(store, name, case, **{key: float(rng.normal()) for key in rng.permutation(names)})
    verdicts = dict(store.sql("SELECT trial_id, verdict FROM diagnosis").fetchall())
    assert verdicts == {name: case.verdict for name, case in CASES.items()}


def test_thresholds_can_be_changed(diagnosed: Store) -> None:
    strict = open_store(diagnosed.uri, rules={"depth_slope": 0.5, "depth_ratio": 0.0})
    query = "SELECT verdict FROM diagnosis WHERE trial_id = 'decay with depth, loss stuck'"
    assert strict.sql(query).fetchone() == ("plateau",)
    with pytest.raises(StoreError, match="did you mean depth_slope"):
        open_store(diagnosed.uri, rules={"depth_slop": 1.0})
    with pytest.raises(StoreError, match="finite number"):
        open_store(diagnosed.uri, rules={"depth_slope": NAN})


@pytest.mark.parametrize("epochs", [2, 3, 5, 6, 24, 25, 26, 50])
def test_plateau_window(store: Store, epochs: int) -> None:
    """The window is the last max(5, 20 %) epochs, or all there are: a fall before it is no matter,
    one within it is."""
    window = min(max(5, math.ceil(0.2 * epochs)), epochs)
    before, after = [4.0] * (epochs - window), [2.3] * window
    publish_trial(store, "flat", [*before, *after])
    publish_trial(store, "falls", [*before, *after[:-1], 2.2])
    got = dict(store.sql("SELECT trial_id, plateau FROM diagnosis").fetchall())
    assert got == {"flat": True, "falls": False}


def test_trials_without_layers_use_the_smallest_tensor(store: Store) -> None:
    extra = {e: {"grad_norm_smallest": 1e-8} for e in range(6)}
    publish_trial(store, "a", flat(6), extra=extra)
    assert store.sql("SELECT verdict FROM diagnosis").fetchall() == [("vanishing",)]


def test_a_trial_without_epochs_is_undetermined(store: Store) -> None:
    publish_trial(store, "a", [])
    assert store.sql("SELECT verdict, epochs FROM diagnosis").fetchall() == [("undetermined", 0)]


def test_verdicts_follow_what_is_published(store: Store) -> None:
    """They are computed once a connection: after `refresh` for what came since, and again where the
    parts they were to be read from have been merged meanwhile."""
    asked = "SELECT trial_id, verdict FROM diagnosis ORDER BY trial_id"
    for name in ("erratic", "one epoch"):
        publish(store, name, CASES[name])
    reader = open_store(store.uri)
    reader.sql("SELECT count(*) FROM layers")
    store.compact(grace_s=0)
    before = [(name, "undetermined") for name in ("erratic", "one epoch")]
    assert reader.sql(asked).fetchall() == before
    publish(store, "zeros", CASES["gradients exactly 0"])
    assert reader.sql(asked).fetchall() == before
    reader.refresh()
    assert reader.sql(asked).fetchall() == [*before, ("zeros", "dead")]
    assert reader.query_user(asked).fetchall() == [*before, ("zeros", "dead")]
