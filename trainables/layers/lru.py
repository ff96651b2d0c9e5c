"""The Linear Recurrent Unit: a diagonal complex recurrence between two dense maps.

    h_t = lambda h_{t-1} + gamma (B u_t),   y_t = Re(C h_t) + D u_t,   h_{-1} = 0

(Orvieto et al., arXiv 2303.06349), with `lambda`, `gamma` and D acting elementwise. Every complex
array is a pair of real ones, (real, imaginary): a gradient step on complex leaves would need
conjugated gradients, and the compiled loops over pairs were up to twice as fast (table below).

How eigenvalues are stored, drawn and normalised is data (`SPECTRA`, `MODULI`, `GAMMAS`), so that a
study adds a row rather than a unit. Milliseconds of one forward and reverse pass over (time, batch,
units) on two CPU cores:

    form                     100, 32, 256      300, 64, 512
    scan, pairs                       4.0               137
    scan, complex64                   5.6               160
    associative, pairs               13.9               308
    associative, complex64           32.6               465
    scan, own reverse pass    5.4 to 5.9        185 to 189

A reverse pass of our own (the same recurrence run backwards) is slower than plain differentiation,
so there is none, and both forms can be differentiated in either mode to any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from trainables.core.random_keys import named_key
from trainables.layers.impulse_response import orbit

Array = jax.Array
Pair = tuple[Array, Array]
Params = dict[str, Array]


def times(a: Pair, b: Pair) -> Pair:
    """Elementwise complex product."""
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def polar(modulus: Array, phase: Array) -> Pair:
    """modulus exp(i phase)."""
    return modulus * jnp.cos(phase), modulus * jnp.sin(phase)


def direct(d: Array, u: Array) -> Array:
    """D u of inputs (..., I): d (I,) is a diagonal, d (O, I) a matrix."""
    return d * u if d.ndim == 1 else u @ d.T


def squared_modulus(a: Pair) -> Array:
    return a[0] ** 2 + a[1] ** 2


def scanned(eigenvalues: Pair, drive: Pair) -> Pair:
    """States h_t = lambda h_{t-1} + drive_t from h_{-1} = 0, one step after the other.

    Args:
      eigenvalues: shape (N,).
      drive: shape (T, ..., N).

    Returns:
      h, shape (T, ..., N).
    """

    def step(h: Pair, now: Pair) -> tuple[Pair, Pair]:
        re, im = times(eigenvalues, h)
        h = re + now[0], im + now[1]
        return h, h

    return lax.scan(step, jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), drive), drive)[1]


def associated(eigenvalues: Pair, drive: Pair) -> Pair:
    """As `scanned`, in O(log T) dependent steps.

    The affine maps h -> a h + b compose associatively: (a, b) then (a', b') is (a' a, a' b + b').
    """
    shape = (len(drive[0]), *(1,) * (drive[0].ndim - 2), len(eigenvalues[0]))
    a: Any = tuple(jnp.broadcast_to(part, shape) for part in eigenvalues)

    def compose(first: tuple[Pair, Pair], then: tuple[Pair, Pair]) -> tuple[Pair, Pair]:
        re, im = times(then[0], first[1])
        return times(then[0], first[0]), (re + then[1][0], im + then[1][1])

    return lax.associative_scan(compose, (a, drive))[1]


def diagonal_response(eigenvalues: Pair, drive: Pair, readout: Pair, length: int) -> Array:
    """Re(C lambda^t B) for t = 0..length-1, shape (length, O, I).

    Args:
      eigenvalues: (N,). drive: B, (N, I). readout: C, (O, N).
    """
    one = jnp.ones_like(eigenvalues[0]), jnp.zeros_like(eigenvalues[0])
    powers = orbit(one, eigenvalues, times, times, length)  # (T, N)
    re, im = times((readout[0][:, None], readout[1][:, None]), powers)  # (O, T, N)
    return jnp.einsum("otn,ni->toi", re, drive[0]) - jnp.einsum("otn,ni->toi", im, drive[1])


def states(mode: str, eigenvalues: Pair, drive: Pair) -> Pair:
    """`scanned` or `associated`, by `mode`: "scan", "associative", or "auto".

    "auto" is the sequential form on a CPU, where it was measured to be two to three times as fast,
    and the associative one elsewhere, where dependent steps cost more than arithmetic.

    Raises:
      ValueError: unknown mode.
    """
    if mode == "auto":
        mode = "scan" if jax.default_backend() == "cpu" else "associative"
    if mode not in ("scan", "associative"):
        raise ValueError(f"unknown scan_mode {mode!r}; known: auto, scan, associative")
    return (scanned if mode == "scan" else associated)(eigenvalues, drive)


@dataclass(frozen=True)
class Spectrum:
    """How eigenvalues are stored as two real leaves.

    Attributes:
      names: of the leaves.
      store: (modulus, phase) -> leaves.
      read: leaves -> (real part, imaginary part).
    """

    names: tuple[str, str]
    store: Callable[[Array, Array], Pair]
    read: Callable[[Array, Array], Pair]


def _log_log(modulus: Array) -> Array:
    return jnp.log(-jnp.log(modulus))


def _from_log_log(leaf: Array) -> Array:
    return jnp.exp(-jnp.exp(leaf))


def _read_scaled(nu: Array, theta: Array) -> Pair:
    modulus = _from_log_log(nu)
    return polar(modulus, lax.stop_gradient(1 - modulus) * theta)


SPECTRA: dict[str, Spectrum] = {
    "exp_modulus": Spectrum(
        ("nu", "theta"),
        lambda modulus, phase: (_log_log(modulus), phase),
        lambda nu, theta: polar(_from_log_log(nu), theta),
    ),
    "exp": Spectrum(
        ("nu", "theta"),
        lambda modulus, phase: (_log_log(modulus), jnp.log(phase)),
        lambda nu, theta: polar(_from_log_log(nu), jnp.exp(theta)),
    ),
    "log": Spectrum(
        ("nu", "theta"),
        lambda modulus, phase: (-jnp.log(modulus), phase),
        lambda nu, theta: polar(jnp.exp(-nu), theta),
    ),
    "cartesian": Spectrum(("lambda_re", "lambda_im"), polar, lambda re, im: (re, im)),
    "polar": Spectrum(("modulus", "phase"), lambda modulus, phase: (modulus, phase), polar),
    "scaled_exp": Spectrum(
        ("nu", "theta"),
        lambda modulus, phase: (_log_log(modulus), phase / (1 - modulus)),
        _read_scaled,
    ),
}
"""exp_modulus: |lambda| = exp(-exp nu), phase as it is (docs/specs/herranz2023.md, 2.3). exp: the
phase is exp(theta) (arXiv 2303.06349). log: exp(-nu + i theta), its ablation without stability.
cartesian, polar, scaled_exp: "default", "polar" and "scaled_exp" of docs/specs/zucchet2024.md, 1.1.
Only "log", "cartesian" and "polar" can leave the unit disk."""


def _log_uniform(u: Array, low: Any, high: Any) -> Array:
    least, most = _log_log(jnp.asarray(high)), _log_log(jnp.asarray(low))
    return _from_log_log(least + u * (most - least))


MODULI: dict[str, Callable[[Array, Any, Any], Array]] = {
    "log_uniform": _log_uniform,
    "area": lambda u, low, high: jnp.sqrt(u * (high**2 - low**2) + low**2),
}
"""|lambda| of U[0, 1] and a ring's radii. log_uniform: log(-log |lambda|) is uniform
(docs/specs/herranz2023.md, 2.3); area: uniform over the ring's area (arXiv 2303.06349, lemma
3.2)."""


def ring(key: Array, count: int, law: str, r_min: Any, r_max: Any, max_phase: Any) -> Pair:
    """(modulus, phase), each (count,): moduli in [r_min, r_max] by `MODULI[law]`, phases uniform in
    [0, max_phase)."""
    u = jax.random.uniform(named_key(key, "modulus"), (count,))
    phase = max_phase * jax.random.uniform(named_key(key, "phase"), (count,))
    return MODULI[law](u, r_min, r_max), phase


@dataclass(frozen=True)
class Gamma:
    """The factor on a unit's input, as a function of the eigenvalues or as a leaf of its own.

    Attributes:
      start: eigenvalues -> the leaf's first value; None where nothing is learned.
      read: (eigenvalues, leaf) -> gamma.
    """

    start: Callable[[Pair], Array] | None
    read: Callable[[Pair, Any], Array]


def _unit_variance(lam: Pair) -> Array:
    return jnp.sqrt(1 - squared_modulus(lam))


GAMMAS: dict[str, Gamma] = {
    "log": Gamma(lambda lam: jnp.log(_unit_variance(lam)), lambda lam, leaf: jnp.exp(leaf)),
    "raw": Gamma(_unit_variance, lambda lam, leaf: leaf),
    "L2": Gamma(None, lambda lam, leaf: jnp.sqrt(1 - squared_modulus(lam) + 1e-6)),
    "L1": Gamma(None, lambda lam, leaf: 1 - jnp.sqrt(squared_modulus(lam))),
    "none": Gamma(None, lambda lam, leaf: jnp.ones_like(lam[0])),
}
"""Learned ones start at sqrt(1 - |lambda|^2), which keeps the state's variance at that of a white
input; "L2" and "L1" follow lambda (docs/specs/zucchet2024.md, 1.1)."""


@dataclass(frozen=True)
class LruCell:
    """One layer of `width` real outputs over `hidden` complex units.

    Pure functions of a dict of arrays. The flat real state of a sample is (Re h, Im h), 2 `hidden`
    numbers; the drive of a step likewise. Unlike other cells' the output reads the input too (D u):
    each output its own input where the tensor d is (width,), all of them where it is a matrix.
    """

    width: int
    hidden: int
    spectrum: str = "exp_modulus"
    gamma: str = "log"
    float32_tensors: ClassVar[tuple[str, ...]] = (
        "nu",
        "theta",
        "gamma",
        "lambda_re",
        "lambda_im",
        "modulus",
        "phase",
    )

    @property
    def state_size(self) -> int:
        return 2 * self.hidden

    @property
    def output_size(self) -> int:
        return self.width

    def init(self, key: Array, features: int, modulus: Array, phase: Array) -> Params:
        """Tensors by name, for eigenvalues drawn by the caller, (hidden,) each.

        Re and Im of B (hidden, features) and C (width, hidden) are U(+-sqrt(3 / (fan in + fan
        out))), half of Glorot's variance each; D (width,) is N(0, 1) (docs/specs/herranz2023.md,
        2.3).

        Raises:
          ValueError: D u needs `features` equal to `width`.
        """
        if features != self.width:
            raise ValueError(f"an LRU of width {self.width} reads {self.width} features")
        stored = SPECTRA[self.spectrum]
        tensors = dict(zip(stored.names, stored.store(modulus, phase), strict=True))
        start = GAMMAS[self.gamma].start
        if start is not None:
            tensors["gamma"] = start(polar(modulus, phase))
        bound = math.sqrt(3 / (self.width + self.hidden))
        for name, shape in (("b", (self.hidden, features)), ("c", (self.width, self.hidden))):
            for part in ("re", "im"):
                own = named_key(key, f"{name}_{part}")
                tensors[f"{name}_{part}"] = jax.random.uniform(own, shape, minval=-bound,
                                                               maxval=bound)  # fmt: skip
        tensors["d"] = jax.random.normal(named_key(key, "d"), (self.width,))
        return tensors

    def eigenvalues(self, params: Params) -> Pair:
        stored = SPECTRA[self.spectrum]
        return stored.read(*(params[name] for name in stored.names))

    def moduli(self, params: Params) -> Array:
        """|lambda| of each unit, (hidden,), largest first."""
        return -jnp.sort(-jnp.sqrt(squared_modulus(self.eigenvalues(params))))

    def drive(self, params: Params, u: Array) -> Array:
        """gamma (B u) of inputs (..., width), shape (..., 2 hidden)."""
        gamma = GAMMAS[self.gamma].read(self.eigenvalues(params), params.get("gamma"))
        parts = [gamma * (u @ params[name].T) for name in ("b_re", "b_im")]
        return jnp.concatenate(parts, -1)

    def advance(self, params: Params, state: Array, drive: Array) -> Array:
        """The next state, (B, 2 hidden) each: the step form."""
        re, im = times(self.eigenvalues(params), self._pair(state))
        return jnp.concatenate([re, im], -1) + drive

    def states(self, params: Params, drive: Array, mode: str) -> Array:
        """States (T, ..., 2 hidden) of a whole sequence of drives, from zero."""
        found = states(mode, self.eigenvalues(params), self._pair(drive))
        return jnp.concatenate(found, -1)

    def read(self, params: Params, state: Array) -> Array:
        """Re(C h), shape (..., width); C is real where there is no tensor c_im."""
        re, im = self._pair(state)
        found = re @ params["c_re"].T
        return found - im @ params["c_im"].T if "c_im" in params else found

    def output(self, params: Params, state: Array, u: Array) -> Array:
        """Re(C h) + D u, shape (..., width)."""
        return self.read(params, state) + direct(params["d"], u)

    def impulse(self, params: Params, length: int) -> Array:
        """Response to a unit impulse at step 0, Re(C lambda^t gamma B), and D at t = 0; shape
        (length, width, features), for a matrix D."""
        gamma = GAMMAS[self.gamma].read(self.eigenvalues(params), params.get("gamma"))[:, None]
        drive = gamma * params["b_re"], gamma * params["b_im"]
        return diagonal_response(
            self.eigenvalues(params), drive, (params["c_re"], params["c_im"]), length
        ).at[0].add(params["d"])  # fmt: skip

    def _pair(self, flat: Array) -> Pair:
        return flat[..., : self.hidden], flat[..., self.hidden :]
