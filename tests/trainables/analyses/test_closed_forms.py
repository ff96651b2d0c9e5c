"""Closed forms against tables, sums and finite differences in float64
(docs/specs/zucchet2024.md, checks 1 and 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from trainables.analyses import closed_forms

RHOS = (0.0, 0.9, 0.99, 0.999, 1.0)
TABLE = {  # lambda -> (E[h^2], E[(dh/dl)^2]) for each rho (section 5.1)
    0.5: ((1.333, 2.963), (3.515, 13.10), (3.947, 15.67), (3.995, 15.97), (4, 16)),
    0.9: ((5.263, 263.9), (50.14, 3757), (91.31, 8733), (99.06, 9859), (100, 1e4)),
    0.99: ((50.25, 2.513e5), (871.8, 4.738e6), (5000, 3.75e7), (9095, 8.683e7), (1e4, 1e8)),
    0.9999: ((5e3, 2.5e11), (9.49e4, 4.75e12), (9.85e5, 4.975e13), (9.09e6, 4.956e14), (1e8, 1e16)),
}


@pytest.mark.parametrize("lam", TABLE)
def test_table_of_signal_propagation(lam):
    for rho, (energy, slope) in zip(RHOS, TABLE[lam], strict=True):
        assert closed_forms.state_energy(lam, rho) == pytest.approx(energy, rel=1e-3)
        assert closed_forms.sensitivity(lam, rho) == pytest.approx(slope, rel=1e-3)


def test_normalised_signals():
    assert (1 - 0.77**2) * closed_forms.state_energy(0.77, 0.0) == pytest.approx(1)
    wide = [closed_forms.normalised_sensitivity(0.9999, rho) for rho in RHOS]
    assert wide == pytest.approx([0.5, 9.50, 99.5, 991, 2e4], rel=5e-3)
    near = [closed_forms.normalised_sensitivity(0.99, rho) for rho in RHOS]
    assert near == pytest.approx([0.495, 9.33, 73.9, 171, 197], rel=5e-3)


@pytest.mark.parametrize("rho", [0.0, 1.0])
def test_scaling_with_memory(rho):
    lam = 1 - np.geomspace(1e-2, 1e-4, 20)
    x = np.log(1 / (1 - lam))
    slopes = [np.polyfit(x, np.log(f(lam, rho)), 1)[0]
              for f in (closed_forms.state_energy, closed_forms.sensitivity)]  # fmt: skip
    assert slopes == pytest.approx([1 + rho, 3 + rho], abs=0.02)


def _sums(lam: float, rho: float) -> tuple[float, float]:
    """E[h^2] and E[(dh/dl)^2] as double sums over lags, until they have converged."""
    n = int(40 / (1 - lam)) + 20
    k = np.arange(n)
    h, dh = lam**k, np.concatenate([[0], k[1:] * lam ** (k[1:] - 1)])
    found = []
    for weights in (h, dh):
        # sum_ij w_i w_j rho^|i-j|, by the filter u_i = w_i + rho u_{i-1}.
        u, total = 0.0, 0.0
        for w in weights:
            total += w * w + 2 * w * rho * u
            u = w + rho * u
        found.append(total)
    return found[0], found[1]


def test_signals_at_drawn_points_are_the_sums(seed):
    rng = np.random.default_rng([seed, 11])
    for _ in range(6):
        lam, rho = rng.uniform(0.05, 0.99), rng.uniform(0, 0.999)
        want = _sums(lam, rho)
        assert closed_forms.state_energy(lam, rho) == pytest.approx(want[0], rel=1e-5)
        assert closed_forms.sensitivity(lam, rho) == pytest.approx(want[1], rel=1e-5)


def _second(f: Callable[[float], Any], at: float, step: float) -> float:
    """f'' at a point, by fourth-order differences."""
    y = [f(at + i * step) for i in (-2, -1, 0, 1, 2)]
    return float((-y[0] + 16 * y[1] - 30 * y[2] + 16 * y[3] - y[4]) / (12 * step**2))


def test_losses_of_one_unit():
    assert closed_forms.student_loss(0.0, 0.99) == pytest.approx(24.63, abs=0.005)
    assert closed_forms.student_loss(-0.99, 0.99) == pytest.approx(49.75, abs=0.005)
    assert closed_forms.student_loss(0.3 + 0.2j, 0.3 + 0.2j) == pytest.approx(0, abs=1e-12)
    level = closed_forms.student_loss(0.5, 0.2, mean=2.0, variance=0.0)
    assert level == pytest.approx(0.5 * 4 * (2 - 1.25) ** 2)


def test_curvatures_at_the_optimum():
    at = closed_forms.curvatures(np.array(0.99), np.array(np.pi / 100))
    assert at["raw_nu"] == pytest.approx(2.513e5, rel=1e-3)
    assert at["raw_theta"] == pytest.approx(2.463e5, rel=1e-3)
    assert at["nu"] == pytest.approx(2525, rel=1e-3)
    assert at["theta"] == pytest.approx(4901, rel=1e-3)
    exps = [closed_forms.curvatures(np.array(nu), np.array(1.0))["nu_exp"] for nu in (0.9, 0.99)]
    assert exps == pytest.approx([0.24908, 0.24999], abs=1e-5)


@pytest.mark.parametrize("point", range(4))
def test_curvatures_at_drawn_optima_are_finite_differences(point, seed):
    rng = np.random.default_rng([seed, 12, point])
    nu, theta = rng.uniform(0.3, 0.95), rng.uniform(0.1, 3)
    s, gap = nu * np.exp(1j * theta), 1 - nu**2
    scale = gap / (nu * np.sqrt(1 + nu**2))
    losses: dict[
        str, tuple[Callable[[float], Any], Any]
    ] = {  # parametrization -> (loss as a function of it, its value at the optimum)
        "raw_nu": (lambda x: closed_forms.student_loss(x * np.exp(1j * theta), s), nu),
        "raw_theta": (lambda x: closed_forms.student_loss(nu * np.exp(1j * x), s), theta),
    }

    def by_modulus(f: Callable[[float], Any]) -> Callable[[float], Any]:
        return lambda w: closed_forms.normalised_loss(f(w) * np.exp(1j * theta), s)

    def by_phase(f: Callable[[float], Any]) -> Callable[[float], Any]:
        return lambda w: closed_forms.normalised_loss(nu * np.exp(1j * f(w)), s)

    losses["nu"] = by_modulus(float), nu
    losses["nu_exp"] = by_modulus(lambda w: np.exp(-np.exp(w))), np.log(-np.log(nu))
    losses["nu_opt"] = by_modulus(np.tanh), np.arctanh(nu)
    losses["theta"] = by_phase(float), theta
    losses["theta_exp"] = by_phase(np.exp), np.log(theta)
    losses["theta_opt"] = by_phase(lambda w: w * scale), theta / scale
    want = closed_forms.curvatures(np.array(nu), np.array(theta))
    assert want.keys() == losses.keys()
    for name, (loss, at) in losses.items():
        # A step that moves the eigenvalue by a small part of its distance from the unit circle.
        step = 2e-3 * gap if name.startswith("raw") else 2e-3 / np.sqrt(want[name])
        assert _second(loss, at, step) == pytest.approx(want[name], rel=1e-5), name


def _mixed(l1: complex, l2: complex, rho: float) -> complex:
    """d^2 f / dl1 dl2 by contour integrals around both points: exact to rounding."""
    n, r = 32, 0.05
    turn = np.exp(2j * np.pi * np.arange(n) / n)
    f = closed_forms.correlation(l1 + r * turn[:, None], l2 + r * turn[None], rho)
    return complex((f * np.conj(turn)[:, None] * np.conj(turn)[None]).sum() / (n * r) ** 2)


def test_coupling_is_the_mixed_derivative(seed):
    """Check 4: to 1e-10 at random complex points, rho = .5 and the published special cases."""
    rng = np.random.default_rng([seed, 13])
    for rho in (0.5, 0.0, 1.0, rng.uniform(0, 1)):
        for _ in range(5):
            l1, l2 = (rng.uniform(0, 0.75) * np.exp(2j * np.pi * rng.uniform()) for _ in range(2))
            want = _mixed(l1, l2, rho)
            assert abs(closed_forms.coupling(l1, l2, rho) - want) < 1e-10 * max(1, abs(want))
    l1, l2 = 0.5 + 0.2j, 0.3 - 0.4j
    assert closed_forms.coupling(l1, l2, 0.5) == pytest.approx(3.427 - 2.725j, abs=1e-3)
    assert closed_forms.coupling(l1, l2, 0.5, compat=True) == pytest.approx(
        2.472 - 1.854j, abs=1e-3
    )
    for rho in (0.0, 1.0):
        assert closed_forms.coupling(l1, l2, rho) == closed_forms.coupling(l1, l2, rho, compat=True)
    own = 0.99 * np.exp(1j * np.pi / 4)
    assert abs(closed_forms.coupling(np.conj(own), own, 0.0)) == pytest.approx(2.5e5, rel=0.01)


def test_hessian_of_diagonal_systems_is_the_gauss_newton_matrix(seed):
    """Check 4: H = J' R J with J the derivative of y = Re sum w h by (Re l, Im l), R over lags."""
    rng = np.random.default_rng([seed, 14])
    n, rho, length = 3, 0.6, 400
    lam = rng.uniform(0.3, 0.85, n) * np.exp(1j * rng.uniform(-3, 3, n))
    w = rng.normal(size=n) + 1j * rng.normal(size=n)
    k = np.arange(length)
    slope = w * np.where(k[:, None] > 0, k[:, None] * lam ** np.maximum(k[:, None] - 1, 0), 0)
    jacobian = np.concatenate([slope.real, -slope.imag], 1)
    r = rho ** np.abs(k[:, None] - k[None])
    want = jacobian.T @ r @ jacobian
    found = closed_forms.diagonal_hessian(lam, w, rho)
    assert np.abs(found - want).max() < 1e-10 * np.abs(want).max()


def test_gated_units():
    """Section 5.9: values at T = 2, 16, 64, 256."""
    parts = ((0.0430564, 0.9970053), (0.332, 0.0))
    found = [float(closed_forms.gated_correlation(lam, lam, parts))
             for lam in (1 - 1 / t for t in (2, 16, 64, 256))]  # fmt: skip
    assert found == pytest.approx([0.1536, 0.05186, 0.03878, 0.02503], rel=2e-3)
