"""A residual stack of Linear Recurrent Units as one Flax NNX module.

Study `herranz2023`, section 2.3. Blocks are alike, so their tensors are stacked along a leading
axis of L layers: one compiled block serves every depth, and a pretraining picks layers by a traced
index. Shapes: T time, B batch, H units, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from trainables.declarations.models.lru_stack import BLOCK_TENSORS
from trainables.layers.dropout import Dropout, drop
from trainables.layers.lru import LruCell, Params, ring
from trainables.layers.tap import tap

_EPSILON = 1e-3
"""Added to the variance in the norm; Keras' default, which the published layers use."""

Masks = tuple[jax.Array, jax.Array] | None
"""A block's dropout: key and rate; None to drop nothing."""


def block_init(cell: LruCell, key: jax.Array, modulus: jax.Array, phase: jax.Array) -> Params:
    """Tensors of one block by name; the two matrices of the gate are Glorot-uniform."""
    width, glorot = cell.width, initializers.glorot_uniform()
    tensors = {
        "norm_scale": jnp.ones(width),
        "norm_bias": jnp.zeros(width),
        **cell.init(key, width, modulus, phase),
    }
    for name in ("gate", "value"):
        tensors[f"w_{name}"] = glorot(named_key(key, name), (width, width))
        tensors[f"b_{name}"] = jnp.zeros(width)
    return tensors


def normalised(w: Params, a: jax.Array) -> jax.Array:
    """LayerNorm of a block's input (..., H): what its unit reads."""
    centred = a - jnp.mean(a, -1, keepdims=True)
    variance = jnp.mean(centred**2, -1, keepdims=True)
    return centred * lax.rsqrt(variance + _EPSILON) * w["norm_scale"] + w["norm_bias"]


def branch(w: Params, y: jax.Array, masks: Masks) -> jax.Array:
    """gelu, dropout, gated linear unit, dropout: from a unit's output to what the skip adds."""
    y = jax.nn.gelu(y, approximate=False)
    if masks is not None:
        y = drop(named_key(masks[0], "gelu"), y, masks[1])
    y = jax.nn.sigmoid(y @ w["w_gate"].T + w["b_gate"]) * (y @ w["w_value"].T + w["b_value"])
    return y if masks is None else drop(named_key(masks[0], "gate"), y, masks[1])


def block(
    cell: LruCell, mode: str, w: Params, a: jax.Array, masks: Masks, gauges: jax.Array | None
) -> jax.Array:
    """One block over a whole sequence: a (T, B, H) plus what its branch makes of it.

    A tap (`tap`) on the drive of step t reads the total derivative dL/dh_t, since h_t is
    that drive plus lambda h_{t-1}; so it works in either form of the recurrence.
    """
    u = normalised(w, a)
    drive = cell.drive(w, u)
    if gauges is not None:
        drive = jax.vmap(tap)(drive, gauges)
    return a + branch(w, cell.output(w, cell.states(w, drive, mode), u), masks)


