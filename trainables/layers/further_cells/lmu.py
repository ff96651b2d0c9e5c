"""The Legendre Memory Unit (Voelker, Kajic and Eliasmith, NeurIPS 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import initializers

from trainables.core.random_keys import named_key
from trainables.declarations import Sizes
from trainables.layers.gated import Params, Role


@cache
def legendre_memory(order: int, window: float) -> tuple[np.ndarray, np.ndarray]:
    """(A (d, d), B (d,)) of m' = A m + B u, float64: m holds the coefficients of the last `window`
    steps of u in the first d Legendre polynomials.

    u(t - s) is near sum_i P_i(2 s / window - 1) m_i (their equation 3). The step from t to t + 1
    holds u constant: A = exp(A_c) and B = A_c^-1 (A - I) B_c of their equations 1 and 2.
    """
    row, column = np.meshgrid(np.arange(order), np.arange(order), indexing="ij")
    signs = np.where(row < column, -1.0, (-1.0) ** (row - column + 1))
    continuous = (2 * row + 1) * signs / window
    drive = (2 * np.arange(order) + 1) * (-1.0) ** np.arange(order) / window
    # exp of the two together, by scaling and squaring a series that has then converged.
    both = np.zeros((order + 1, order + 1))
    both[:order, :order], both[:order, order] = continuous, drive
    halvings = max(0, int(np.ceil(np.log2(max(np.linalg.norm(both, 1), 1e-9)))) + 6)
    small = both / 2**halvings
    found = term = np.eye(order + 1)
    for n in range(1, 13):
        term = term @ small / n
        found = found + term
    for _ in range(halvings):
        found = found @ found
    return found[:order, :order], found[:order, order]


@dataclass(frozen=True)
class LMU:
    """u = e_x x + e_h h + e_m m;  m' = A m + B u;  h' = tanh(W_x x + W_h h + W_m m'); state (h, m).

    A and B are not trained. W are Glorot-normal, e_x and e_h Lecun-uniform, e_m is 0.

    Attributes:
      order: d, numbers of m.
      window: time steps that m remembers.
    """

    units: int
    order: int
    window: float

    @property
    def state_size(self) -> int:
        return self.units + self.order

    @property
    def output_size(self) -> int:
        return self.units

    def init(self, key: jax.Array, features: int) -> dict[str, jax.Array]:
        glorot, lecun = initializers.glorot_normal(), initializers.lecun_uniform(-1, -2)
        shapes = {"w_ih": features, "w_hh": self.units, "w_mh": self.order}
        found = {
            name: glorot(named_key(key, name), (self.units, size)) for name, size in shapes.items()
        }
        for name, size in (("e_x", features), ("e_h", self.units)):
            found[name] = lecun(named_key(key, name), (1, size))[0]
        return {**found, "e_m": jnp.zeros(self.order)}

    def roles(self) -> dict[str, Role]:
        recurrent: dict[str, Role] = {"w_hh": "recurrent", "e_h": "recurrent", "e_m": "recurrent"}
        return {"w_ih": "input", "e_x": "input", "w_mh": "none", **recurrent}

    def drive(self, params: Params, x: jax.Array) -> jax.Array:
        return jnp.concatenate([x @ params["w_ih"].T, (x @ params["e_x"])[..., None]], -1)

    def advance(self, params: Params, state: jax.Array, drive: jax.Array) -> jax.Array:
        h, m = state[..., : self.units], state[..., self.units :]
        a, b = (jnp.asarray(x, state.dtype) for x in legendre_memory(self.order, self.window))
        u = drive[..., -1] + h @ params["e_h"] + m @ params["e_m"]
        m = m @ a.T + u[..., None] * b
        h = jnp.tanh(drive[..., :-1] + h @ params["w_hh"].T + m @ params["w_mh"].T)
        return jnp.concatenate([h, m], -1)

    def output(self, params: Params, state: jax.Array) -> jax.Array:
        return state[..., : self.units]


def lmu(units: int, config: Mapping[str, Any], sizes: Sizes) -> LMU:
    """The cell of model `lmu`; its memory lasts a sequence unless `lmu_window` says otherwise."""
    return LMU(units, int(config["lmu_order"]), float(config["lmu_window"] or sizes.seq_len))
