"""Recurrent stacks of study `vanishing` as Flax NNX modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from trainables.core.layout import LayerOutput, Slot
from trainables.core.variables import Setting
from trainables.declarations import Sizes
from trainables.layers.dropout import Dropout, drop
from trainables.layers.elman import elman, tapped_elman
from trainables.layers.weight_init import initial


class RecurrentStack(nnx.Module):
    """Stacked Elman layers, logits from the top layer at the last time step.

    h^l_t = activation(W_ih^l x^{l-1}_t + b_ih^l + W_hh^l h^l_{t-1} + b_hh^l), h^l_{-1} = 0.
    Vanilla: x^l = h^l. With skips over depth: x^0 = h^0 and x^l = x^{l-1} + alpha h^l.
    Layer 0 differs in its fan-in, so its input matrix `w_in` stands alone; all other tensors have a
    leading axis of L (`w_ih`: L - 1) layers, and one compiled layer serves every depth.
    """

    def __init__(
        self,
        sizes: Sizes,
        depth: int,
        width: int,
        activation: str,
        init: str,
        rngs: nnx.Rngs,
        alpha: Any = None,
        w_hh_factor: float = 1.0,
        dropout: float = 0.0,
    ):
        """`alpha` None means no skips. The first recurrent matrices are times `w_hh_factor`;
        `dropout` is the share set to 0 of what a layer hands to the next one."""
        self.depth, self.activation = depth, activation
        shapes = {
            "w_in": (width, sizes.features),
            "w_ih": (depth - 1, width, width),
            "w_hh": (depth, width, width),
            "b_ih": (depth, width),
            "b_hh": (depth, width),
            "w_out": (sizes.classes, width),
            "b_out": (sizes.classes,),
        }
        weights = initial(rngs.params(), init, shapes, width)
        self.w_in = nnx.Param(weights["w_in"])
        self.w_ih = nnx.Param(weights["w_ih"])
        scaled = w_hh_factor != 1
        self.w_hh = nnx.Param(w_hh_factor * weights["w_hh"] if scaled else weights["w_hh"])
        self.b_ih = nnx.Param(weights["b_ih"])
        self.b_hh = nnx.Param(weights["b_hh"])
        self.w_out = nnx.Param(weights["w_out"])
        self.b_out = nnx.Param(weights["b_out"])
        self.alpha = None if alpha is None else Setting(jnp.asarray(alpha, jnp.float32))
        self.dropout = Dropout(dropout, rngs) if dropout else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits (B, classes) of x (B, T, features)."""
        return self._run(x, None)[0]

    def tapped(self, x: jax.Array, gauges: jax.Array) -> jax.Array:
        """As a call, with a `tap` on every state; gauges has shape (L, T)."""
        return self._run(x, gauges)[0]

    def outputs_by_layer(self, x: jax.Array) -> tuple[LayerOutput, ...]:
        """Of a call: what each layer hands on, x^l_t, the lowest first."""
        logits, out_LTBH = self._run(x, None)
        layers = [LayerOutput(f"rnn.{layer}", out) for layer, out in enumerate(out_LTBH)]
        return (*layers, LayerOutput("readout", logits, timed=False))

    def _run(self, x: jax.Array, gauges_LT: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        alpha = None if self.alpha is None else self.alpha[...]
        bias_LH = self.b_ih[...] + self.b_hh[...]
        w_hh = self.w_hh[...]

        def states(w: jax.Array, drive: jax.Array, gauges: jax.Array | None) -> jax.Array:
            if gauges is None:
                return elman(self.activation, w, drive)
            return tapped_elman(self.activation, w, drive, gauges)

        drive_TBH = jnp.einsum("btf,hf->tbh", x, self.w_in[...]) + bias_LH[0]
        below_TBH = states(w_hh[0], drive_TBH, None if gauges_LT is None else gauges_LT[0])
        dropout = self.dropout
        key = None if dropout is None else dropout.key()

        def layer(below_TBH: jax.Array, own: Any) -> tuple[jax.Array, jax.Array]:
            w_ih, w_hh, bias, gauges, *keys = own
            x_TBH = below_TBH
            if keys and dropout is not None:
                x_TBH = drop(keys[0], x_TBH, dropout.rate[...])
            h_TBH = states(w_hh, x_TBH @ w_ih.T + bias, gauges)
            out_TBH = h_TBH if alpha is None else below_TBH + alpha.astype(h_TBH.dtype) * h_TBH
            return out_TBH, out_TBH

        gauges = None if gauges_LT is None else gauges_LT[1:]
        masks = () if key is None else (jax.random.split(key, self.depth - 1),)
        stacked = (self.w_ih[...], w_hh[1:], bias_LH[1:], gauges, *masks)
        top_TBH, above_LTBH = lax.scan(layer, below_TBH, stacked)
        logits = top_TBH[-1] @ self.w_out[...].T + self.b_out[...]
        return logits, jnp.concatenate([below_TBH[None], above_LTBH])

    def slots(self) -> tuple[Slot, ...]:
        """Torch's order: per layer w_ih, w_hh, b_ih, b_hh; then the readout."""
        found = []
        for layer in range(self.depth):
            name = f"rnn.{layer}"
            first = Slot("w_in", None, 0, name, "w_ih")
            found.append(Slot("w_ih", layer - 1, layer, name, "w_ih") if layer else first)
            found += [Slot(t, layer, layer, name, t) for t in ("w_hh", "b_ih", "b_hh")]
        found.append(Slot("w_out", None, self.depth, "readout", "w"))
        found.append(Slot("b_out", None, self.depth, "readout", "b"))
        return tuple(found)


def vanilla_rnn(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> RecurrentStack:
    """Builds model `vanilla_rnn` of `trainables.declarations.models.elman_stack`."""
    return _stack(config, sizes, rngs)


def residual_rnn(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> RecurrentStack:
    """Builds model `residual_rnn`; `residual_scale` is traced."""
    return _stack(config, sizes, rngs, config["residual_scale"])


def _stack(
    config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs, alpha: Any = None
) -> RecurrentStack:
    shape = config["depth"], config["width"], config["activation"], config["init"]
    scale, dropout = config.get("w_hh_factor", 1.0), config["dropout"]
    return RecurrentStack(sizes, *shape, rngs, alpha, scale, dropout)