def step(cell: LruCell, w: Params, state: jax.Array, a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The block's step form, without dropout: next state (B, S) and output (B, H) of a (B, H)."""
    u = normalised(w, a)
    state = cell.advance(w, state, cell.drive(w, u))
    return state, a + branch(w, cell.output(w, state, u), None)


class LruStack(nnx.Module):
    """Residual LRU blocks between an embedding or adapter and a readout, logits at every step.

    States start from 0 in every batch. Inputs as wide as the blocks enter as they are, others
    through a dense adapter, tokens through an embedding.

    Attributes:
      cell: the unit that all blocks share.
      depth: number of blocks L.
      blocks: their tensors, each with a leading axis of L.
    """

    def __init__(
        self,
        sizes: Sizes,
        depth: int,
        width: int,
        rngs: nnx.Rngs,
        *,
        bounds: tuple[Any, Any, Any] = (0.4, 0.99, 0.314),
        tied: bool = False,
        dropout: Any = 0.0,
        mode: str = "auto",
    ):
        """
        Args:
          sizes: of the task; tied readouts need tokens.
          depth, width: L and H; each unit has 2 H complex states.
          bounds: smallest and largest modulus and largest phase of the first eigenvalues.
          tied: read out by the transposed embedding.
          dropout: rate, a number or a scalar array.
          mode: form of the recurrence, as for `lru.states`.
        """
        self.cell, self.depth, self.mode = LruCell(width, 2 * width), depth, mode
        self.tokens, self.tied = sizes.tokens, tied
        key, glorot = rngs.params(), initializers.glorot_uniform()
        if not tied and (sizes.tokens or sizes.features != width):
            below = {"w": glorot(named_key(key, "input"), self._input_shape(sizes))}
            self.below = Tensors(below if sizes.tokens else {**below, "b": jnp.zeros(width)})
        keys = jnp.stack([named_key(key, "block", layer) for layer in range(depth)])

        def one(key: jax.Array) -> Params:
            drawn = ring(named_key(key, "ring"), self.cell.hidden, "log_uniform", *bounds)
            return block_init(self.cell, key, *drawn)

        self.blocks = Tensors(jax.vmap(one)(keys))
        dense = {"w": glorot(named_key(key, "readout"), (sizes.classes, width))}
        self.readout = Tensors(dense if tied else {**dense, "b": jnp.zeros(sizes.classes)})
        self.dropout = Dropout(dropout, rngs)

    def _input_shape(self, sizes: Sizes) -> tuple[int, int]:
        width = self.cell.width
        return (sizes.features, width) if sizes.tokens else (width, sizes.features)

    def embed(self, x: jax.Array) -> jax.Array:
        """What the lowest block reads, (..., H), of inputs (..., F) or tokens (...)."""
        if self.tokens:
            return (self.readout if self.tied else self.below).values()["w"][x]
        if not hasattr(self, "below"):
            return x
        adapter = self.below.values()
        return x @ adapter["w"].T + adapter["b"]

    def logits(self, h: jax.Array) -> jax.Array:
        """Readout (..., C) of the top block's output (..., H)."""
        w = self.readout.values()
        return h @ w["w"].T if self.tied else h @ w["w"].T + w["b"]

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits (B, T, C) of x (B, T, F) or tokens (B, T)."""
        return self._run(x, None)

    def tapped(self, x: jax.Array, gauges: jax.Array) -> jax.Array:
        """As a call, with a `tap` on every state; gauges has shape (L, T)."""
        return self._run(x, gauges)

    def _run(self, x: jax.Array, gauges_LT: jax.Array | None) -> jax.Array:
        key, rate = self.dropout.key(), self.dropout.rate[...]

        # Recomputing a block in the reverse pass took a quarter of the memory and no more time
        # (L 6, H 128, T 100, B 32, two CPU cores: 69 against 275 MB).
        @jax.checkpoint
        def layer(a: jax.Array, own: Any) -> tuple[jax.Array, None]:
            w, index, gauges = own
            masks = None if key is None else (jax.random.fold_in(key, index), rate)
            return block(self.cell, self.mode, w, a, masks, gauges), None

        a = jnp.swapaxes(self.embed(x), 0, 1)
        stacked = (self.blocks.values(), jnp.arange(self.depth), gauges_LT)
        top, _ = lax.scan(layer, a, stacked)
        return jnp.swapaxes(self.logits(top), 0, 1)

    def slots(self) -> tuple[Slot, ...]:
        """The embedding or adapter as layer -1, the blocks from 0, the readout last."""
        found = []
        if hasattr(self, "below"):
            name = "embedding" if self.tokens else "adapter"
            found += [Slot(f"below/{t}", None, -1, name, t) for t in self.below.names]
        for layer in range(self.depth):
            name = f"lru.{layer}"
            found += [Slot(f"blocks/{t}", layer, layer, name, t) for t in BLOCK_TENSORS]
        names = self.readout.names
        return (*found, *(Slot(f"readout/{t}", None, self.depth, "readout", t) for t in names))


def lru_stack(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> LruStack:
    """Builds model `lru_stack`; dropout and the ring of eigenvalues are traced."""
    return LruStack(
        sizes,
        config["depth"],
        config["width"],
        rngs,
        bounds=(config["r_min"], config["r_max"], config["max_phase"]),
        tied=sizes.tokens and config["readout"] == "tied",
        dropout=config["dropout"],
        mode=config["scan_mode"],
    )
