"""The Linear Recurrent Unit against slow loops in complex128
(docs/specs/herranz2023.md, check 17)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainables.layers.lru import (
    GAMMAS,
    MODULI,
    SPECTRA,
    LruCell,
    associated,
    polar,
    ring,
    scanned,
    states,
)


def _slow(lam: np.ndarray, drive: np.ndarray) -> np.ndarray:
    h, found = np.zeros(drive.shape[1:], complex), []
    for now in drive:
        h = lam * h + now
        found.append(h)
    return np.stack(found)


def _drawn(seed: int, steps: int, *, batch: int = 3, units: int = 5):
    """Eigenvalues inside the unit disk and a drive, complex128."""
    rng = np.random.default_rng([seed, steps])
    lam = rng.uniform(0.3, 0.999, units) * np.exp(1j * rng.uniform(0, 2 * np.pi, units))
    drive = rng.normal(size=(steps, batch, units, 2)) @ np.array([1, 1j])
    return lam, drive


def _pair(z: Any) -> tuple[jax.Array, jax.Array]:
    return jax.device_put((z.real.astype(np.float32), z.imag.astype(np.float32)))


def _complex(pair: tuple[jax.Array, jax.Array]) -> np.ndarray:
    return np.asarray(pair[0], np.float64) + 1j * np.asarray(pair[1], np.float64)


@pytest.mark.parametrize("steps", [1, 2, 7, 37])
@pytest.mark.parametrize("form", [scanned, associated])
def test_both_forms_are_the_recurrence(seed, steps, form):
    lam, drive = _drawn(seed, steps)
    found = _complex(jax.jit(form)(_pair(lam), _pair(drive)))
    assert np.abs(found - _slow(lam, drive)).max() < 1e-4


def test_both_forms_have_the_gradient_of_the_recurrence(seed):
    steps = 13
    lam, drive = _drawn(seed, steps)
    weight = _drawn(seed + 1, steps)[1]

    def loss(eigenvalues, drive, form):
        re, im = form(eigenvalues, drive)
        return jnp.sum(re * np.real(weight)) + jnp.sum(im * np.imag(weight))

    slow = np.zeros_like(drive)
    later = np.zeros(drive.shape[1:], complex)
    for t in reversed(range(steps)):
        later = weight[t] + np.conj(lam) * later
        slow[t] = later
    before = np.concatenate([np.zeros_like(drive[:1]), _slow(lam, drive)[:-1]])
    by_lam = (slow * np.conj(before)).sum((0, 1))
    for form in (scanned, associated):
        gradient = jax.jit(jax.grad(lambda a, b, form=form: loss(a, b, form), (0, 1)))
        of_lam, of_drive = gradient(_pair(lam), _pair(drive))
        assert np.abs(_complex(of_drive) - slow).max() < 1e-3
        assert _complex(of_lam) == pytest.approx(by_lam, rel=1e-4)


@pytest.mark.slow
def test_step_form_is_the_sequence_form(seed):
    """Check 17: max abs err < 1e-4 at T = 200, outputs and gradients, in both modes."""
    cell = LruCell(8, 16)
    key = jax.random.key(seed)
    params = cell.init(key, 8, *ring(key, 16, "log_uniform", 0.4, 0.99, 0.314))
    u = jax.random.normal(jax.random.fold_in(key, 1), (200, 4, 8))

    def stepped(params):
        def step(state, now):
            state = cell.advance(params, state, cell.drive(params, now))
            return state, cell.output(params, state, now)

        return jax.lax.scan(step, jnp.zeros((4, cell.state_size)), u)[1]

    def whole(params, mode):
        return cell.output(params, cell.states(params, cell.drive(params, u), mode), u)

    def seen(run):
        """Outputs, and the gradient of their mean square."""

        def loss(params):
            y = run(params)
            return jnp.mean(y**2), y

        (_, y), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
        return np.asarray(y), {name: np.asarray(value) for name, value in slope.items()}

    want, slope = seen(stepped)
    for mode in ("scan", "associative"):
        found, own = seen(lambda p, mode=mode: whole(p, mode))
        assert np.abs(found - want).max() < 1e-4
        for name, value in slope.items():
            assert own[name] == pytest.approx(value, rel=1e-3, abs=1e-5)
    one, two = jnp.ones(1), jnp.ones((2, 1))
    assert states("auto", (one, 0 * one), (two, 0 * two))[0].ravel().tolist() == [1, 2]
    with pytest.raises(ValueError, match="unknown scan_mode 'fft'"):
        states("fft", (one, one), (two, two))


def test_output_is_the_formula(seed):
    """y_t = Re(C h_t) + D u_t with h_t = lambda h_{t-1} + gamma (B u_t), written out."""
    cell = LruCell(4, 6)
    key = jax.random.key(seed)
    modulus, phase = ring(key, 6, "area", 0.2, 0.9, 6.0)
    tensors = cell.init(key, 4, modulus, phase)
    params = {k: np.asarray(v, np.float64) for k, v in tensors.items()}
    lam = np.exp(-np.exp(params["nu"]) + 1j * params["theta"])
    assert lam == pytest.approx(np.asarray(modulus) * np.exp(1j * np.asarray(phase)), rel=1e-5)
    assert np.exp(params["gamma"]) == pytest.approx(np.sqrt(1 - np.abs(lam) ** 2), rel=1e-5)
    u = np.random.default_rng(seed).normal(size=(9, 2, 4))
    b, c = params["b_re"] + 1j * params["b_im"], params["c_re"] + 1j * params["c_im"]
    h = _slow(lam, np.exp(params["gamma"]) * (u @ b.T))
    want = (h @ c.T).real + params["d"] * u

    @jax.jit
    def run(w, u):
        return cell.output(w, cell.states(w, cell.drive(w, u), "scan"), u)

    assert np.asarray(run(tensors, u.astype(np.float32))) == pytest.approx(want, abs=1e-5)
    with pytest.raises(ValueError, match="reads 4 features"):
        cell.init(key, 3, modulus, phase)


@pytest.mark.parametrize("name", list(SPECTRA))
def test_parametrizations_round_trip(name, seed):
    rng = np.random.default_rng([seed, 3])
    modulus = rng.uniform(0.1, 0.999, 50).astype(np.float32)
    phase = rng.uniform(0.01, 3.1, 50).astype(np.float32)
    stored = SPECTRA[name]

    @jax.jit
    def both(modulus, phase):
        return stored.read(*stored.store(modulus, phase)), polar(modulus, phase)

    found, want = map(_complex, both(modulus, phase))
    assert np.abs(found - want).max() < 2e-6


def test_scaled_exp_stops_the_gradient_of_the_scale():
    modulus = 0.9

    @jax.jit
    def sloped(modulus, phase):
        nu, theta = SPECTRA["scaled_exp"].store(modulus, phase)
        return nu, jax.grad(lambda nu: jnp.square(SPECTRA["scaled_exp"].read(nu, theta)[0]))(nu)

    nu, slope = sloped(np.float32(modulus), np.float32(0.5))
    # Only |lambda| may move with nu: d|lambda|/dnu = -exp(nu) |lambda|.
    want = 2 * (modulus * np.cos(0.5)) * np.cos(0.5) * (-np.exp(float(nu)) * modulus)
    assert float(slope) == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("name", list(GAMMAS))
def test_gammas(name, seed):
    rng = np.random.default_rng([seed, 4])
    lam = rng.uniform(0.1, 0.99, 20) * np.exp(1j * rng.uniform(0, 6, 20))
    rule = GAMMAS[name]

    @jax.jit
    def read(pair):
        return rule.read(pair, None if rule.start is None else rule.start(pair))

    found = np.asarray(read(_pair(lam)))
    want = {"none": np.ones(20), "L1": 1 - np.abs(lam)}.get(name, np.sqrt(1 - np.abs(lam) ** 2))
    assert found == pytest.approx(want, rel=1e-4)


def test_laws_of_the_ring(seed):
    low, high, phase = 0.4, 0.99, 0.314
    modulus, angle = ring(jax.random.key(seed), 20_000, "log_uniform", low, high, phase)
    nu = np.log(-np.log(np.asarray(modulus, np.float64)))
    # U[ln(-ln .99), ln(-ln .4)] = U[-4.600, -.087] (docs/specs/herranz2023.md, 2.3).
    assert (nu.min(), nu.max()) == (
        pytest.approx(-4.600, abs=5e-3),
        pytest.approx(-0.087, abs=5e-3),
    )
    assert nu.mean() == pytest.approx((-4.600 - 0.0874) / 2, abs=0.03)
    assert 0 <= np.asarray(angle).min() < 1e-3
    assert phase * 0.999 < np.asarray(angle).max() < phase
    share = (np.asarray(MODULI["area"](jnp.linspace(0, 1, 9), low, high)) ** 2 - low**2) / (
        high**2 - low**2
    )
    assert share == pytest.approx(np.linspace(0, 1, 9), abs=1e-6)


def test_initial_weights(seed):
    cell, key = LruCell(64, 128), jax.random.key(seed)
    params = cell.init(key, 64, *ring(key, 128, "log_uniform", 0.4, 0.99, 0.314))
    bound = np.sqrt(3 / 192)
    assert {k: v.shape for k, v in params.items()} == {
        "nu": (128,), "theta": (128,), "gamma": (128,), "b_re": (128, 64), "b_im": (128, 64),
        "c_re": (64, 128), "c_im": (64, 128), "d": (64,),
    }  # fmt: skip
    for name in ("b_re", "b_im", "c_re", "c_im"):
        value = np.asarray(params[name])
        assert 0.99 * bound < np.abs(value).max() <= bound
        assert value.var() == pytest.approx(bound**2 / 3, rel=0.05)
    assert np.asarray(params["d"]).std() == pytest.approx(1, abs=0.3)
