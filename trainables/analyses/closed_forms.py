"""Closed forms of docs/specs/zucchet2024.md, 5: what signals and curvature should be.

NumPy, since analyses compare them with what float32 programs measure. lam is a
recurrence's eigenvalue, rho the correlation of inputs one step apart, R_d = r0 rho^d.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any
"""A number or an array of them, real or complex; functions work elementwise."""

# ---- 5.1: one real unit h_t = lam h_{t-1} + x_t --------------------------------------------------


def state_energy(lam: Array, rho: Array) -> Array:
    """E[h^2] = (1 + rho l) / ((1 - rho l)(1 - l^2)), l = lam, for inputs of variance 1 (Eq 5)."""
    return (1 + rho * lam) / ((1 - rho * lam) * (1 - lam**2))


def sensitivity(lam: Array, rho: Array) -> Array:
    """E[(dh/dl)^2] of the same (paper, Eq 6).

    [(1+l^2)(1-l^2 rho^2) + 2 (1-l^2) l rho] / [(1-l^2)^3 (1-l rho)^2], l = lam
    """
    above = (1 + lam**2) * (1 - (lam * rho) ** 2) + 2 * (1 - lam**2) * lam * rho
    return above / ((1 - lam**2) ** 3 * (1 - lam * rho) ** 2)


def normalised_sensitivity(lam: Array, rho: Array) -> Array:
    """(1 - lam^2) (lam ln lam)^2 E[(dh/dl)^2]: the same after gamma = sqrt(1 - lam^2), by w where
    lam = exp(-exp w); the paper's figure 2 leaves out what gamma itself changes with lam."""
    return (1 - lam**2) * (lam * np.log(lam)) ** 2 * sensitivity(lam, rho)


# ---- 5.2: one complex unit learns another ------------------------------------------------------


def student_loss(lam: Array, s: Array, mean: float = 0.0, variance: float = 1.0) -> Array:
    """Half the mean squared distance of two units of eigenvalues lam and s, white inputs.

    0.5 { m^2 |1/(1-lam) - 1/(1-s)|^2 + v [1/(1-|lam|^2) + 1/(1-|s|^2) - 2 Re 1/(1 - lam conj s)] }
    """
    level = np.abs(1 / (1 - lam) - 1 / (1 - s)) ** 2
    cross = np.real(1 / (1 - lam * np.conj(s)))
    own = 1 / (1 - np.abs(lam) ** 2) + 1 / (1 - np.abs(s) ** 2)
    return 0.5 * (mean**2 * level + variance * (own - 2 * cross))


def normalised_loss(lam: Array, s: Array) -> Array:
    """1 - gamma_l gamma_s Re[1/(1 - l conj s)], gamma = sqrt(1 - |.|^2): both units normalised."""
    gammas = np.sqrt(1 - np.abs(lam) ** 2) * np.sqrt(1 - np.abs(s) ** 2)
    return 1 - gammas * np.real(1 / (1 - lam * np.conj(s)))


def curvatures(nu: Array, theta: Array) -> dict[str, Array]:
    """Second derivatives at the optimum nu exp(i theta), by parametrization.

    raw_nu, raw_theta: of `student_loss` by modulus and phase. The others are of `normalised_loss`:
    nu by itself, exp (nu = exp(-exp w)), opt (nu = tanh w, exactly 1); theta by itself (polar),
    exp (theta = exp w), opt (scaled by the modulus so that it is exactly 1).
    """
    gap = 1 - nu**2
    polar = nu**2 * (1 + nu**2) / gap**2
    return {
        "raw_nu": (1 + nu**2) / gap**3,
        "raw_theta": nu**2 * (1 + nu**2) / gap**3,
        "nu": 1 / gap**2,
        "nu_exp": (nu * np.log(nu) / gap) ** 2,
        "nu_opt": np.ones_like(gap),
        "theta": polar,
        "theta_exp": theta**2 * polar,
        "theta_opt": np.ones_like(gap),
    }


# ---- 5.4: many diagonal units ------------------------------------------------------------------


def correlation(l1: Array, l2: Array, rho: Array) -> Array:
    """f = E[h_1 h_2] = (1 - rho^2 p) / ((1-p)(1 - rho l1)(1 - rho l2)), p = l1 l2."""
    p = l1 * l2
    return (1 - rho**2 * p) / ((1 - p) * (1 - rho * l1) * (1 - rho * l2))


def coupling(l1: Array, l2: Array, rho: Array, compat: bool = False) -> Array:
    """S = d^2 f / dl1 dl2 = E[dh_1/dl1 dh_2/dl2].

    {(1-rho^2)(1+p) + rho^2 (1-p)^3 - rho (1-rho^2) p [2 l1 + 2 l2 - rho p (1+p)]}
        / {(1-rho l1)^2 (1-rho l2)^2 (1-p)^3}

    `compat` has (1 - rho) in place of (1 - rho^2), as the published program: right at 0 and 1 only.
    """
    p, q = l1 * l2, 1 - rho if compat else 1 - rho**2
    above = q * (1 + p) + rho**2 * (1 - p) ** 3 - rho * q * p * (2 * (l1 + l2) - rho * p * (1 + p))
    return above / ((1 - rho * l1) ** 2 * (1 - rho * l2) ** 2 * (1 - p) ** 3)


def diagonal_hessian(lam: Array, w: Array, rho: float, compat: bool = False) -> Array:
    """Hessian (2n, 2n) at the optimum of units lam (n,) of weights w = b c (n,), by Re then Im lam.

    With A = w_i w_j S(l_i, l_j) and B = w_i conj(w_j) S(l_i, conj l_j): rr = Re(A+B)/2,
    ri = Im(-A+B)/2, ir = Im(-A-B)/2, ii = Re(-A+B)/2.
    """
    a = np.outer(w, w) * coupling(lam[:, None], lam[None], rho, compat)
    b = np.outer(w, np.conj(w)) * coupling(lam[:, None], np.conj(lam)[None], rho, compat)
    rows = [[np.real(a + b), np.imag(b - a)], [np.imag(-a - b), np.real(b - a)]]
    return 0.5 * np.block(rows)


# ---- 5.9: a gate's memory ----------------------------------------------------------------------


def gated_correlation(a: Array, b: Array, components: tuple[tuple[float, float], ...]) -> Array:
    """E[h_a h_b] of leaky units h_t = l h_{t-1} + (1 - l) x_t with l = a and b, for inputs whose
    autocorrelation is a sum of r0 rho^d over `components` (r0, rho)."""
    return (1 - a) * (1 - b) * sum(r0 * correlation(a, b, rho) for r0, rho in components)
