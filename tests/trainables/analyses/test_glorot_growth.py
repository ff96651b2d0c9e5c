"""Analyses of layers at initialisation, at sizes a test affords
(docs/specs/bar2025.md, checks 2, 14, 15 and 17)."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from trainables.analyses.glorot_growth import first_bad
from trainables.core.random_keys import named_key, trial_key
from trainables.declarations import ConfigError, Trial, builtin_registry
from trainables.declarations.layers.glorot_init import EDGE_OFFSET, edge_terms, rescaling
from trainables.layers.glorot_init import state_matrix
from trainables.packs.pack import EpochResult, Pack


def trial(stage: str, **config: Any) -> Trial:
    return builtin_registry().resolve({"stage": stage, **config})


def run(trials: list[Trial]) -> tuple[EpochResult, Pack]:
    pack = Pack(trials, {})
    pack.init()
    return pack.epoch(0), pack


def test_first_bad():
    for marks, step in (("111", -1), ("101", 1), ("000", 0), ("110", 2)):
        assert int(first_bad(jnp.array([m == "1" for m in marks]))) == step


def test_radii_are_those_of_the_same_matrices_under_every_init(seed):
    result, _ = run([trial("radii", matrix_width=192, draws=6, seed=seed)])
    columns = result.probes["radii"]
    kept = {i: columns["init"] == i for i in dict.fromkeys(columns["init"])}
    assert list(kept) == ["glorot", "halved_glorot", "rescaled", "calibrated"]
    radius = columns["radius"][0]
    plain = radius[kept["glorot"]]
    assert ((plain > 0.95) & (plain < 1.2)).all()
    np.testing.assert_allclose(radius[kept["rescaled"]] * rescaling(192), plain, rtol=1e-5)
    np.testing.assert_allclose(radius[kept["halved_glorot"]] * 2**0.5, plain, rtol=1e-5)
    assert columns["table_mean"][0] == 1.0418
    a, b = edge_terms(192)
    assert columns["edge_mean"][0] == pytest.approx(a + 0.5772 * b, abs=1e-4)
    outside = columns["outside"][0]
    np.testing.assert_array_equal(outside[kept["glorot"]] > 0, plain > 1)
    small, _ = run([trial("radii", matrix_width=16, draws=2)])
    assert "rescaled" not in small.probes["radii"]["init"]
    assert np.isnan(small.probes["radii"]["edge_mean"]).all()


@pytest.fixture(scope="module")
def long(seed: int) -> tuple[EpochResult, Pack]:
    """Thirteen lanes of one program: eight of a scaled-up matrix that must overflow, then others;
    the last is the tenth's with another seed."""
    config: dict[str, Any] = {"matrix_width": 168, "length": 1200, "sequences": 2}
    # The divisor of `rescaled` at a negative offset is small: eigenvalues beyond 1 by a lot.
    bad = [trial("divergence", init="rescaled", edge_offset=-1.0, seed=seed + i, **config)
           for i in range(8)]  # fmt: skip
    good = [trial("divergence", init=i, seed=seed, **config)
            for i in ("rescaled", "halved_glorot", "identity", "uniform")]  # fmt: skip
    other = trial("divergence", init="halved_glorot", seed=seed + 1, **config)
    return run([*bad, *good, other])


def test_inits_share_a_program_and_a_lane_that_overflows_is_a_result(long):
    result, pack = long
    assert (result.bad_step[:8] > 0).all()
    assert (result.bad_step[8:10] == -1).all()
    assert pack.active[:10].tolist() == [False] * 8 + [True] * 2
    rows = result.probes["divergence"]
    assert rows["state_norm"].shape == (13, 120)
    assert np.isfinite(rows["state_norm"][8:10]).all()
    assert np.isfinite(rows["grad_norm"][8:10]).all()


def test_states_overflow_where_the_stored_radius_says(long):
    row = {n: v[:, 0] for n, v in long[0].probes["overflow"].items()}
    want = np.log(float(np.finfo(np.float32).max)) / np.log(row["radius"][:8])
    np.testing.assert_allclose(row["expected_step"][:8], want, rtol=1e-4)
    np.testing.assert_allclose(row["overflow_step"][:8], want, rtol=0.15)
    np.testing.assert_allclose(row["square_step"][:8], want / 2, rtol=0.2)
    assert (row["overflow_step"][8:10] == -1).all()
    assert np.isnan(row["expected_step"][8])
    assert row["radius"][10] == 1.0


