"""The feed-forward network of study `herranz2023` as a Flax NNX module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from trainables.core.activations import ACTIVATIONS
from trainables.core.layout import LayerOutput, Slot
from trainables.core.random_keys import named_key
from trainables.declarations import Sizes
from trainables.models.named_init import named_init


def drawn(key: jax.Array, scheme: str, shape: tuple[int, ...]) -> jax.Array:
    """Weights (out, in) or, each layer drawn on its own, (layers, out, in), as `named_init` says
    of the scheme."""
    if 0 in shape:
        return jnp.zeros(shape)
    return named_init(scheme, stacked=len(shape) == 3)(key, shape)


def slope_at_input(z: jax.Array, activation: str) -> jax.Array:
    """The activation's derivative at every entry of z."""
    return jax.jvp(ACTIVATIONS[activation], (z,), (jnp.ones_like(z),))[1]


class FeedForward(nnx.Module):
    """z_0 = W_0 x + b_0, z_l = W_l act(z_{l-1}) + b_l, logits = W_out act(z_{L-1}) + b_out.

    The input is flattened. Layer 0 differs in its fan-in, so its matrix `w_in` stands alone; `w`
    (L - 1, H, H) and `b` (L, H) are stacked, and one compiled layer serves every depth.
    """

    def __init__(
        self, sizes: Sizes, depth: int, width: int, activation: str, init: str, rngs: nnx.Rngs
    ):
        self.depth, self.activation = depth, activation
        key = rngs.params()
        inputs = sizes.seq_len * sizes.features
        self.w_in = nnx.Param(drawn(named_key(key, "w_in"), init, (width, inputs)))
        self.w = nnx.Param(drawn(named_key(key, "w"), init, (depth - 1, width, width)))
        self.b = nnx.Param(jnp.zeros((depth, width)))
        self.w_out = nnx.Param(drawn(named_key(key, "w_out"), init, (sizes.classes, width)))
        self.b_out = nnx.Param(jnp.zeros(sizes.classes))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits (B, classes) of x (B, T, features)."""
        top_BH, _ = self._run(x)
        return ACTIVATIONS[self.activation](top_BH) @ self.w_out[...].T + self.b_out[...]

    def preactivations(self, x: jax.Array) -> jax.Array:
        """z of every hidden layer, (L, B, H)."""
        return self._run(x)[1]

    def outputs_by_layer(self, x: jax.Array) -> tuple[LayerOutput, ...]:
        """Of a call: z of every hidden layer, the lowest first, and the logits."""
        layers = enumerate(self.preactivations(x))
        found = [LayerOutput(f"dense.{layer}", z, timed=False) for layer, z in layers]
        return (*found, LayerOutput("readout", self(x), timed=False))

    def _run(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        act, b_LH = ACTIVATIONS[self.activation], self.b[...]

        def layer(z_BH: jax.Array, own: Any) -> tuple[jax.Array, jax.Array]:
            w, b = own
            z_BH = act(z_BH) @ w.T + b
            return z_BH, z_BH

        first_BH = x.reshape(len(x), -1) @ self.w_in[...].T + b_LH[0]
        top_BH, above_LBH = lax.scan(layer, first_BH, (self.w[...], b_LH[1:]))
        return top_BH, jnp.concatenate([first_BH[None], above_LBH])

    def slots(self) -> tuple[Slot, ...]:
        """Weight and bias of each layer, then the readout's."""
        found = []
        for layer in range(self.depth):
            name = f"dense.{layer}"
            first = Slot("w_in", None, 0, name, "w")
            found.append(Slot("w", layer - 1, layer, name, "w") if layer else first)
            found.append(Slot("b", layer, layer, name, "b"))
        found.append(Slot("w_out", None, self.depth, "readout", "w"))
        found.append(Slot("b_out", None, self.depth, "readout", "b"))
        return tuple(found)


def ffn(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> FeedForward:
    """Builds model `ffn` of `trainables.declarations.models.feedforward`."""
    shape = config["depth"], config["width"], config["activation"], config["init"]
    return FeedForward(sizes, *shape, rngs)
