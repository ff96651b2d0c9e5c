"""Every linear recurrence in every form: scan, associative scan, naive loop, kernel convolution
(docs/specs/zucchet2024.md, checks 2 and 3)."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.support.small_trials import check_rows
from trainables.core.hparams import build_config, lane_values
from trainables.declarations import ConfigError, builtin_registry
from trainables.layers.eigenvalue_init import diagonal_tensors, pulled_matrix, signed_ring
from trainables.layers.impulse_response import causal, orbit, output_energy, toeplitz
from trainables.layers.s4 import S4Cell, inverse_softplus
from trainables.models.linear_rnn import LinearNet
from trainables.packs.pack import Pack

T, B = 9, 3
FAMILY: dict[str, tuple[dict[str, Any], int]] = {  # name -> (config, parameters)
    "lru": ({"model": "lru"}, 449),
    "lru L1": ({"model": "lru", "lru_gamma": "L1"}, 385),
    "lru L2": ({"model": "lru", "lru_param": "polar", "lru_gamma": "L2"}, 385),
    "polar": ({"model": "lru", "lru_param": "polar"}, 449),
    "scaled_exp": ({"model": "lru", "lru_param": "scaled_exp"}, 449),
    "complex": ({"model": "lru", "lru_param": "default", "lru_gamma": "none"}, 385),
    "complex gamma": ({"model": "lru", "lru_param": "default"}, 449),
    "dense": ({"model": "linear_rnn"}, 4225),
    "2 heads": ({"model": "linear_rnn", "heads": 2}, 2177),
    "16 heads": ({"model": "linear_rnn", "heads": 16}, 385),
    "2x2 blocks": ({"model": "linear_rnn", "heads": 32}, 257),
    "more neurons": ({"model": "linear_rnn", "width": 128, "heads": 64}, 513),
    "rotations": ({"model": "linear_rnn", "heads": 32, "block_form": "rotation"}, 193),
    "s4": ({"model": "s4"}, 386),
    "s4 per state": ({"model": "s4", "delta": "state"}, 449),
    "s4 delta 1": ({"model": "s4", "delta": "state", "s4_init": "delta_1"}, 449),
}
TASK = {"task": "teacher_student", "min_nu": 0.9, "seq_len": T, "batch_size": B}


@cache
def _builder(name: str) -> Any:
    """One program for all seeds: key -> module."""
    trial = builtin_registry().resolve({**TASK, **FAMILY[name][0]})
    values = {k: jnp.asarray(v) for k, v in lane_values(trial).items()}
    build = trial.model.builder()
    return nnx.jit(lambda key: build(build_config(trial, values), trial.sizes, nnx.Rngs(key)))


@cache
def built(name: str, seed: int) -> LinearNet:
    """The module of one trial, its weights those of the seed."""
    return _builder(name)(jax.random.key(seed))


def _naive(net: LinearNet, w: dict[str, jax.Array], x_BT: jax.Array) -> jax.Array:
    """The recurrence one step at a time, in Python."""
    state, found = jnp.zeros((len(x_BT), net.cell.state_size)), []
    for t in range(x_BT.shape[1]):
        u = x_BT[:, t, None]
        state = net.cell.advance(w, state, net.cell.drive(w, u))
        found.append(net.cell.output(w, state, u)[:, 0])
    return jnp.stack(found, 1)


def _sequence(net: LinearNet, w: dict[str, jax.Array], x_BT: jax.Array, mode: str) -> jax.Array:
    u = x_BT.T[..., None]
    states = net.cell.states(w, net.cell.drive(w, u), mode)
    return net.cell.output(w, states, u)[..., 0].T


def _kernel(net: LinearNet, w: dict[str, jax.Array], x_BT: jax.Array) -> jax.Array:
    return causal(x_BT, net.cell.impulse(w, x_BT.shape[1])[:, 0, 0])


def _seen(run: Any, w: Any, target: jax.Array) -> tuple[Any, Any]:
    """Outputs, and the gradient of their mean squared distance to a target."""

    def loss(w: Any) -> Any:
        y = run(w)
        return jnp.mean((y - target) ** 2), y

    (_, y), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(w)
    return np.asarray(y), {k: np.asarray(v) for k, v in slope.items()}


SAME_CODE = {"complex gamma", "16 heads", "more neurons", "s4 delta 1"}
"""Others of the family in other sizes or with other first weights."""


@pytest.mark.parametrize("name", [name for name in FAMILY if name not in SAME_CODE])
@pytest.mark.slow
def test_all_forms_agree_in_outputs_and_gradients(name, seed):
    """Outputs to 1e-5 and gradients to 1e-4 of their norm, float32."""
    net = built(name, seed)
    w, rng = net.layer.values(), np.random.default_rng([seed, 1])
    x, target = (jnp.asarray(rng.normal(size=(B, T)), jnp.float32) for _ in range(2))
    want, slope = _seen(lambda w: _sequence(net, w, x, "scan"), w, target)
    for form, run in {
        "associative": lambda w: _sequence(net, w, x, "associative"),
        "kernel": lambda w: _kernel(net, w, x),
        "naive": lambda w: _naive(net, w, x),
    }.items():
        y, own = _seen(run, w, target)
        assert np.abs(y - want).max() < 1e-5 * np.abs(want).max(), form
        for tensor, value in slope.items():
            apart = np.linalg.norm(own[tensor] - value)
            assert apart < 1e-4 * np.linalg.norm(value) + 1e-6, (form, tensor)


@pytest.mark.parametrize("name", FAMILY)
def test_declared_rows_are_the_real_ones(name):
    one = builtin_registry().resolve({**TASK, **FAMILY[name][0]})
    assert check_rows(one) == FAMILY[name][1]


@pytest.mark.parametrize("name", ["lru", "complex", "polar", "scaled_exp", "rotations", "s4"])
def test_eigenvalues_start_in_the_ring(name, seed):
    moduli = np.asarray(built(name, seed).moduli())
    assert (moduli <= 1).all()
    assert (moduli >= 0.9 - 1e-6).all()
    assert (np.diff(moduli) <= 0).all()


_signed_ring = jax.jit(signed_ring, static_argnums=1)


@pytest.mark.parametrize("r_min", [0.0, 0.5, 0.99])
def test_law_of_the_ring(r_min, seed):
    """Check 2: mean |lambda| = (2/3)(1 - r^3)/(1 - r^2)."""
    modulus, phase = _signed_ring(jax.random.key(seed), 1_000_000, r_min, 1.0, 0.3)
    want = 2 / 3 * (1 - r_min**3) / (1 - r_min**2)
    assert np.asarray(modulus, np.float64).mean() == pytest.approx(want, abs=1e-3)
    assert float(modulus.min()) >= r_min - 1e-6
    assert float(modulus.max()) < 1
    folded = (np.asarray(phase) + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(folded).max() <= 0.3 + 1e-6
    assert folded.mean() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("spectrum", ["exp", "cartesian", "polar", "scaled_exp"])
def test_learned_gammas_start_at_unit_variance_and_compat_as_published(spectrum, seed):
    gamma = "log" if spectrum == "exp" else "raw"
    key, bounds = jax.random.key(seed), (0.5, 1.0, 3.0)
    ours, theirs = (
        diagonal_tensors(key, (200, 1, 1), spectrum, gamma, bounds, compat)
        for compat in (False, True)
    )
    drawn = diagonal_tensors(key, (200, 1, 1), "polar", "raw", bounds)
    modulus, phase = (np.asarray(drawn[n], np.float64) for n in ("modulus", "phase"))
    want = np.sqrt(1 - modulus**2)
    found = np.exp(ours["gamma"]) if spectrum == "exp" else ours["gamma"]
    assert np.asarray(found) == pytest.approx(want, rel=1e-3)
    published = {
        "cartesian": np.sqrt(1 - (modulus * np.cos(phase)) ** 2),
        "scaled_exp": np.log(want),
        "exp": np.log(want),
    }.get(spectrum, want)
    assert np.asarray(theirs["gamma"]) == pytest.approx(published, rel=1e-3, abs=1e-4)


def test_dense_matrices_start_at_a_radius_of_some_three_quarters(seed):
    radii = [np.asarray(built("dense", s).moduli()[0]) for s in range(2 * seed, 2 * seed + 2)]
    assert (np.asarray(radii) > 0.7).all()
    assert (np.asarray(radii) < 0.85).all()


def test_pulled_eigenvalues(seed):
    """Against NumPy; conjugate pairs keep their modulus, real ones are projected."""
    g = np.random.default_rng(seed).normal(size=(6, 6)) / np.sqrt(6)
    pulled = jax.jit(lambda g: pulled_matrix(g, 0.9, 1.0, 1.0))
    found = np.asarray(pulled(g.astype(np.float32)), np.float64)
    lam, v = np.linalg.eig(g)
    moved = (0.9 + 0.1 * np.tanh(np.abs(lam))) * np.exp(1j * np.angle(lam) / np.pi)
    assert found == pytest.approx((v @ np.diag(moved) @ np.linalg.inv(v)).real, abs=1e-3)


def test_orbit_is_powers(seed):
    rng = np.random.default_rng([seed, 2])
    a = rng.normal(size=(4, 4)) / 3

    def powers(a: jax.Array, length: int) -> jax.Array:
        return orbit(jnp.ones((1, 4)), a, lambda m, p: m @ p, lambda p, q: p @ q, length)

    for length in (1, 2, 3, 7, 8, 9):
        found = jax.jit(powers, static_argnums=1)(a.astype(np.float32), length)
        want = [np.ones(4) @ np.linalg.matrix_power(a, t) for t in range(length)]
        assert np.asarray(found)[:, 0] == pytest.approx(np.array(want), rel=1e-4, abs=1e-5)


def test_toeplitz_and_energy(seed):
    rng = np.random.default_rng([seed, 3])
    k = rng.normal(size=7)
    want = [[k[t - s] if t >= s else 0 for t in range(7)] for s in range(7)]
    x = rng.normal(size=(3, 7))

    @jax.jit
    def run(x: jax.Array, k: jax.Array) -> Any:
        return toeplitz(k), causal(x, k), output_energy(k)

    square, convolved, energy = run(x, k)
    assert np.asarray(square) == pytest.approx(np.array(want), rel=1e-6)
    y = [np.convolve(row, k)[:7] for row in x]
    assert np.asarray(convolved) == pytest.approx(np.array(y), rel=1e-4, abs=1e-5)
    own = 0.5 * np.mean([np.sum(k[: t + 1] ** 2) for t in range(7)])
    assert float(energy) == pytest.approx(own, rel=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_s4_with_more_channels(shared, seed):
    """Each channel is a model of its own."""
    cell = S4Cell(5, 3, shared)
    w = cell.init(jax.random.key(seed), "default", (0.8, 1.0))
    u = np.random.default_rng(seed).normal(size=(20, 2, 3)).astype(np.float32)

    @jax.jit
    def run(w: Any, u: jax.Array) -> Any:
        y = cell.output(w, cell.states(w, cell.drive(w, u), "scan"), u)
        return y, cell.impulse(w, 20)

    y, k = map(np.asarray, run(w, u))
    want = np.zeros((20, 2, 3))
    for s in range(20):
        want[s:] += np.einsum("toi,bi->tbo", k[: 20 - s], u[s])
    assert y == pytest.approx(want, rel=1e-3, abs=1e-4)
    assert float(np.abs(k[:, 0, 1]).max()) == 0


@pytest.mark.parametrize("compat", [False, True])
def test_first_steps_of_s4(compat, seed):
    cell = S4Cell(64, 1, shared=False)
    drawn = cell.init(jax.random.key(seed), "default", (0.9, 1.0), compat)
    w = {k: np.asarray(v, np.float64) for k, v in drawn.items()}
    step = np.log1p(np.exp(w["delta"]))
    assert (np.exp(-step) >= 0.9 - 1e-5).all()
    divisor = w["delta"] if compat else step
    turns = w["a_im"] * divisor / (2 * np.pi)
    assert turns.min() >= -1e-6
    assert 0.8 < turns.max() <= 1 + 1e-6
    assert inverse_softplus(jnp.float32(1e-4)) == pytest.approx(np.log(np.expm1(1e-4)), rel=1e-4)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"model": "lru", "task": "gaussian", "execution": "kernel"}, "needs task teacher_student"),
        ({"model": "linear_rnn", "heads": 3}, "heads must divide width"),
        ({"model": "linear_rnn", "heads": 4, "block_form": "rotation"}, "blocks of 2 units"),
        ({"model": "s4", "task": "gaussian"}, "needs task teacher_student"),
    ],
)
def test_impossible_combinations(config, problem):
    with pytest.raises(ConfigError, match=problem):
        builtin_registry().resolve({"task": "teacher_student", **config})


@pytest.mark.slow
@pytest.mark.parametrize("model", ["lru", "linear_rnn"])
def test_linear_models_classify(model):
    """Any task may be given to them: outputs at every step, one number for each class."""
    config = {"model": model, "task": "gaussian", "seq_len": 9, "features": 2, "classes": 3,
              "batch_size": 4, "width": 8, "steps_per_epoch": 2, "moduli_every": 1}  # fmt: skip
    pack = Pack([builtin_registry().resolve(config)], {})
    pack.init()
    result = pack.epoch(0)
    assert np.isfinite(result.epochs["loss"]).all()
    probe = pack.probe("moduli")
    assert probe is not None
    assert probe["modulus"].shape == (1, 8)
    line = pack.probe("timeline")
    assert line is not None
    assert (line["grad_norm"] > 0).all()
