"""A GRU whose update gates start with given memories ("chrono" initialisation).

    r = sig(W_r x + b_r + U_r h),  z = sig(W_z x + b_z + U_z h)
    n = tanh(W_n x + b_n + r (U_n h + c)),  h' = (1 - z) n + z h

docs/specs/zucchet2024.md, 1.4. b_z = log T with T uniform in a range, so that z = T / (1 + T) at
zero input, and a state is forgotten in some T steps (Tallec and Ollivier, arXiv 1804.11188).

Shapes are suffixed: T time, B batch, H units, I inputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.nn import initializers

from trainables.core.random_keys import named_key
from trainables.layers.lru import Params
from trainables.layers.tap import tap
from trainables.layers.weight_init import orthogonal


@dataclass(frozen=True)
class ChronoGRU:
    """One layer as pure functions of its tensors; three gates' tensors are stacked, r, z, n.

    Attributes:
      simple: n is W x, without bias, tanh or reset; with scales of 0 the layer is then exactly a
        diagonal linear recurrence.
    """

    width: int
    simple: bool = False
    float32_tensors: ClassVar[tuple[str, ...]] = ("b_ih",)

    def init(
        self, key: jax.Array, features: int, memory: tuple[Any, Any], scale_x: Any, scale_h: Any
    ) -> Params:
        """Tensors by name.

        Args:
          memory: T_min and T_max, in time steps.
          scale_x: input kernels are N(0, 2 scale_x / fan in); the simple n has Lecun's variance.
          scale_h: factor of the orthogonal recurrent kernels.
        """
        width, std = self.width, jnp.sqrt(2 * scale_x / features)
        w = std * jax.random.normal(named_key(key, "w_ih"), (3, width, features))
        low, high = memory
        times = low + (high - low) * jax.random.uniform(named_key(key, "memory"), (width,))
        bias = jnp.zeros((3, width)).at[1].set(jnp.log(times))
        if self.simple:
            lecun = initializers.lecun_normal(in_axis=-1, out_axis=-2)
            w = w.at[2].set(lecun(named_key(key, "w_n"), (width, features)))
        u = scale_h * orthogonal(named_key(key, "w_hh"), 3, width)
        return {"w_ih": w, "w_hh": u, "b_ih": bias, "b_hh": jnp.zeros(width)}

    def drive(self, params: Params, x: jax.Array) -> jax.Array:
        """The part of all gates that depends on the input (..., I), shape (..., 3, H)."""
        drive = jnp.einsum("gij,...j->...gi", params["w_ih"], x)
        bias = params["b_ih"]
        return drive + (bias.at[2].set(0) if self.simple else bias)

    def advance(self, params: Params, state: jax.Array, drive: jax.Array) -> jax.Array:
        """The next state (..., H)."""
        back = jnp.einsum("gij,...j->...gi", params["w_hh"], state)
        r, z = (jax.nn.sigmoid(drive[..., g, :] + back[..., g, :]) for g in (0, 1))
        n = drive[..., 2, :]
        if not self.simple:
            n = jnp.tanh(n + r * (back[..., 2, :] + params["b_hh"]))
        return (1 - z) * n + z * state

    def states(self, params: Params, drive_TBGH: jax.Array, gauges_T: Any = None) -> jax.Array:
        """States (T, B, H) of a whole sequence of drives, from zero; with a `tap` on each where
        there are gauges."""

        def step(state: jax.Array, now: Any) -> tuple[jax.Array, jax.Array]:
            drive, gauge = now
            state = self.advance(params, state, drive)
            state = state if gauge is None else tap(state, gauge)
            return state, state

        start = jnp.zeros_like(drive_TBGH[0, :, 0])
        return lax.scan(step, start, (drive_TBGH, gauges_T))[1]

    def run(self, params: Params, x_TBI: jax.Array) -> jax.Array:
        """Outputs, which are the states, (T, B, H) of a whole sequence."""
        return self.states(params, self.drive(params, x_TBI))
