"""Interactions of radii along a path, and how fast a radius forgets
(docs/specs/herranz2023.md, check 15)."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from trainables.analyses.radius_covariance import (
    Covariance,
    forgetting,
    input_radii,
    interactions,
    pixels,
)
from trainables.core.hparams import lane_values
from trainables.declarations import ConfigError, Trial, builtin_registry
from trainables.layers.alif import ALIF
from trainables.layers.gated import GRU, LSTM, Cell
from trainables.packs.pack import Pack
from trainables.tasks.base import make_data, make_task


def _slow_interactions(y: np.ndarray, most: int) -> list[float]:
    """Every choice of times, one by one; y (B, T)."""
    found = []
    for order in range(2, most + 1):
        choices = itertools.combinations(range(y.shape[1]), order)
        found.append(abs(sum(np.mean(np.prod(y[:, list(c)], axis=1)) for c in choices)))
    return found


def test_interactions_are_sums_over_all_choices(seed):
    """Check 15: T = 12, orders 2 to 4, 1e-10 (in float64; float32 as far as that goes)."""
    y = np.random.default_rng(seed).normal(size=(6, 12))
    want = _slow_interactions(y, 4)
    run = jax.jit(lambda y: interactions(y, 4))
    with jax.enable_x64():
        found = np.asarray(run(y))
    assert found.dtype == np.float64
    assert np.abs(found - want).max() < 1e-10
    small = run(y.astype(np.float32))
    assert np.asarray(small) == pytest.approx(want, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    "cell",
    [LSTM(4, activation="relu"), GRU(4, activation="relu"), ALIF(4, 3.0)],
    ids=lambda cell: type(cell).__name__,
)
def test_input_radii_are_those_of_the_whole_derivative(cell: Cell, seed):
    """Against the derivative of all outputs by all inputs, as the published program takes it."""
    params = jax.jit(lambda key: cell.init(key, 4))(jax.random.key(seed))
    x = np.exp(np.random.default_rng(seed).normal(size=(7, 3, 4)))
    x = (x / x.sum(-1, keepdims=True)).astype(np.float32)

    def outputs(x):
        def step(state, now):
            state = cell.advance(params, state, cell.drive(params, now[None]))
            return state, cell.output(params, state)[0]

        return jax.lax.scan(step, jnp.zeros((1, cell.state_size)), x)[1]

    whole = jax.jit(jax.vmap(jax.jacrev(outputs), 1))(x)
    whole = np.asarray(whole, np.float64)  # (B, T, H, T, F)
    want = [[np.abs(np.linalg.eigvals(w[t + 1, :, t])).max() for w in whole] for t in range(6)]
    found = np.asarray(jax.jit(lambda x: input_radii(cell, params, x))(x))
    # Square roots of rounding, where a matrix is almost nilpotent.
    assert found == pytest.approx(np.array(want), rel=1e-3, abs=1e-4)


def test_pixels_of_any_layout(seed):
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 1, (5, 10, 10)).astype(np.float32)
    images[0, 0, :2] = 0, 1
    want = images.reshape(5, 100).T
    resized = jax.jit(pixels, static_argnums=1)
    for x in (images.reshape(5, 100, 1), images.reshape(5, 1, 100), images, 3 * images - 1):
        assert np.asarray(resized(x, 10)) == pytest.approx(want, abs=1e-6)
    colours = np.stack([images, images, images], 1).reshape(5, 300, 1)
    assert np.asarray(resized(colours, 10)) == pytest.approx(want, abs=1e-6)
    # Two pixels become one: linear interpolation meets halfway between them.
    halves = images.reshape(5, 5, 2, 5, 2).mean((2, 4)).reshape(5, 25).T
    assert np.asarray(resized(images, 5)) == pytest.approx(halves, abs=1e-6)
    with pytest.raises(ValueError, match="no square image"):
        pixels(jnp.ones((2, 7, 1)), 5)


def _covariance(net: str, seed: int) -> Trial:
    config = {"stage": "covariance", "task": "digits", "cov_net": net, "cov_side": 6}
    return builtin_registry().resolve({**config, "cov_units": 8, "seed": seed})


def test_the_stage_finds_interactions(seed, digits):
    pack = Pack([_covariance("gru", seed + s) for s in range(2)], digits)
    pack.init()
    rows = pack.epoch(0).probes["covariance"]
    assert rows["order"].tolist() == [2, 3, 4]
    assert np.isfinite(rows["interaction"]).all()
    assert (rows["interaction"] >= 0).all()
    assert not np.array_equal(rows["interaction"][0], rows["interaction"][1])


@pytest.mark.parametrize(
    ("net", "cell"),
    [
        ("lstm", LSTM(8, activation="relu")),
        ("gru", GRU(8, activation="relu")),
        ("alif", ALIF(8, adaptation=18.0)),
    ],
)
def test_the_stage_knows_each_net(net, cell, digits):
    """Traced, not run: radii of every cell are compared with autodiff above."""
    one = _covariance(net, 0)
    task: Any = make_task(one)
    engine = Covariance(one, task, lane_values(one))
    assert engine.cell == cell
    data, values = make_data(one, digits), lane_values(one)
    radii = jax.eval_shape(engine.radii, values, data)
    assert radii.shape == (35, engine.samples)


def test_what_has_no_images_is_refused():
    registry = builtin_registry()

    def resolve(**config: Any):
        return registry.resolve({"stage": "covariance", **config})

    with pytest.raises(ConfigError, match="reads images; task gaussian has none"):
        resolve(task="gaussian")
    with pytest.raises(ConfigError, match="not rows"):
        resolve(task="cifar10", layout="rows")
    with pytest.raises(ConfigError, match="cov_batch must be at most"):
        resolve(task="mnist", batch_size=8)


def test_forgetting_is_pearsons(seed):
    """Covariance, r and p against NumPy and SciPy, for radii that share a part with the first."""
    rng = np.random.default_rng(seed)
    radii = rng.normal(size=(5, 2, 40))
    radii[1:] += 0.7 * radii[0]
    found = jax.jit(forgetting)(radii.astype(np.float32))
    found = {name: np.asarray(value) for name, value in found.items()}
    for t, layer in itertools.product(range(5), range(2)):
        one, first = radii[t, layer], radii[0, layer]
        r, p = stats.pearsonr(one, first)
        assert float(found["correlation"][t, layer]) == pytest.approx(r, abs=1e-5)
        assert float(found["p_value"][t, layer]) == pytest.approx(p, rel=1e-2, abs=1e-6)
        covariance = np.cov(one, first)[0, 1]
        assert float(found["covariance"][t, layer]) == pytest.approx(covariance, abs=1e-5)


def test_correlation_decays_as_that_of_the_radii(seed):
    """Check 15: rho^k for AR(1) radii within 3 standard errors, and nothing for white noise."""
    forgotten = jax.jit(lambda radii: forgetting(radii)["correlation"][:, 0])
    rng, samples, rho = np.random.default_rng([seed, 11]), 4000, 0.8
    noise = rng.normal(size=(12, 1, samples))
    radii = [noise[0]]
    for z in noise[1:]:
        radii.append(rho * radii[-1] + np.sqrt(1 - rho**2) * z)
    found = np.asarray(forgotten(np.array(radii, np.float32)))
    want = rho ** np.arange(12)
    errors = np.abs(found - want)[1:] / (1 - want[1:] ** 2) * np.sqrt(samples)
    # Of eleven, one may lie beyond 3 by chance.
    assert (errors > 3).sum() <= 1
    assert errors.max() < 5
    assert found[0] == pytest.approx(1, abs=1e-5)
    white = np.asarray(forgotten(noise[:, :, :400].astype(np.float32)))
    assert white[0] == pytest.approx(1, abs=1e-6)
    assert (np.abs(white[1:]) < 0.2).all()


def test_the_stage_measures_a_net(seed):
    config = {"stage": "decay", "model": "lstm", "widths": "6", "depth": 2, "seq_len": 9,
              "batch_size": 12, "decay_batch": 8, "decay_burn_in": 2, "seed": seed}  # fmt: skip
    base = {"task": "gaussian", "features": 3, "classes": 4, "steps_per_epoch": 1}
    pack = Pack([builtin_registry().resolve({**base, **config})], {})
    pack.init()
    rows = pack.epoch(0).probes["decay"]
    assert rows["layer"].tolist() == [0, 1] * 7
    assert rows["t"].tolist() == np.repeat(np.arange(2, 9), 2).tolist()
    assert rows["correlation"][0][:2] == pytest.approx([1, 1], abs=1e-5)
    assert (np.abs(rows["correlation"][0]) <= 1).all()
    keys = {"lsc_batch": 4, "lsc_steps": 2, "lsc_epochs": 1}
    child = builtin_registry().resolve({**base, **config, **keys, "pretrain": "lsc"})
    assert child.parent is not None
    assert child.parent.stage.name == "lsc"
    again = Pack([child], {})
    for factor in (1, 2):
        again.init({0: {name: factor * w for name, w in pack.weights(0).items()}})
        repeated = again.epoch(0).probes["decay"]["correlation"]
        assert np.array_equal(rows["correlation"], repeated) == (factor == 1)
    with pytest.raises(ConfigError, match="reads a recurrent net"):
        builtin_registry().resolve({**base, "stage": "decay", "model": "ffn"})
