"""Inputs from files, their autocorrelation and its fit, and GRUs whose gates read them
(docs/specs/zucchet2024.md)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.trainables.analyses.test_linear_unit import rows
from trainables.analyses.deep_signals import GatedNetwork, leaky_theory
from trainables.analyses.input_signals import Inputs, autocorrelation, fit
from trainables.core.hparams import lane_values
from trainables.core.random_keys import named_key, trial_key
from trainables.declarations import PartError, builtin_registry
from trainables.layers.chrono_gru import ChronoGRU
from trainables.tasks.sequence_file import WORDS


def test_autocorrelation_is_the_mean_of_products(seed):
    x = np.random.default_rng(seed).normal(1, 1, size=(3, 20, 2))
    want = [np.mean(x[:, : 20 - d] * x[:, d:]) for d in range(8)]
    assert autocorrelation(x, 7) == pytest.approx(want, rel=1e-9)


def test_a_slow_component_is_found_in_white_noise(seed):
    d = np.arange(100)
    exact = 0.2 * 0.93**d + 0.7 * (d == 0)
    (slow, rho), (white, _) = fit(exact)
    assert (slow, rho, white) == pytest.approx((0.2, 0.93, 0.7), rel=0.01)
    rng = np.random.default_rng(seed)
    h = np.zeros((30, 2000, 4))
    for t in range(1, 2000):
        h[:, t] = 0.95 * h[:, t - 1] + np.sqrt(1 - 0.95**2) * rng.normal(size=(30, 4))
    x = np.sqrt(0.1) * h[:, 200:] + np.sqrt(0.4) * rng.normal(size=(30, 1800, 4))
    (slow, rho), (white, _) = fit(autocorrelation(x, 150))
    assert (slow, white) == pytest.approx((0.1, 0.4), rel=0.1)
    assert rho == pytest.approx(0.95, abs=0.01)


def test_a_file_drives_an_analysis_and_its_fit_the_theory(seed):
    x = np.random.default_rng(seed).normal(0, 0.5, size=(4, 60, 3)).astype(np.float32)
    inputs = Inputs({"sequences": x}, 50, 2, 64)
    assert inputs.features == 3
    assert np.array_equal(inputs(jax.random.key(0)), np.swapaxes(x[:2, :50], 0, 1))
    assert sum(r0 for r0, _ in inputs.components) == pytest.approx(np.mean(x**2), rel=0.05)
    with pytest.raises(PartError, match="lower signal_batch=8 and signal_steps=50"):
        Inputs({"sequences": x}, 50, 8, 64)
    assert Inputs(None, 50, 2, 64).components == WORDS


def test_words_have_the_published_autocorrelation():
    found = rows(stage="autocorrelation", signal_steps=1500)["autocorrelation"]
    assert found["measured"][0] == pytest.approx(0.375, rel=0.1)
    assert found["white"][0] == pytest.approx(0.332, rel=0.05)
    assert found["slow"][0] == pytest.approx(0.0431, rel=0.3)
    want = found["slow"] * found["rho"] ** found["lag"] + found["white"] * (found["lag"] == 0)
    assert found["fitted"] == pytest.approx(want)


def test_gates_that_read_nothing_are_the_theory_s():
    """At scales of 0, and memories that 512 steps settle: published values (section 5.9)."""
    for memory, energy, sensitivity in ((2.0, 0.1536, 0.02464), (16.0, 0.05186, 0.005872)):
        found = rows(stage="gated_network", gate_memory=memory, scale_x=0.0, scale_h=0.0,
                     signal_batch=16, signal_width=32)["gated_network"]  # fmt: skip
        assert found["energy"][0] == pytest.approx(energy, rel=1e-3)
        assert found["sensitivity"][0] == pytest.approx(sensitivity, rel=1e-3)
        assert found["measured_energy"][0] == pytest.approx(energy, rel=0.2)
        assert found["measured_sensitivity"][0] == pytest.approx(sensitivity, rel=0.35)
        lam = np.array([1 - 1 / memory])
        assert [v[0] for v in leaky_theory(lam, WORDS)] == pytest.approx([energy, sensitivity],
                                                                         rel=1e-3)  # fmt: skip


def test_sensitivities_count_every_path():
    """Against central differences of a loop in float64, by each unit's own bias."""
    config = {"stage": "gated_network", "gate_memory": 4.0, "scale_x": 1.0, "scale_h": 1.0,
              "signal_width": 3, "signal_steps": 12, "signal_batch": 2}  # fmt: skip
    trial = builtin_registry().resolve(config)
    values = {n: jnp.asarray(v) for n, v in lane_values(trial).items()}
    engine = GatedNetwork(trial, None, lane_values(trial))
    found = engine.epoch({}, values, jnp.int32(0), {})[1]["probes"]["gated_network"]
    key, gru = trial_key(values["seed"]), ChronoGRU(3, simple=True)
    w = gru.init(named_key(key, "init"), 3, (3.0, 3.0), 1.0, 1.0)
    w64 = {n: np.asarray(v, np.float64) for n, v in w.items()}
    x = np.asarray(engine.inputs(named_key(key, "inputs")), np.float64)

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    def last(bias):
        h = np.zeros((2, 3))
        for x_t in x:
            z = sigmoid(x_t @ w64["w_ih"][1].T + bias + h @ w64["w_hh"][1].T)
            h = (1 - z) * (x_t @ w64["w_ih"][2].T) + z * h
        return h

    start = w64["b_ih"][1]
    assert sigmoid(start) == pytest.approx(np.full(3, 0.75), rel=1e-5)
    slopes = []
    for unit in range(3):
        step = 1e-5 * np.eye(3)[unit]
        slopes.append((last(start + step) - last(start - step))[:, unit] / 2e-5)
    assert float(found["measured_energy"][0]) == pytest.approx(np.mean(last(start) ** 2), rel=1e-4)
    want = np.mean(np.square(slopes))
    assert float(found["measured_sensitivity"][0]) == pytest.approx(want, rel=1e-3)
