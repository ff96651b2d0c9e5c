"""Residual blocks of a recurrent layer between two dense maps: the deep network whose signals study
`zucchet2024` (section 1.4, figure 5) propagates.

    a -> norm -> recurrent layer -> gelu -> norm -> (W a) sig(V a), added to a

Blocks are alike, so their tensors are stacked along a leading axis of L layers. Shapes are
suffixed: T time, B batch, H units, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.nn import initializers

from trainables.core.layout import Slot
from trainables.core.random_keys import named_key
from trainables.core.variables import Tensors
from trainables.declarations import Sizes
from trainables.declarations.models.deep_nets import BLOCK_TENSORS
from trainables.layers.chrono_gru import ChronoGRU
from trainables.layers.eigenvalue_init import diagonal_tensors
from trainables.layers.lru import LruCell, Params
from trainables.layers.tap import tap

_EPSILON = 1e-6
"""Added to the variance in norms."""

Init = Callable[[jax.Array], Params]
Run = Callable[[Params, jax.Array, "jax.Array | None"], jax.Array]


def recurrent_layer(cell: str, width: int, memory: Any, scales: tuple[Any, Any],
                    scan_mode: str) -> tuple[Init, Run]:  # fmt: skip
    """(init, run) of a block's recurrent layer, `width` in and out.

    A memory of t time steps is a ring of moduli [1 - 1/t, 1 - 1/(2t)] for `lru` and `complex` (an
    LRU with a learned gamma, and a complex diagonal layer without one), and T in [t, 2t] for `gru`.

    Args:
      scales: of a GRU's input and recurrent kernels.
    """
    if cell == "gru":
        gru = ChronoGRU(width)

        def gru_run(w: Params, x_TBH: jax.Array, gauges: jax.Array | None) -> jax.Array:
            if gauges is None:
                return gru.run(w, x_TBH)

            def step(h: jax.Array, now: Any) -> tuple[jax.Array, jax.Array]:
                h = tap(gru.advance(w, h, now[0]), now[1])
                return h, h

            drive = gru.drive(w, x_TBH)
            return lax.scan(step, jnp.zeros_like(drive[0, :, 0]), (drive, gauges))[1]

        return lambda key: gru.init(key, width, (memory, 2 * memory), *scales), gru_run
    spectrum, gamma = ("exp", "log") if cell == "lru" else ("cartesian", "none")
    bounds = 1 - 1 / memory, 1 - 1 / (2 * memory), jnp.pi
    unit = LruCell(width, width, spectrum, gamma)

    def run(w: Params, x_TBH: jax.Array, gauges: jax.Array | None) -> jax.Array:
        drive = unit.drive(w, x_TBH)
        if gauges is not None:
            drive = jax.vmap(tap)(drive, gauges)
        return unit.output(w, unit.states(w, drive, scan_mode), x_TBH)

    return lambda key: diagonal_tensors(key, (width, width, width), spectrum, gamma, bounds), run


def normalised(w: Params, a_TBH: jax.Array, norm: str) -> jax.Array:
    """Mean 0 and variance 1 over units ("layer") or over time and batch ("batch", whose statistics
    are the batch's own in evaluation too), scaled and shifted; the input itself for "none"."""
    if norm == "none":
        return a_TBH
    axes = (-1,) if norm == "layer" else (0, 1)
    centred = a_TBH - jnp.mean(a_TBH, axes, keepdims=True)
    variance = jnp.mean(centred**2, axes, keepdims=True)
    return centred * lax.rsqrt(variance + _EPSILON) * w["norm_scale"] + w["norm_bias"]


def block(run: Run, norm: str, w: Params, a_TBH: jax.Array, gauges: Any) -> jax.Array:
    """One block; both norms share their scale and bias, as published."""
    y = jax.nn.gelu(run(w, normalised(w, a_TBH, norm), gauges))
    y = normalised(w, y, norm)
    gate = jax.nn.sigmoid(y @ w["w_gate"].T + w["b_gate"])
    return a_TBH + gate * (y @ w["w_value"].T + w["b_value"])


class DeepNet(nnx.Module):
    """A dense encoder, L blocks and a dense decoder; outputs at every step, states from 0.

    Attributes:
      depth: number of blocks L.
      blocks: their tensors, each with a leading axis of L.
    """

    def __init__(
        self, sizes: Sizes, depth: int, width: int, layer: tuple[Init, Run], norm: str,
        cell: str, rngs: nnx.Rngs,
    ):  # fmt: skip
        self.depth, self.norm, self.cell, self.features = depth, norm, cell, sizes.features
        init, self.run = layer
        key, lecun = rngs.params(), initializers.lecun_normal(in_axis=-1, out_axis=-2)

        def one(key: jax.Array) -> Params:
            tensors = {"norm_scale": jnp.ones(width), "norm_bias": jnp.zeros(width)}
            tensors = (tensors if norm != "none" else {}) | init(named_key(key, "layer"))
            for name in ("gate", "value"):
                tensors[f"w_{name}"] = lecun(named_key(key, name), (width, width))
                tensors[f"b_{name}"] = jnp.zeros(width)
            return tensors

        def dense(name: str, rows: int, columns: int) -> Tensors:
            return Tensors({"w": lecun(named_key(key, name), (rows, columns)),
                            "b": jnp.zeros(rows)})  # fmt: skip

        self.encoder = dense("encoder", width, sizes.features)
        self.blocks = Tensors(
            jax.vmap(one)(jnp.stack([named_key(key, "block", i) for i in range(depth)]))
        )
        self.decoder = dense("decoder", sizes.classes, width)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Outputs (B, T, O) of x (B, T, I), or of tokens (B, T) read as unit vectors."""
        return self._run(x, None)[0]

    def tapped(self, x: jax.Array, gauges: jax.Array) -> jax.Array:
        """As a call, with a `tap` on every state; gauges has shape (L, T)."""
        return self._run(x, gauges)[0]

    def whole(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Outputs (B, T, O), and what each block hands on, (L, T, B, H)."""
        return self._run(x, None)

    def _run(self, x: jax.Array, gauges_LT: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        if x.ndim == 2:
            x = jax.nn.one_hot(x, self.features)
        below, above = self.encoder.values(), self.decoder.values()
        a_TBH = jnp.swapaxes(x, 0, 1) @ below["w"].T + below["b"]

        def layer(a: jax.Array, own: Any) -> tuple[jax.Array, jax.Array]:
            a = block(self.run, self.norm, own[0], a, own[1])
            return a, a

        top, levels = lax.scan(layer, a_TBH, (self.blocks.values(), gauges_LT))
        return jnp.swapaxes(top @ above["w"].T + above["b"], 0, 1), levels

    def slots(self) -> tuple[Slot, ...]:
        """The encoder as layer -1, the blocks from 0, the decoder last."""
        found = [Slot(f"encoder/{t}", None, -1, "encoder", t) for t in ("w", "b")]
        names = [t for t in BLOCK_TENSORS[self.cell] if t in self.blocks.names]
        for i in range(self.depth):
            found += [Slot(f"blocks/{t}", i, i, f"block.{i}", t) for t in names]
        found += [Slot(f"decoder/{t}", None, self.depth, "decoder", t) for t in ("w", "b")]
        return tuple(found)


def deep_recurrent(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> DeepNet:
    """Builds model `deep_recurrent`; memory and scales are traced."""
    cell, scales = config["deep_cell"], (config["scale_x"], config["scale_h"])
    layer = recurrent_layer(cell, config["width"], config["memory"], scales, config["scan_mode"])
    return DeepNet(sizes, config["depth"], config["width"], layer, config["norm"], cell, rngs)
