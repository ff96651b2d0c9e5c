"""Rescaled Glorot against the study's tables and against plain NumPy
(docs/specs/bar2025.md, checks 1 to 3)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainables.analyses.glorot_growth import moduli
from trainables.declarations import ConfigError, builtin_registry
from trainables.declarations.layers.glorot_init import (
    EDGE_OFFSET,
    LEAST_WIDTH,
    calibration,
    edge_gamma,
    edge_terms,
    rescaling,
)
from trainables.layers.glorot_init import glorot_matrix, scale, spectrum, state_matrix, storable

TABLE = {
    166: 1.69427, 176: 1.33258, 192: 1.22332, 200: 1.19802, 224: 1.15492, 256: 1.12613,
    320: 1.09791, 384: 1.08308, 512: 1.06680, 768: 1.05146, 1024: 1.04356, 2048: 1.03016,
    4096: 1.02140, 8192: 1.01537,
}  # fmt: skip


def test_the_divisor_is_the_table_s():
    for n, c in TABLE.items():
        assert rescaling(n) == pytest.approx(c, abs=1e-5)
    for n, gamma in {192: 0.10031, 256: 0.28144, 384: 0.54577, 512: 0.73902, 1024: 1.22145}.items():
        assert edge_gamma(n) == pytest.approx(gamma, abs=1e-5)
    assert pytest.approx(1.8597655, abs=1e-7) == EDGE_OFFSET


def test_the_divisor_at_drawn_widths(seed):
    """Against the formula in NumPy; it falls with the width and never ends below 1."""
    widths = np.sort(np.random.default_rng(seed).integers(164, 20_000, 200))
    n = widths.astype(float)
    gamma = np.log(n / (2 * np.pi * np.log(n) ** 2))
    want = 1 + np.sqrt(gamma / (4 * n)) + (0.5772157 + np.pi / np.sqrt(6)) / np.sqrt(4 * n * gamma)
    found = np.array([rescaling(int(width)) for width in widths])
    np.testing.assert_allclose(found, want, rtol=1e-6)
    assert (np.diff(found[np.diff(widths, prepend=0) > 0]) < 0).all()
    assert (found > 1).all()
    traced = [float(jax.jit(lambda z, w=int(w): scale("rescaled", w, z))(EDGE_OFFSET))
              for w in widths[:3]]  # fmt: skip
    np.testing.assert_allclose(traced, found[:3], rtol=1e-6)


@pytest.mark.parametrize("width", [2, 64, 128, 163])
def test_small_widths_are_refused_by_name(width):
    with pytest.raises(ValueError, match=rf"no value at width {width}: gamma_n <= 0 for n <= 163"):
        rescaling(width)
    for model in ("deep_lru", "deep_linear_rnn", "diag-rnn"):
        config = {"model": model, "task": "gaussian", "A_init": "fixed", "d_hidden": width}
        with pytest.raises(ConfigError, match=f"no value at width {width}"):
            builtin_registry().resolve(config)
    assert LEAST_WIDTH == 164
    assert math.isfinite(rescaling(164))


def test_calibration_is_the_measured_radius_and_a_deviation(seed):
    measured = {64: 1.1059, 128: 1.0826, 192: 1.0668, 256: 1.0602, 384: 1.0525, 512: 1.0466,
                1024: 1.0314}  # fmt: skip
    for n, c in measured.items():
        assert calibration(n) == pytest.approx(c, rel=1e-12)
    widths = np.sort(np.random.default_rng(seed).integers(2, 5000, 100))
    found = np.array([calibration(int(n)) for n in widths])
    assert (np.diff(found) <= 0).all()
    assert ((found > 1) & (found < 2)).all()


def test_entries_have_the_law_s_deviation(seed):
    """Entry deviation times sqrt(n) c_n is 1."""
    key = jax.random.key(seed)
    rng = np.random.default_rng(seed)
    for n in (256, int(rng.integers(164, 400))):
        for init, c in (("glorot", 1), ("halved_glorot", 2**0.5), ("rescaled", rescaling(n))):
            a = np.asarray(state_matrix(key, n, init, EDGE_OFFSET), np.float64)
            assert a.std() * n**0.5 * c == pytest.approx(1, abs=0.01)
            assert abs(a.mean()) < 5 / (n * n**0.5)


def test_inits_have_nothing_to_do_with_numpy_s_state():
    key = jax.random.key(3)
    np.random.seed(1)  # noqa: NPY002
    one = np.asarray(state_matrix(key, 32, "glorot", EDGE_OFFSET))
    np.random.seed(2)  # noqa: NPY002
    assert one.tobytes() == np.asarray(state_matrix(key, 32, "glorot", EDGE_OFFSET)).tobytes()
    other = np.asarray(state_matrix(jax.random.key(4), 32, "glorot", EDGE_OFFSET))
    assert np.abs(one - other).max() > 0.1


def test_spectra(seed):
    n, key = 200, jax.random.key(seed)
    lam = {i: np.asarray(jnp.stack(spectrum(key, n, i, EDGE_OFFSET)))
           for i in ("glorot", "rescaled", "uniform", "identity")}  # fmt: skip
    assert (lam["identity"] == np.array([[1.0], [0.0]])).all()
    np.testing.assert_allclose(lam["rescaled"] * rescaling(n), lam["glorot"], rtol=1e-5, atol=1e-6)
    whole = lam["glorot"][0] + 1j * lam["glorot"][1]
    # Those of a real matrix: conjugate pairs, and some real ones.
    np.testing.assert_allclose(np.sort_complex(whole), np.sort_complex(whole.conj()), atol=1e-4)
    assert 1 <= (lam["glorot"][1] == 0).sum() < n / 4
    # Uniform over the disk: radius^2 and angle are uniform and independent (published: a spiral).
    radius2, angle = (lam["uniform"] ** 2).sum(0), np.arctan2(*lam["uniform"][::-1]) % (2 * np.pi)
    for share in (radius2, angle / (2 * np.pi)):
        steps = np.arange(1, n + 1) / n
        assert np.abs(np.sort(share) - steps).max() < 1.95 / n**0.5
    assert abs(np.corrcoef(radius2, angle)[0, 1]) < 4 / n**0.5
    modulus, phase = storable((jnp.asarray(lam["glorot"][0]), jnp.asarray(lam["glorot"][1])))
    back = np.asarray(modulus) * np.exp(1j * np.asarray(phase))
    inside = np.abs(whole) < 0.999
    np.testing.assert_allclose(back[inside], whole[inside], atol=2e-6)
    assert np.asarray(modulus).max() < 1


_GROWTH = {  # t -> coefficients of 1/n, 1/n^2, ... (section 5.1)
    1: (), 2: (0, 2), 3: (0, 10, 4), 4: (0, 28, 28, 48), 5: (0, 62, 110, 468, 304),
}  # fmt: skip


def test_norms_grow_as_the_exact_polynomials(seed):
    """E|A^t x|^2 at n = 4 over 10^5 matrices of ours, within four standard errors."""
    n, draws = 4, 100_000
    keys = jax.random.split(jax.random.key(seed), draws)
    a = np.asarray(jax.jit(jax.vmap(lambda key: glorot_matrix(key, n)))(keys), np.float64)
    x = np.broadcast_to(np.eye(n)[0], (draws, n))
    for t in range(1, 6):
        x = np.einsum("dij,dj->di", a, x)
        squares = (x**2).sum(1)
        want = 1 + sum(c / n ** (i + 1) for i, c in enumerate(_GROWTH[t]))
        assert abs(squares.mean() - want) < 4 * squares.std() / draws**0.5


def test_white_inputs_settle_under_the_rescaled_matrix_and_explode_under_glorot_s(seed):
    """Median |h_1024|^2 over draws, E|drive|^2 = 1 (section 5.1): 4.73 within 5 % and 2."""
    n, draws, steps = 256, 12, 1024
    rng = np.random.default_rng(seed)
    keys = jax.random.split(jax.random.key(seed), draws)
    a = [np.asarray(glorot_matrix(key, n), np.float64) for key in keys]
    late = {}
    for init in ("glorot", "rescaled", "halved_glorot"):
        c, energies = float(scale(init, n, EDGE_OFFSET)), []
        for matrix in a:
            h, found = np.zeros(n), []
            for t in range(steps):
                h = matrix @ h / c + rng.normal(size=n) / n**0.5
                if t >= steps - 512:
                    found.append(h @ h)
            energies.append(np.mean(found) if init != "glorot" else found[-1])
        late[init] = np.median(energies)
    assert late["rescaled"] == pytest.approx(4.73, rel=0.05)
    assert late["halved_glorot"] == pytest.approx(2.0, rel=0.05)
    assert late["glorot"] > 1e20


@pytest.mark.slow
def test_radii_are_the_table_s(seed):
    """200 draws at n = 256 of the stage `radii`'s own function (section 5.2)."""
    keys = jax.random.split(jax.random.key(seed), 200)
    radius = np.asarray(
        jax.jit(lambda k: jax.lax.map(lambda key: moduli(glorot_matrix(key, 256))[0], k))(keys)
    )
    print(radius.mean(), (radius > 1).mean(), (radius / rescaling(256) > 1).mean())
    assert radius.mean() == pytest.approx(1.0383, abs=0.006)
    assert (radius > 1).mean() >= 0.95
    assert (radius / rescaling(256) > 1).mean() <= 0.03
    assert (radius / 2**0.5).mean() == pytest.approx(0.7342, abs=0.005)
    a, b = edge_terms(256)
    assert abs(radius.mean() - a - b * 0.577) > 0.01  # the law itself is far off yet
