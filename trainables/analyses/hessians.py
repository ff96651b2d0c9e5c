"""Hessians of linear systems at their optimum, in float64 on the host.

See docs/specs/zucchet2024.md, 5.4 and 5.5. Condition numbers reach 10^11, so that float32 shows
nothing; systems are small, so that NumPy suffices. What is drawn comes from a static key.
Shapes are suffixed: T time steps, P parameters, n units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from trainables.analyses import closed_forms
from trainables.core.engine import Analysis, SharedColumns, State
from trainables.core.hparams import constants
from trainables.declarations import Trial

_CORRELATIONS = (0.0, 0.9, 0.99, 0.999, 1.0)
TARGETS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""1 - lambda of the units to learn."""
_PAIRS = 2
"""Conjugate pairs of the order-4 teacher."""
_DELTA = 0.01
"""Of every state of the S4-like layer."""


class Drawn(Analysis):
    """An analysis whose rows are all found when it is built."""

    def epoch(
        self, state: State, values: Mapping[str, jax.Array], epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        return state, {"probes": {name: {} for name in self.shared_columns}}


class CouplingMap(Drawn):
    """Stage `coupling`: |S(l, l0, rho)| over the unit disk, l0 = .99 exp(i pi / 4) (figure 8)."""

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        points = int(config["map_points"])
        modulus = 1 - np.geomspace(1, 1e-2, points)
        phase = np.linspace(-np.pi, np.pi, 2 * points + 1)
        r, t, rho = (v.ravel() for v in np.meshgrid(modulus, phase, _CORRELATIONS, indexing="ij"))
        lam, own = r * np.exp(1j * t), 0.99 * np.exp(1j * np.pi / 4)
        size = np.abs(closed_forms.coupling(lam, own, rho, bool(config["compat_coupling"])))
        columns = {"modulus": r, "phase": t, "rho": rho, "size": size}
        self.shared_columns: Mapping[str, SharedColumns] = {"coupling": columns}


class UnitLoss(Drawn):
    """Stage `unit_loss`: loss of a real unit that learns another, for targets of growing memory
    (figures 1 and 6), and the curvature at the optimum by parametrization."""

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        targets, points = 1 - np.array(TARGETS), int(config["map_points"])
        near = 1 - np.geomspace(1, 1e-3, points)
        students = np.concatenate([-near[:0:-1], near])
        s, lam = (v.ravel() for v in np.meshgrid(targets, students, indexing="ij"))
        at = closed_forms.curvatures(targets, np.full(len(targets), np.pi / 100))
        self.shared_columns: Mapping[str, SharedColumns] = {
            "unit_loss": {
                "target": s,
                "student": lam,
                "loss": closed_forms.student_loss(lam, s),
                "normalised_loss": closed_forms.normalised_loss(lam, s),
            },
            "unit_curvature": {
                "target": np.tile(targets, len(at)),
                "form": np.repeat(np.array(list(at), object), len(targets)),
                "curvature": np.concatenate(list(at.values())),
            },
        }


def spectrum_columns(hessian: np.ndarray) -> dict[str, float]:
    """Top eigenvalue, condition number, and the share of the squared entries off the diagonal of
    2 x 2 blocks (Re, Im) of each unit."""
    values = np.abs(np.linalg.eigvalsh(hessian))
    n = len(hessian) // 2
    own = np.tile(np.eye(n, dtype=bool), (2, 2))
    return {
        "top": float(values.max()),
        "condition": float(values.max() / values.min()),
        "off_diagonal": float(np.sum(hessian[~own] ** 2) / np.sum(hessian**2)),
    }


def matrix_columns(hessian: np.ndarray, blocks: list[str]) -> dict[str, np.ndarray]:
    """Rows of probe `hessian_matrix`: every entry, with what its parameters are part of."""
    size, names = len(hessian), np.array(blocks, object)
    row, column = (v.ravel().astype(np.int32) for v in np.indices((size, size)))
    return {
        "parameter": row,
        "other": column,
        "block": names[row],
        "other_block": names[column],
        "value": hessian.ravel(),
    }


class DiagonalHessian(Drawn):
    """Stage `diagonal_hessian`: spectra for eigenvalues in a narrow ring and sector (figure 10).

    Ten units, uniform over the ring's area: moduli in [.99, .995], phases in [-theta0, theta0].
    Weights b c with b and c complex normal of variance 1; inputs are correlated.
    """

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        units, spread = int(config["hessian_units"]), float(config["sector"])
        rows: dict[str, list[float]] = {}
        for draw in range(int(config["draws"])):
            rng = np.random.default_rng([int(config["draw_seed"]), draw])
            lam = np.sqrt(rng.uniform(0.99**2, 0.995**2, units))
            lam = lam * np.exp(1j * rng.uniform(-spread, spread, units))
            b, c = (rng.normal(size=(2, units, 2)) @ np.array([1, 1j])) / np.sqrt(2)
            hessian = closed_forms.diagonal_hessian(
                lam, b * c, float(config["input_rho"]), bool(config["compat_coupling"])
            )
            if draw == 0:
                blocks = ["Re λ"] * units + ["Im λ"] * units
                matrix = matrix_columns(hessian, blocks)
            for name, value in {"draw": draw, **spectrum_columns(hessian)}.items():
                rows.setdefault(name, []).append(value)
        columns = {name: np.array(found) for name, found in rows.items()}
        columns["draw"] = columns["draw"].astype(np.int32)
        self.shared_columns: Mapping[str, SharedColumns] = {
            "diagonal_hessian": columns,
            "hessian_matrix": matrix,
        }


# ---- 5.5: one system in several coordinates ----------------------------------------------------


def drawn_system(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """(eigenvalues, eigenvectors V, B, C, D) of an order-4 system of two conjugate pairs, moduli
    .99 + .003 U, phases 2 pi U. V is the inverse of a matrix whose first rows are complex normal,
    of variance 1/8 a part, and whose last are their conjugates."""
    n = 2 * _PAIRS
    half = rng.normal(size=(_PAIRS, n, 2)) @ np.array([1, 1j]) / np.sqrt(2 * n)
    lam = (0.99 + 0.003 * rng.uniform(size=_PAIRS)) * np.exp(2j * np.pi * rng.uniform(size=_PAIRS))
    b, c = rng.normal(size=n), rng.normal(size=n) / np.sqrt(n)
    vectors = np.linalg.inv(np.concatenate([half, half.conj()]))
    return np.concatenate([lam, lam.conj()]), vectors, b, c, rng.normal(size=1)


def dense_jacobian(a: np.ndarray, b: np.ndarray, c: np.ndarray, length: int) -> np.ndarray:
    """dk/d(A, B, C, D), (T, n^2 + 2n + 1), of k_t = C A^t B + D at t = 0."""
    n = len(a)
    powers = [np.eye(n)]
    for _ in range(length - 1):
        powers.append(powers[-1] @ a)
    left, right = (np.stack([c @ p for p in powers]), np.stack([p @ b for p in powers]))
    by_a = np.zeros((length, n, n))
    for t in range(1, length):  # dA^t = sum over s of A^s dA A^(t-1-s)
        by_a[t] = left[:t].T @ right[:t][::-1]
    by_d = (np.arange(length) == 0).astype(float)[:, None]
    return np.concatenate([by_a.reshape(length, -1), left, right, by_d], 1)


def diagonal_jacobian(
    lam: np.ndarray, b: np.ndarray, c: np.ndarray, length: int, form: str
) -> np.ndarray:
    """dk/d(parameters) of k_t = Re(sum c lam^t b) + D at t = 0, (T, P).

    `form`: complex (Re and Im of lam, b, c: P = 6n + 1), lru (log-log modulus, log phase and a
    learned log gamma whose factor is part of b: 7n + 1), s4 (a Delta of .01 for each state, A and
    Delta B: 7n + 1).
    """
    t = np.arange(length)[:, None]
    power = lam**t
    slope = c * b * np.where(t > 0, t * lam ** np.maximum(t - 1, 0), 0)
    parts = [power * c, 1j * power * c, power * b, 1j * power * b]
    if form == "complex":
        parts += [slope, 1j * slope]
    elif form == "lru":
        gamma = np.sqrt(1 - np.abs(lam) ** 2)
        theta = np.angle(lam) % (2 * np.pi)
        parts = [parts[0] * gamma, parts[1] * gamma, *parts[2:]]
        parts += [slope * lam * np.log(np.abs(lam)), slope * 1j * theta * lam, power * c * b]
    else:
        step = _DELTA
        a = (np.log(np.abs(lam)) + 1j * (np.angle(lam) % (2 * np.pi))) / step
        rise = -np.expm1(-step)  # d softplus / d raw, at softplus(raw) = step
        parts = [parts[0] * step, parts[1] * step, *parts[2:]]
        parts += [slope * lam * step, slope * lam * 1j * step]
        parts += [(slope * lam * a + power * c * b / step) * rise]
    by_d = (t == 0).astype(float)
    return np.concatenate([*(p.real for p in parts), by_d], 1)


_VECTORS = 4
"""Eigenvectors that are kept entry by entry."""


def parameter_blocks(form: str) -> list[str]:
    """What each parameter of `dense_jacobian` or `diagonal_jacobian` is part of, in their order."""
    n = 2 * _PAIRS
    if form == "rnn":
        return ["A"] * n * n + ["B"] * n + ["C"] * n + ["D"]
    own = {"complex": ("Re λ", "Im λ"), "lru": ("ν", "θ", "γ"), "s4": ("Re A", "Im A", "Δ")}
    return [name for name in ("B", "B", "C", "C", *own[form]) for _ in range(n)] + ["D"]


def participation(vectors: np.ndarray) -> np.ndarray:
    """1 / sum v_i^4 of each unit column: how many coordinates it is spread over."""
    return 1 / np.sum(vectors**4, 0)


def optimal_hessian(seed: int, draw: int, form: str, length: int) -> np.ndarray:
    """The population Hessian J' diag((T - t)/T) J at zero loss, (P, P), of a drawn system."""
    lam, v, b, c, _ = drawn_system(np.random.default_rng([seed, draw]))
    inverse = np.linalg.inv(v)
    if form == "rnn":
        a = ((v * lam) @ inverse).real
        jacobian = dense_jacobian(a, b, c, length)
    else:
        jacobian = diagonal_jacobian(lam, inverse @ b, c @ v, length, form)
    weight = (length - np.arange(length)) / length
    return jacobian.T @ (weight[:, None] * jacobian)


class OptimalHessian(Drawn):
    """Stage `optimal_hessian`: eigenvalues and participation ratios, one system in the coordinates
    of a dense RNN, a complex diagonal layer, an LRU or an S4-like layer (figures 4 and 9)."""

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        seed, form = int(config["draw_seed"]), str(config["coordinates"])
        rows: dict[str, list[np.ndarray]] = {}
        for draw in range(int(config["draws"])):
            hessian = optimal_hessian(seed, draw, form, int(config["hessian_steps"]))
            found, vectors = np.linalg.eigh(hessian)
            order = np.argsort(-found)
            if draw == 0:
                blocks = parameter_blocks(form)
                matrix = matrix_columns(hessian, blocks)
                first = vectors[:, order[:_VECTORS]].T
                kept = {
                    "rank": np.repeat(np.arange(_VECTORS, dtype=np.int32), len(found)),
                    "eigenvalue": np.repeat(found[order[:_VECTORS]], len(found)),
                    "parameter": np.tile(np.arange(len(found), dtype=np.int32), _VECTORS),
                    "block": np.tile(np.array(blocks, object), _VECTORS),
                    "value": first.ravel(),
                }
            columns = {
                "draw": np.full(len(found), draw, np.int32),
                "rank": np.arange(len(found), dtype=np.int32),
                "eigenvalue": found[order],
                "participation": participation(vectors[:, order]),
            }
            for name, column in columns.items():
                rows.setdefault(name, []).append(column)
        self.shared_columns: Mapping[str, SharedColumns] = {
            "optimal_hessian": {name: np.concatenate(found) for name, found in rows.items()},
            "hessian_matrix": matrix,
            "hessian_vectors": kept,
        }
