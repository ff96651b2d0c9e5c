"""Recurrent cells against slow NumPy loops, their derivatives, and their initial weights."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainables.layers.alif import ALIF, decay, spike
from trainables.layers.gated import GRU, LSTM, Cell, SimpleRNN

H, F, B, T = 5, 3, 4, 7


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


SLOW_ACTIVATION = {
    "relu": lambda z: np.maximum(z, 0),
    "swish": lambda z: z * sigmoid(z),
    "sigmoid": sigmoid,
    "tanh": np.tanh,
}


def slow(cell: Any, w: dict[str, np.ndarray], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (T, H) and last state (S,) of one sample (T, F), neuron by neuron in float64."""
    n, outputs = cell.units, []
    bias = w["b"] if "b" in w else w.get("b_ih", 0)
    of_h = w.get("b_hh", np.zeros(len(w["w_hh"])))
    h, c, v, a = (np.zeros(n) for _ in range(4))
    for x_t in x:
        if isinstance(cell, LSTM):
            z = w["w_ih"] @ x_t + w["w_hh"] @ h + bias + of_h
            act = SLOW_ACTIVATION[cell.activation]
            for k in range(n):
                c[k] = sigmoid(z[n + k]) * c[k] + sigmoid(z[k]) * act(z[2 * n + k])
            h = sigmoid(z[3 * n :]) * act(c)
        elif isinstance(cell, GRU):
            own, back = w["w_ih"] @ x_t + bias, w["w_hh"] @ h + of_h
            new = np.zeros(n)
            for k in range(n):
                z, r = sigmoid(own[k] + back[k]), sigmoid(own[n + k] + back[n + k])
                candidate = SLOW_ACTIVATION[cell.activation](own[2 * n + k] + r * back[2 * n + k])
                new[k] = z * h[k] + (1 - z) * candidate
            h = new
        elif isinstance(cell, SimpleRNN):
            h = SLOW_ACTIVATION[cell.activation](w["w_ih"] @ x_t + w["w_hh"] @ h + bias + of_h)
        else:
            fired = [float(v[k] > w["threshold"][k] + w["beta"][k] * a[k]) for k in range(n)]
            for k in range(n):
                kept = np.exp(-1 / w["tau_a"][k])
                a[k] = kept * a[k] + (1 - kept) * fired[k]
                current = w["w_ih"][k] @ x_t
                current += sum(w["w_hh"][k, j] * fired[j] for j in range(n) if j != k)
                reset = (w["threshold"][k] + w["beta"][k] * a[k]) * fired[k]
                v[k] = np.exp(-1 / w["tau_v"][k]) * v[k] + current - reset
            h = (v > w["threshold"] + w["beta"] * a).astype(float)
        outputs.append(h.copy())
    last = {LSTM: (h, c), ALIF: (v, a)}.get(type(cell), (h,))
    return np.array(outputs), np.concatenate(last)


SMOOTH = [LSTM(H), GRU(H), SimpleRNN(H, "swish"), SimpleRNN(H, "sigmoid")]
TORCH = [LSTM(H, "torch"), GRU(H, "torch"), SimpleRNN(H, "tanh", "torch")]
RELU = [LSTM(H, activation="relu"), GRU(H, activation="relu"), SimpleRNN(H, "relu")]
CELLS = [*SMOOTH, *TORCH, *RELU, ALIF(H, 3.0), ALIF(H, 3.0, signed=True)]