def test_the_gradient_norm_is_that_of_the_recurrence_run_backwards(seed):
    """|dL/dh_t| of a dense layer against the adjoint recurrence in float64, mean pooling."""
    one = trial("divergence", recurrence="dense", matrix_width=170, length=40, init="rescaled",
                sequences=3, seed=seed)  # fmt: skip
    result, _ = run([one])
    key = named_key(trial_key(seed), "init")
    a = np.asarray(state_matrix(key, 170, "rescaled", EDGE_OFFSET), np.float64)
    rows = result.probes["divergence"]
    norms = rows["grad_norm"][0]
    # g_t = A' g_{t+1} + g / T with one g for all t: the last is g / T itself.
    ratio = norms / norms[-1]
    assert ratio[0] > 1
    power = np.linalg.norm(sum(np.linalg.matrix_power(a.T, s) for s in range(40)), 2)
    assert ratio[0] <= power * 1.001
    own = {n: float(v[0, 0]) for n, v in result.probes["overflow"].items()}
    assert own["radius"] == pytest.approx(np.abs(np.linalg.eigvals(a)).max(), rel=1e-4)
    assert 0 < own["grad_a"] < 100
    with pytest.raises(ConfigError, match="recurrence=dense has none"):
        trial("divergence", recurrence="dense", init="uniform")


def test_delays_are_decoded_as_a_float64_reference_does(seed):
    """R^2 at delays within the memory, against normal equations of NumPy on the same law."""
    n, fit, held = 168, 2000, 1000
    config: dict[str, Any] = {"matrix_width": n, "fit_steps": fit, "held_steps": held,
                              "max_delay": 12}  # fmt: skip
    trials = [
        trial("delay_memory", init=i, seed=seed, **config) for i in ("rescaled", "halved_glorot")
    ]
    result, _ = run(trials)
    found = result.probes["delay_memory"]["r2"]
    rng = np.random.default_rng(seed)
    for lane, one in enumerate(trials):
        key = named_key(trial_key(seed), "init")
        a = np.asarray(state_matrix(key, n, str(one.config["init"]), EDGE_OFFSET), np.float64)
        u, h = rng.normal(size=500 + fit + held), np.zeros(n)
        b, states = rng.normal(size=n), []
        for value in u:
            h = a @ h + b * value
            states.append(h)
        x = np.array(states)[500:]
        x = x / np.sqrt((x**2).mean())
        x += 0.1 * rng.normal(size=x.shape)
        for delay in (0, 3, 6):
            y = u[500 - delay : len(u) - delay]
            readout = np.linalg.lstsq(x[:fit], y[:fit], rcond=None)[0]
            want = 1 - np.mean((y[fit:] - x[fit:] @ readout) ** 2) / y[fit:].var()
            assert found[lane, delay] == pytest.approx(want, abs=0.06)
    assert (np.diff(found[:, :8]) < 0.02).all()


@pytest.mark.slow
def test_memory_at_the_study_s_size(seed):
    """Check 15: R^2 at d = 20: rescaled >= .7 (256) and >= .9 (384), halved <= .1."""
    for width, least in ((256, 0.7), (384, 0.9)):
        result, _ = run([trial("delay_memory", matrix_width=width, init=i, seed=seed)
                         for i in ("rescaled", "halved_glorot")])  # fmt: skip
        r2 = result.probes["delay_memory"]["r2"][:, 20]
        print(width, r2)
        assert r2[0] >= least
        assert r2[1] <= 0.1


@pytest.mark.slow
def test_gradients_at_the_study_s_size(seed):
    """Check 17: median |dL/dA| over 8 seeds, glorot over rescaled > 1e5."""
    config: dict[str, Any] = {"recurrence": "dense", "matrix_width": 256, "length": 512}
    trials = [trial("divergence", init=i, seed=seed + s, **config)
              for i in ("glorot", "rescaled", "halved_glorot") for s in range(8)]  # fmt: skip
    result, _ = run(trials)
    norms = np.median(result.probes["overflow"]["grad_a"][:, 0].reshape(3, 8), 1)
    print(norms)
    assert norms[0] / norms[1] > 1e5
    assert norms[2] < norms[1] < 100


def test_the_same_seed_gives_the_same_bits(long):
    first, again = long[0], run(list(long[1].trials))[0]
    for name, column in first.probes["overflow"].items():
        assert column.tobytes() == again.probes["overflow"][name].tobytes()
    loss = first.probes["overflow"]["loss"][:, 0]
    assert np.isfinite(loss[[9, 12]]).all()
    assert loss[9] != loss[12]
