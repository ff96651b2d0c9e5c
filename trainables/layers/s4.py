"""The S4-like layer: diagonal state-space models, one for each channel, in continuous time.

    h_t = exp(Delta A) h_{t-1} + Delta B x_t,   y_t = Re(sum_n C h_t) + D x_t,   h_{-1} = 0

with Delta = softplus(raw) a time step that is learned, one for each channel or one for each state
(docs/specs/zucchet2024.md, 1.3). The input term is Euler's, not the exact one of a held input.

Shapes are suffixed: T time, D channels, N states of a channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from trainables.core.random_keys import named_key
from trainables.layers.eigenvalue_init import normal, signed_ring
from trainables.layers.lru import (
    Pair,
    Params,
    diagonal_response,
    polar,
    squared_modulus,
    states,
    times,
)


def inverse_softplus(y: jax.Array) -> jax.Array:
    """log(exp(y) - 1), without overflow for large y or loss of digits for small ones."""
    return y + jnp.log(-jnp.expm1(-y))


@dataclass(frozen=True)
class S4Cell:
    """One layer of `channels` models of `hidden` complex states each.

    The flat real state of a sample is (Re h, Im h), 2 D N numbers, channel after channel.

    Attributes:
      shared: one Delta for each channel; else one for each state of a channel.
    """

    hidden: int
    channels: int = 1
    shared: bool = True
    float32_tensors: ClassVar[tuple[str, ...]] = ("delta", "a_re", "a_im")

    @property
    def state_size(self) -> int:
        return 2 * self.channels * self.hidden

    def init(
        self, key: jax.Array, law: str, bounds: tuple[Any, Any], compat: bool = False
    ) -> Params:
        """Tensors by name.

        Args:
          law: "default": |exp(Delta A)| = nu from a ring's law, A = -1 + 2 pi i U / Delta, so that
            a step turns by 2 pi U; "delta_1": Delta = 1 and A = log nu + 2 pi i U.
          bounds: smallest and largest modulus nu.
          compat: under "default" A's imaginary part is divided by the raw Delta, as published,
            which may be negative and is no time step.
        """
        shape = self.channels, self.hidden
        shared = (self.channels, 1) if self.shared else shape
        turns = 2 * math.pi * jax.random.uniform(named_key(key, "turns"), shape)
        ring = named_key(key, "ring")
        if law == "delta_1":
            nu = signed_ring(ring, math.prod(shape), *bounds, 0.0)[0].reshape(shape)
            raw, a = inverse_softplus(jnp.ones(shared)), (jnp.log(nu), turns)
        else:
            nu = signed_ring(ring, math.prod(shared), *bounds, 0.0)[0].reshape(shared)
            step = -jnp.log(nu)
            raw = inverse_softplus(step)
            a = -jnp.ones(shape), turns / (raw if compat else step)
        tensors = {"delta": raw[:, 0] if self.shared else raw, "a_re": a[0], "a_im": a[1]}
        for name in ("b_re", "b_im", "c_re", "c_im"):
            tensors[name] = normal(named_key(key, name), shape)
        tensors["d"] = jax.random.normal(named_key(key, "d"), shape[:1])
        return tensors

    def _step(self, params: Params) -> jax.Array:
        """Delta, (D, 1) or (D, N)."""
        raw = params["delta"][:, None] if self.shared else params["delta"]
        return jax.nn.softplus(raw)

    def eigenvalues(self, params: Params) -> Pair:
        """exp(Delta A), each part (D N,)."""
        step = self._step(params)
        re, im = polar(jnp.exp(step * params["a_re"]), step * params["a_im"])
        return re.reshape(-1), im.reshape(-1)

    def moduli(self, params: Params) -> jax.Array:
        """|exp(Delta A)|, (D N,), largest first."""
        return -jnp.sort(-jnp.sqrt(squared_modulus(self.eigenvalues(params))))

    def drive(self, params: Params, u: jax.Array) -> jax.Array:
        """Delta B u of inputs (..., D), shape (..., 2 D N)."""
        step = self._step(params)
        parts = [step * params[name] * u[..., None] for name in ("b_re", "b_im")]
        return jnp.concatenate([p.reshape(*u.shape[:-1], -1) for p in parts], -1)

    def advance(self, params: Params, state: jax.Array, drive: jax.Array) -> jax.Array:
        """The next state, (..., 2 D N) each: the step form."""
        re, im = times(self.eigenvalues(params), self._pair(state))
        return jnp.concatenate([re, im], -1) + drive

    def states(self, params: Params, drive: jax.Array, mode: str) -> jax.Array:
        """States (T, ..., 2 D N) of a whole sequence of drives, from zero; see `lru.states`."""
        return jnp.concatenate(states(mode, self.eigenvalues(params), self._pair(drive)), -1)

    def output(self, params: Params, state: jax.Array, u: jax.Array) -> jax.Array:
        """Re(sum over n of C h) + D u, shape (..., D)."""
        re, im = (part.reshape(*u.shape, self.hidden) for part in self._pair(state))
        return jnp.sum(re * params["c_re"] - im * params["c_im"], -1) + params["d"] * u

    def impulse(self, params: Params, length: int) -> jax.Array:
        """Response of each channel to its own impulse, shape (length, D, D), 0 between channels."""
        step = self._step(params)

        def one(re: Any, im: Any, drive: Pair, readout: Pair) -> jax.Array:
            drive = drive[0][:, None], drive[1][:, None]
            readout = readout[0][None], readout[1][None]
            return diagonal_response((re, im), drive, readout, length)[:, 0, 0]

        re, im = (part.reshape(self.channels, -1) for part in self.eigenvalues(params))
        drive = step * params["b_re"], step * params["b_im"]
        found = jax.vmap(one)(re, im, drive, (params["c_re"], params["c_im"]))  # (D, T)
        return jax.vmap(jnp.diag)(found.T).at[0].add(jnp.diag(params["d"]))

    def _pair(self, flat: jax.Array) -> Pair:
        half = self.channels * self.hidden
        return flat[..., :half], flat[..., half:]
