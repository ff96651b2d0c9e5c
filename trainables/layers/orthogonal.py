"""A recurrent layer whose state matrix stays orthogonal: expRNN (arXiv 1901.08428), dtriv, Cayley.

    h' = modReLU(W_in x + h B),   modReLU(z) = sign(z) max(|z| + b, 0)

with B = base expm(S) or the Cayley transform of S, S = triu(A, 1) - triu(A, 1)', A free: gradient
descent on A never leaves the orthogonal matrices of determinant 1. States are rows, so B acts
from the right. See docs/specs/ribeiro2020.md, 1.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.linalg import expm

from trainables.core.random_keys import named_key
from trainables.declarations import Sizes
from trainables.layers.gated import Params, Role
from trainables.layers.weight_init import orthogonal


def skew(a: jax.Array) -> jax.Array:
    """S = triu(A, 1) - triu(A, 1)' of A (H, H); nothing else of A is read."""
    upper = jnp.triu(a, 1)
    return upper - upper.T


def cayley(s: jax.Array) -> jax.Array:
    """(I + S)^-1 (I - S) of a skew matrix."""
    one = jnp.eye(len(s), dtype=s.dtype)
    return jnp.linalg.solve(one + s, one - s)


def modrelu(z: jax.Array, b: jax.Array) -> jax.Array:
    """sign(z) max(|z| + b, 0): 1-Lipschitz where b <= 0, a jump of 2 b at 0 where b > 0."""
    return jnp.sign(z) * jnp.maximum(jnp.abs(z) + b, 0)


def nearest_orthogonal(matrix: jax.Array) -> jax.Array:
    """U V' of the singular value decomposition U diag V'."""
    u, _, v = jnp.linalg.svd(matrix)
    return u @ v


# ---- first angles ------------------------------------------------------------------------------


def rotations(angles: jax.Array, units: int) -> jax.Array:
    """A (H, H) that is 0 but for A[2k, 2k+1] = angles[k]: expm of its skew part rotates pairs."""
    even = jnp.arange(0, units - 1, 2)
    return jnp.zeros((units, units)).at[even, even + 1].set(angles)


def _special_orthogonal(key: jax.Array, units: int) -> jax.Array:
    q = orthogonal(key, 1, units)[0]
    return q.at[:, 0].multiply(jnp.sign(jnp.linalg.det(q)))


def _haar(key: jax.Array, units: int) -> jax.Array:
    """The logarithm of a matrix uniform over SO(H), skew.

    The symmetric part C of Q has the cosines of its angles as eigenvalues and commutes with the
    skew part K, so log Q = f(C) K with f(c) = arccos(c) / sqrt(1 - c^2).
    """
    q = _special_orthogonal(key, units)
    cosines, u = jnp.linalg.eigh((q + q.T) / 2)
    c = jnp.clip(cosines, -1 + 1e-6, 1 - 1e-6)
    return (u * (jnp.arccos(c) / jnp.sqrt(1 - c**2))) @ u.T @ ((q - q.T) / 2)


def _haar_angles(key: jax.Array, pairs: int, units: int) -> jax.Array:
    q = _special_orthogonal(key, units)
    cosines = jnp.linalg.eigvalsh((q + q.T) / 2)  # each twice, and one 1 where H is odd
    return jnp.arccos(jnp.clip(cosines[: 2 * pairs : 2], -1, 1))


def _normal(limit: float) -> Callable[[jax.Array, int, int], jax.Array]:
    return lambda key, pairs, units: jnp.fmod(jax.random.normal(key, (pairs,)), limit)


def _cayley_angles(key: jax.Array, pairs: int, units: int) -> jax.Array:
    cosine = jnp.cos(jax.random.uniform(key, (pairs,), maxval=math.pi / 2))
    return -jnp.sqrt((1 - cosine) / (1 + cosine))


ANGLES: dict[str, Callable[[jax.Array, int, int], jax.Array]] = {
    "henaff": lambda key, pairs, units: jax.random.uniform(
        key, (pairs,), minval=-math.pi, maxval=math.pi
    ),
    "cayley": _cayley_angles,
    "haar_diag": _haar_angles,
    "normal": _normal(math.pi),
    "normal_squeeze": _normal(math.pi / 8),
}
"""Entries A[2k, 2k+1] by name: U(-pi, pi) (Henaff et al., arXiv 1602.06662); those for which the
Cayley transform turns by U(0, pi/2); angles of a Haar matrix; N(0, 1) modulo pi or pi/8."""


def first_angles(key: jax.Array, init: str, units: int) -> jax.Array:
    """A (H, H) by name: a row of `ANGLES`, or "haar", the logarithm of a Haar matrix."""
    if init == "haar":
        return _haar(key, units)
    return rotations(ANGLES[init](key, units // 2, units), units)


@dataclass(frozen=True)
class OrthogonalCell:
    """One layer of `units`; its state is h, which is also what it hands on.

    Attributes:
      transform: "expm" or "cayley".
      init_angles: row of `ANGLES`, or "haar".
    """

    units: int
    transform: str = "expm"
    init_angles: str = "henaff"
    float32_tensors: ClassVar[tuple[str, ...]] = ("a",)

    @property
    def state_size(self) -> int:
        return self.units

    @property
    def output_size(self) -> int:
        return self.units

    def init(self, key: jax.Array, features: int) -> dict[str, jax.Array]:
        """a (H, H); w_in (H, F) Kaiming-normal, std sqrt(2 / F); b (H,) U(+-.01)."""
        shape = self.units, features
        normal = jax.random.normal(named_key(key, "w_in"), shape)
        return {
            "a": first_angles(named_key(key, "a"), self.init_angles, self.units),
            "w_in": math.sqrt(2 / features) * normal,
            "b": jax.random.uniform(named_key(key, "b"), (self.units,), minval=-0.01, maxval=0.01),
        }

    def roles(self) -> dict[str, Role]:
        return {"a": "none", "w_in": "input", "b": "none"}

    def matrix(self, params: Params) -> jax.Array:
        """B (H, H), orthogonal."""
        s = skew(params["a"])
        turn = expm(s) if self.transform == "expm" else cayley(s)
        return params["base"] @ turn if "base" in params else turn

    def prepared(self, params: Params) -> dict[str, jax.Array]:
        """`params` with B as `turn`, so that a sequence makes it once and not at every step."""
        return {**params, "turn": self.matrix(params)}

    def drive(self, params: Params, x: jax.Array) -> jax.Array:
        return x @ params["w_in"].T

    def advance(self, params: Params, state: jax.Array, drive: jax.Array) -> jax.Array:
        turn = params["turn"] if "turn" in params else self.matrix(params)
        return modrelu(drive + state @ turn, params["b"])

    def output(self, params: Params, state: jax.Array) -> jax.Array:
        return state

    def contraction_bounds(self, params: Params) -> tuple[jax.Array, jax.Array]:
        """(bound of the step's Lipschitz constant, Miller and Hardt's ratio); NaN where unknown."""
        return jnp.where(jnp.max(params["b"]) <= 0, 1.0, jnp.inf), jnp.float32(jnp.nan)


def ornn(units: int, config: Mapping[str, Any], sizes: Sizes) -> OrthogonalCell:
    """The cell of model `ornn`."""
    transform = "cayley" if config["orthogonal_map"] == "cayley" else "expm"
    # The first angles are an init key, which what never draws weights does not know.
    return OrthogonalCell(units, transform=transform, init_angles=config.get("angles", "henaff"))