def drawn(cell: Cell, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Tensors away from their first values, and inputs (B, T, F)."""
    rng = np.random.default_rng(seed)
    w = fresh(cell, seed, F)
    moved = {n: p + 0.1 * rng.normal(size=p.shape).astype(p.dtype) for n, p in w.items()}
    if isinstance(cell, ALIF):  # keeps neurons well inside the region where they sometimes fire
        moved |= {n: w[n] for n in ("tau_v", "tau_a")} | {"tau_v": w["tau_v"] + np.float32(0.5)}
    return moved, rng.normal(size=(B, T, F)).astype(np.float32)


def outputs(cell: Cell, w: Any, x: Any) -> tuple[jax.Array, jax.Array]:
    """(T, B, H) and the last state."""
    drive = jnp.moveaxis(cell.drive(w, x), 1, 0)

    def step(state: jax.Array, drive: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = cell.advance(w, state, drive)
        return state, cell.output(w, state)

    state, found = jax.lax.scan(step, jnp.zeros((len(x), cell.state_size)), drive)
    return found, state


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_outputs_are_those_of_a_slow_loop(cell, seed):
    w, x = drawn(cell, seed)

    def loss(w: Any, x: jax.Array) -> Any:
        found, state = outputs(cell, w, x)
        return jnp.sum(jnp.square(found)), (found, state)

    (_, (found, state)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(w, x)
    exact = {name: np.asarray(value, np.float64) for name, value in w.items()}
    for b in range(B):
        want, last = slow(cell, exact, np.asarray(x[b], np.float64))
        np.testing.assert_allclose(found[:, b], want, atol=2e-6)
        np.testing.assert_allclose(state[b], last, atol=2e-6)
    assert found.shape == (T, B, cell.output_size)
    assert state.shape == (B, cell.state_size)
    assert cell.roles().keys() == w.keys()
    assert set(cell.roles().values()) <= {"input", "recurrent", "none"}
    assert all(np.any(gradient) for gradient in gradients.values())
    if isinstance(cell, ALIF):  # a neuron does not drive itself
        assert not np.diagonal(gradients["w_hh"]).any()


@pytest.mark.parametrize("cell", SMOOTH, ids=str)
def test_first_and_second_derivatives_are_finite_differences(cell, seed):
    """Both by reverse mode, in float64, along drawn directions."""
    w, x = drawn(cell, seed)
    rng, size = np.random.default_rng([seed, 1]), 1e-5
    at = {"state": 0.5 * rng.normal(size=(B, cell.state_size))}
    at |= {name: value.astype(np.float64) for name, value in w.items()}
    along, across = ({n: rng.normal(size=v.shape) for n, v in at.items()} for _ in range(2))

    def total(at: Any) -> jax.Array:
        w = {name: value for name, value in at.items() if name != "state"}
        return jnp.sum(jnp.sin(cell.advance(w, at["state"], cell.drive(w, x[:, 0]))))

    def dot(a: Any, b: Any) -> jax.Array:
        return sum((jnp.sum(a[name] * b[name]) for name in a), jnp.float64(0))

    @jax.jit
    def both(at: Any, along: Any, across: Any) -> Any:
        """Value, first derivative along one direction, second along both."""
        value, gradient = jax.value_and_grad(total)(at)
        bend = jax.grad(lambda at: dot(jax.grad(total)(at), along))(at)
        return value, dot(gradient, along), dot(bend, across)

    with jax.enable_x64(True):
        _, slope, bend = both(at, along, across)
        sides = []
        for way in (along, across):
            ends = [{n: v + s * size * way[n] for n, v in at.items()} for s in (1, -1)]
            sides.append([both(end, along, across) for end in ends])
    (ahead, behind), (left, right) = sides
    assert float(slope) == pytest.approx(float(ahead[0] - behind[0]) / (2 * size), rel=1e-5)
    assert float(bend) == pytest.approx(float(left[1] - right[1]) / (2 * size), rel=1e-5)


# ---- spikes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "sharpness"), [(0.5, 1.0), (0.3, 2.5)])
def test_a_spike_has_the_surrogate_slope_and_that_slopes_own_derivative(seed, height, sharpness):
    def fire(u: jax.Array) -> jax.Array:
        return spike(u, height, sharpness)

    u = jnp.asarray(np.random.default_rng(seed).normal(size=40), jnp.float32)
    assert np.array_equal(fire(u), u > 0)
    assert float(fire(jnp.float32(0.0))) == 0.0
    slope, curvature = jax.grad(fire), jax.grad(jax.grad(fire))

    @jax.jit
    def derivatives(u: jax.Array) -> Any:
        return jax.vmap(slope)(u), jax.vmap(curvature)(u), jax.jvp(fire, (u,), (u,))[1]

    first, second, pushed = derivatives(u)
    base = 1 + 2 * sharpness * np.abs(np.asarray(u, np.float64))
    np.testing.assert_allclose(first, height / base**2, rtol=1e-5)
    want = -4 * sharpness * height * np.sign(u) / base**3
    np.testing.assert_allclose(second, want, rtol=1e-5)
    np.testing.assert_allclose(pushed, height / base**2 * u, rtol=1e-5)


def test_decay_is_continuous_where_a_time_constant_crosses_zero():
    tau = jnp.array([-3.0, -1e-4, 0.0, 1e-3, 0.1, 250.0])
    kept, slopes = jax.jit(lambda tau: (decay(tau), jax.vmap(jax.grad(decay))(tau)))(tau)
    np.testing.assert_allclose(kept, [0, 0, 0, 0, np.exp(-10), np.exp(-1 / 250)], rtol=1e-6)
    assert np.isfinite(slopes).all()


@pytest.mark.parametrize("signed", [False, True])
def test_alif_derivatives_follow_the_surrogate_and_stop_at_the_reset(seed, signed):
    """Tangents pushed through the written-out equations, against reverse mode."""
    cell = ALIF(H, 3.0, signed=signed)
    w, x = drawn(cell, seed)
    rng = np.random.default_rng(seed + 1)
    towards = {name: rng.normal(size=p.shape) for name, p in w.items()}
    readout = rng.normal(size=(T, B, H))
    p = {name: np.asarray(value, np.float64) for name, value in w.items()}
    off = 1 - np.eye(H)
    v, a, dv, da = (np.zeros((B, H)) for _ in range(4))
    total = 0.0

    def fire(v: Any, a: Any, dv: Any, da: Any) -> tuple[np.ndarray, np.ndarray]:
        u = v - p["threshold"] - p["beta"] * a
        du = dv - towards["threshold"] - towards["beta"] * a - p["beta"] * da
        return (u > 0).astype(float), 0.5 / (1 + 2 * np.abs(u)) ** 2 * du

    for t in range(T):
        z, dz = fire(v, a, dv, da)
        keep_a, keep_v = np.exp(-1 / p["tau_a"]), np.exp(-1 / p["tau_v"])
        dkeep_a = keep_a / p["tau_a"] ** 2 * towards["tau_a"]
        dkeep_v = keep_v / p["tau_v"] ** 2 * towards["tau_v"]
        da = keep_a * da + dkeep_a * a + (1 - keep_a) * dz - dkeep_a * z
        a = keep_a * a + (1 - keep_a) * z
        x_t = np.asarray(x[:, t], np.float64)
        dv = keep_v * dv + dkeep_v * v + x_t @ towards["w_ih"].T
        dv += dz @ (p["w_hh"] * off).T + z @ (towards["w_hh"] * off).T
        v = keep_v * v + x_t @ p["w_ih"].T + z @ (p["w_hh"] * off).T
        v -= (p["threshold"] + p["beta"] * a) * z
        total += np.sum(readout[t] * fire(v, a, dv, da)[1])

    def loss(w: Any) -> jax.Array:
        return jnp.sum(readout.astype(np.float32) * outputs(cell, w, x)[0])

    gradients = jax.jit(jax.grad(loss))(w)
    found = sum(float(np.sum(np.asarray(g) * towards[name])) for name, g in gradients.items())
    assert found == pytest.approx(total, rel=1e-4)


# ---- initial weights ---------------------------------------------------------------------------


def fresh(cell: Cell, seed: int, features: int) -> dict[str, np.ndarray]:
    found = jax.jit(lambda key: cell.init(key, features))(jax.random.key(seed))
    return {name: np.asarray(value) for name, value in found.items()}


def test_keras_weights():
    lstm, gru = fresh(LSTM(64), 0, 100), fresh(GRU(64), 0, 100)
    np.testing.assert_allclose(lstm["w_hh"].T @ lstm["w_hh"], np.eye(64), atol=1e-5)
    limit = np.sqrt(6 / (100 + 4 * 64))
    assert 0.99 * limit < np.abs(lstm["w_ih"]).max() <= limit
    assert lstm["w_ih"].std() == pytest.approx(limit / np.sqrt(3), rel=0.02)
    np.testing.assert_array_equal(lstm["b"].reshape(4, 64), np.outer([0, 1, 0, 0], np.ones(64)))
    assert gru["w_hh"].shape == (192, 64)
    assert not gru["b_ih"].any()
    assert not gru["b_hh"].any()
    bias, limit = fresh(SimpleRNN(500), 0, 1)["b"], np.sqrt(3 / 500)
    assert 0.98 * limit < np.abs(bias).max() <= limit
    assert bias.std() == pytest.approx(limit / np.sqrt(3), rel=0.1)


@pytest.mark.parametrize("cell", TORCH, ids=str)
def test_torch_weights(cell):
    found = fresh(type(cell)(400, scheme="torch"), 1, 30)
    assert set(found) == {"w_ih", "w_hh", "b_ih", "b_hh"}
    for value in found.values():
        assert np.abs(value).max() <= 1 / 20
        assert value.std() == pytest.approx(1 / (20 * np.sqrt(3)), rel=0.1)


def test_alif_weights():
    """Means and spreads of a normal cut off at two deviations (.8796 of its deviation stays)."""
    n, features = 1500, 9
    found, signed = fresh(ALIF(n, 250.0), 2, features), fresh(ALIF(n, 250.0, True), 2, features)
    means = {"tau_v": 0.1, "tau_a": 250.0, "threshold": 0.01, "beta": 1.8}
    for name, mean in means.items():
        assert found[name].mean() == pytest.approx(mean, rel=0.05)
        assert found[name].std() == pytest.approx(0.8796 * 3 / 7 * mean, rel=0.06)
        assert found[name].min() >= mean / 7 * 0.999
    assert signed["beta"].std() == pytest.approx(1.8 / 3, rel=0.06)
    assert abs(signed["beta"].mean()) < 0.08
    for name, fans in (("w_ih", n + features), ("w_hh", 2 * n)):
        assert found[name].std() == pytest.approx(np.sqrt(2 / fans), rel=0.03)
        assert np.array_equal(found[name], signed[name])


def test_tensors_depend_on_their_name_and_key_only():
    a, b = (fresh(LSTM(8), 5, features) for features in (3, 6))
    assert np.array_equal(a["w_hh"], b["w_hh"])
    assert not np.array_equal(a["w_hh"], fresh(LSTM(8), 6, 3)["w_hh"])
