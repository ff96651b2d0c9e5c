"""Linear recurrences whose state matrix is one block, or block-diagonal with one block a head.

    h_t = A h_{t-1} + B x_t,   y_t = C h_t + D x_t,   h_{-1} = 0

See docs/specs/zucchet2024.md, 1.2. Shapes are suffixed: T time, h heads, m units of a head's block,
N = h m, I inputs, O outputs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import initializers

from trainables.core.random_keys import named_key
from trainables.layers.eigenvalue_init import pulled_matrix, signed_ring
from trainables.layers.impulse_response import orbit
from trainables.layers.lru import Pair, Params, direct, polar


@dataclass(frozen=True)
class BlockCell:
    """One linear layer of N = `hidden` real units in `heads` blocks.

    The flat state of a sample has N numbers, head after head; the drive of a step likewise.

    Attributes:
      rotations: blocks are 2 x 2 and of the form [[a, -b], [b, a]], stored as a and b.
    """

    hidden: int
    heads: int
    outputs: int
    rotations: bool = False
    float32_tensors: ClassVar[tuple[str, ...]] = ("a", "lambda_re", "lambda_im")

    @property
    def state_size(self) -> int:
        return self.hidden

    @property
    def block(self) -> int:
        """m, units of a head."""
        return self.hidden // self.heads

    def init(
        self, key: jax.Array, features: int, nu_min: Any, nu_max: Any, max_phase: Any
    ) -> Params:
        """Tensors by name. B, C and D are Lecun normal. A block is N(0, 1) / sqrt(m) with its
        eigenvalues pulled into the unit disk: radius near tanh(1) = .76 whatever the task, since
        the published layers leave the smallest modulus at 0.

        Args:
          nu_min: smallest modulus of the ring that (a, b) of `rotations` are drawn from.
          nu_max: largest modulus.
        """
        lecun = initializers.lecun_normal(in_axis=-1, out_axis=-2)
        own = named_key(key, "a")
        if self.rotations:
            a, b = polar(*signed_ring(own, self.heads, nu_min, nu_max, max_phase))
            tensors = {"lambda_re": a, "lambda_im": b}
        else:
            gaussian = jax.random.normal(own, (self.heads, self.block, self.block))
            gaussian /= math.sqrt(self.block)
            tensors = {"a": pulled_matrix(gaussian, 0.0, nu_max, max_phase)}
        shapes = {
            "b": (self.hidden, features),
            "c": (self.outputs, self.hidden),
            "d": (self.outputs, features),
        }
        return tensors | {n: lecun(named_key(key, n), shape) for n, shape in shapes.items()}

    def matrix(self, params: Params) -> jax.Array:
        """A's blocks, (h, m, m)."""
        if not self.rotations:
            return params["a"]
        a, b = params["lambda_re"], params["lambda_im"]
        return jnp.stack([jnp.stack([a, -b], -1), jnp.stack([b, a], -1)], -2)

    def moduli(self, params: Params) -> jax.Array:
        """|eigenvalue| of each unit, (N,), largest first."""
        return -jnp.sort(-jnp.abs(jnp.linalg.eigvals(self.matrix(params)).reshape(-1)))

    def eigenvalues(self, params: Params) -> Pair:
        """(real part, imaginary part) of each unit's, (N,)."""
        found = jnp.linalg.eigvals(self.matrix(params)).reshape(-1)
        return jnp.real(found), jnp.imag(found)

    def drive(self, params: Params, u: jax.Array) -> jax.Array:
        """B u of inputs (..., I), shape (..., N)."""
        drive = u @ params["b"].T
        own = params["lambda_re" if self.rotations else "a"]
        return drive.astype(jnp.result_type(drive, own))

    def advance(self, params: Params, state: jax.Array, drive: jax.Array) -> jax.Array:
        """The next state, (..., N) each: the step form."""
        h = state.reshape(*state.shape[:-1], self.heads, self.block)
        return jnp.einsum("hij,...hj->...hi", self.matrix(params), h).reshape(state.shape) + drive

    def states(self, params: Params, drive: jax.Array, mode: str) -> jax.Array:
        """States (T, ..., N) of a whole sequence of drives, from zero.

        Args:
          mode: "scan", "associative", or "auto", which is the scan: products of whole matrices make
            the associative form cost m times as much arithmetic.
        """
        if mode != "associative":

            def step(state: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
                state = self.advance(params, state, now)
                return state, state

            return lax.scan(step, jnp.zeros_like(drive[0]), drive)[1]
        a = self.matrix(params)
        length, shape = len(drive), drive.shape
        v = drive.reshape(length, -1, self.heads, self.block)

        def compose(first: Any, then: Any) -> Any:
            moved = jnp.einsum("thij,tbhj->tbhi", then[0], first[1])
            return jnp.einsum("thij,thjk->thik", then[0], first[0]), moved + then[1]

        every = jnp.broadcast_to(a, (length, *a.shape))
        return lax.associative_scan(compose, (every, v))[1].reshape(shape)

    def read(self, params: Params, state: jax.Array) -> jax.Array:
        """C h, shape (..., O)."""
        return state @ params["c"].T

    def output(self, params: Params, state: jax.Array, u: jax.Array) -> jax.Array:
        """C h + D u, shape (..., O)."""
        return self.read(params, state) + direct(params["d"], u)

    def impulse(self, params: Params, length: int) -> jax.Array:
        """C A^t B for t = 0..length-1, and D at t = 0; shape (length, O, I)."""
        rows = params["c"].reshape(self.outputs, self.heads, self.block)
        found = orbit(
            rows,
            self.matrix(params),
            lambda rows, power: jnp.einsum("tohi,hij->tohj", rows, power),
            lambda left, right: left @ right,
            length,
        )
        found = found.reshape(length, self.outputs, self.hidden) @ params["b"]
        return found.at[0].add(params["d"])
