"""A residual stack of recurrent layers as one Flax NNX module, and the models built of it.

An encoder, L residual blocks (`residual_block`), a decoder; states start from 0 in every batch.
Blocks are alike, so their tensors are stacked along a leading axis of L layers: one compiled block
serves every depth. Shapes are suffixed: T time, B batch, H features, N units, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.nn import initializers

from trainables.core.layout import LayerOutput, Slot
from trainables.core.random_keys import named_key
from trainables.core.variables import Setting, Tensors
from trainables.declarations import Sizes
from trainables.layers.dropout import Dropout, drop_channels
from trainables.layers.lru import LruCell, Pair, Params, ring
from trainables.layers.state_dtype import float32_tensors
from trainables.models import residual_start as start
from trainables.models.residual_block import BareBlock, Block, Flow, Norm

Look = Callable[[Params, Flow], Any]
"""(tensors of a block, what passes through it) -> arrays to keep of every block."""


class RunningMoments(nnx.Variable):
    """Running mean and variance of what each block normalises, (L, 2, H)."""


@dataclass(frozen=True)
class Ends:
    """The maps below and above the blocks, and what stored weights call them and the blocks.

    Attributes:
      encoder: "dense"; of tokens "one_hot", the same of unit vectors, or "gathered", the same by
        gather, its matrix transposed, or without bias "embedding", and "tied", by the decoder's
        matrix; or "identity".
      order: axes of what the encoder and what the decoder maps, time or batch first. Their
        gradients are sums in that order, so it belongs to a model's numbers.
      pooling: outputs of the "mean" over time, of the "last" step, or at every step ("none").
      padded: token 0 pads, and is no part of norms, states and pooling.
      below, above: attributes of encoder and decoder; `above` is the decoder's layer too.
      layers: names of the encoder's layer and of the blocks'.
      drawn: name of the key that the encoder starts from.
      bias: tensor of encoder and decoder.
      documents: 2 of pairs of texts, tokens (B, 2, T). Each text runs through the same blocks; the
        decoder reads both pooled vectors, their product and their difference.
    """

    encoder: str
    order: tuple[str, str]
    pooling: str = "none"
    padded: bool = False
    below: str = "encoder"
    above: str = "decoder"
    layers: tuple[str, str] = ("encoder", "block")
    drawn: str = "encoder"
    bias: str = "b"
    documents: int = 1


class ResidualStack(nnx.Module):
    """Outputs (B, T, C) of x (B, T, F) or tokens (B, T); (B, C) where they are pooled, or of pairs
    of texts (B, 2, T).

    Attributes:
      block: what all blocks do.
      depth: number of blocks L.
      blocks: their tensors, each with a leading axis of L.
      first: eigenvalues at initialisation, (2, L, N): real and imaginary parts; of models whose
        probes ask for them.
    """

    first: Setting

    def __init__(
        self, sizes: Sizes, shape: tuple[int, int], block: Block, ends: Ends,
        laws: tuple[start.Init, start.Law], rngs: nnx.Rngs, dropout: Any = None,
    ):  # fmt: skip
        """
        Args:
          shape: L and H.
          laws: what recurrent layers, and dense maps, start from.
          dropout: rate, a number or a scalar array; None for a model without.
        """
        (self.depth, width), (recurrence, dense) = shape, laws
        self.block, self.ends, self.features = block, ends, sizes.features
        self.float32_tensors = float32_tensors(block.cell)
        key, order = rngs.params(), []

        def one(key: jax.Array) -> Params:
            norm = {"norm_scale": jnp.ones(width), "norm_bias": jnp.zeros(width)}
            tensors = ({} if block.norm.kind == "none" else norm) | recurrence(key)
            maps = dense(key, "dense", dict.fromkeys(block.gate, (width, width)))
            for name, matrix in maps.items():
                tensors |= {f"w_{name}": matrix, f"b_{name}": jnp.zeros(width)}
            order[:] = tensors
            return tensors

        read = width if ends.documents == 1 else 4 * width
        shapes = {ends.drawn: (width, sizes.features), ends.above: (sizes.classes, read)}
        if ends.encoder == "embedding":
            shapes[ends.drawn] = sizes.features, width
        elif ends.encoder in ("tied", "identity"):
            del shapes[ends.drawn]
        drawn = dense(key, "ends", shapes)
        if ends.drawn in drawn:
            w = drawn[ends.drawn].T if ends.encoder == "gathered" else drawn[ends.drawn]
            bias = {} if ends.encoder == "embedding" else {ends.bias: jnp.zeros(width)}
            setattr(self, ends.below, Tensors({"w": w, **bias}))
        keys = jnp.stack([named_key(key, "block", layer) for layer in range(self.depth)])
        blocks = jax.vmap(one)(keys)  # which sorts them by name
        self.blocks = Tensors({name: blocks[name] for name in order})
        bias = {} if ends.encoder == "tied" else {ends.bias: jnp.zeros(sizes.classes)}
        setattr(self, ends.above, Tensors({"w": drawn[ends.above], **bias}))
        self.dropout = None if dropout is None else Dropout(dropout, rngs)
        moments = jnp.tile(jnp.stack([jnp.zeros(width), jnp.ones(width)]), (self.depth, 1, 1))
        self.moments = RunningMoments(moments) if block.norm.running else None

    def embed(self, x: jax.Array) -> jax.Array:
        """What the lowest block is given, (..., H), of inputs (..., F) or tokens (...)."""
        kind = self.ends.encoder
        if kind == "identity":
            return x
        w = self.values(self.ends.above if kind == "tied" else self.ends.below)
        if kind in ("dense", "one_hot"):
            of_type = w["w"].dtype
            y = jax.nn.one_hot(x, self.features, dtype=of_type) if kind == "one_hot" else x
            y = y @ w["w"].T
        else:
            y = w["w"][x.astype(jnp.int32)]
        return y + w[self.ends.bias] if self.ends.bias in w else y

    def logits(self, h: jax.Array) -> jax.Array:
        """Outputs (..., C) of the top block's (..., H)."""
        w = self.values(self.ends.above)
        y = h @ w["w"].T
        return y + w[self.ends.bias] if self.ends.bias in w else y

    def values(self, end: str) -> Params:
        """Tensors by name of the encoder or the decoder, given its attribute's name."""
        return getattr(self, end).values()

    def texts(self, x: jax.Array) -> jax.Array:
        """Inputs as the blocks take them: of pairs the first text, then the second, of each."""
        return x if self.ends.documents == 1 else x.reshape(-1, x.shape[-1])

    def __call__(self, x: jax.Array) -> jax.Array:
        return self._run(x)[0]

    def tapped(self, x: jax.Array, gauges: jax.Array) -> jax.Array:
        """As a call, with a `tap` on every state; gauges has shape (L, T)."""
        return self._run(x, gauges)[0]

    def watched(self, x: jax.Array, look: Look) -> tuple[jax.Array, Any]:
        """As a call, and what `look` keeps of each block, with a leading axis of L."""
        return self._run(x, look=look)

    def outputs_by_layer(self, x: jax.Array) -> tuple[LayerOutput, ...]:
        """Of a call: what the encoder, the recurrent layer of each block and the block itself hand
        on, and the decoder's answer."""
        answer, (y_LTBH, out_LTBH) = self.watched(x, lambda w, flow: (flow.y, flow.out))
        (encoder, block), found = self.ends.layers, []
        if self.ends.encoder != "identity":
            found.append(LayerOutput(encoder, jnp.swapaxes(self.embed(self.texts(x)), 0, 1)))
        for layer in range(self.depth):
            blocks = (values[layer] for values in (y_LTBH, out_LTBH))
            found += [LayerOutput(f"{block}.{layer}", values) for values in blocks]
        timed = answer.ndim == 3
        last = jnp.swapaxes(answer, 0, 1) if timed else answer
        return (*found, LayerOutput(self.ends.above, last, timed))

    def eigenvalues(self) -> Pair:
        """(real, imaginary) parts of each linear recurrence's, (L, N)."""
        return jax.vmap(self.block.cell.eigenvalues)(self.blocks.values())

    def state_norms(self, x: jax.Array) -> jax.Array:
        """Root mean square over the batch of |h_t| at the last step of each layer, (L,)."""
        cell, mask = self.block.cell, self._mask(self.texts(x))

        def norm(w: Params, flow: Flow) -> jax.Array:
            drive = cell.drive(w, flow.u)
            last = cell.states(w, drive if mask is None else drive * mask, self.block.mode)[-1]
            return jnp.sqrt(jnp.mean(jnp.sum(last**2, -1)))

        return self.watched(x, norm)[1]

    def _mask(self, x: jax.Array) -> jax.Array | None:
        """1 where tokens (B, T) are no padding, (T, B, 1)."""
        return (x.T != 0).astype(jnp.float32)[..., None] if self.ends.padded else None

    def _run(
        self, x: jax.Array, gauges_LT: Any = None, look: Look | None = None
    ) -> tuple[jax.Array, Any]:
        x = self.texts(x)
        mask, dropout, masks = self._mask(x), self.dropout, None
        if dropout is not None and (key := dropout.key()) is not None:
            masks = key, dropout.rate[...]
        training = masks is not None

        def layer(a: jax.Array, own: Any) -> tuple[jax.Array, Any]:
            w, moments, index, gauges = own
            dropped = None if masks is None else (jax.random.fold_in(masks[0], index), masks[1])
            flow, moments = self.block.run(w, a, moments, dropped, gauges, mask, training)
            return flow.out, (moments, None if look is None else look(w, flow))

        time_first = self.ends.order[0] == "time"
        a = self.embed(jnp.swapaxes(x, 0, 1) if time_first else x)
        a_TBH = a if time_first else jnp.swapaxes(a, 0, 1)
        moments = None if self.moments is None else self.moments[...]
        stacked = self.blocks.values(), moments, jnp.arange(self.depth), gauges_LT
        layer = jax.checkpoint(layer) if self.block.recompute else layer
        top_TBH, (moments, seen) = lax.scan(layer, a_TBH, stacked)
        if self.moments is not None and training:
            self.moments[...] = moments
        return self._decoded(top_TBH, mask), seen

    def _decoded(self, top_TBH: jax.Array, mask: Any) -> jax.Array:
        pooling = self.ends.pooling
        if pooling == "none":
            if self.ends.order[1] == "time":
                return jnp.swapaxes(self.logits(top_TBH), 0, 1)
            pooled = jnp.swapaxes(top_TBH, 0, 1)
        elif pooling == "last" and mask is None:
            pooled = top_TBH[-1]
        elif pooling == "last":
            ends = jnp.sum(mask[..., 0], 0).astype(jnp.int32) - 1
            pooled = top_TBH[jnp.maximum(ends, 0), jnp.arange(top_TBH.shape[1])]
        elif mask is None:
            pooled = jnp.mean(top_TBH, 0)
        else:
            pooled = jnp.sum(mask * top_TBH, 0) / jnp.maximum(jnp.sum(mask, 0), 1)
        if self.ends.documents == 2:
            first, second = pooled[::2], pooled[1::2]
            pooled = jnp.concatenate([first, second, first * second, first - second], -1)
        return self.logits(pooled)

    def slots(self) -> tuple[Slot, ...]:
        """The encoder as layer -1, the blocks from 0, the decoder last."""
        ends, top = self.ends, self.depth

        def end(attribute: str, layer: int, name: str) -> list[Slot]:
            names = getattr(self, attribute).names if hasattr(self, attribute) else ()
            return [Slot(f"{attribute}/{t}", None, layer, name, t) for t in names]

        blocks = [
            Slot(f"blocks/{t}", i, i, f"{ends.layers[1]}.{i}", t)
            for i in range(top)
            for t in self.blocks.names
        ]
        return (*end(ends.below, -1, ends.layers[0]), *blocks, *end(ends.above, top, ends.above))


# ---- models --------------------------------------------------------------------------------------

_exact_gelu = partial(jax.nn.gelu, approximate=False)


def _gelu_of_gelu(y: jax.Array) -> jax.Array:
    return jax.nn.gelu(jax.nn.gelu(y))


def lru_block(width: int, mode: str = "auto") -> Block:
    """The block of model `lru_stack`; epsilon is Keras' default, which the published layers use."""
    return Block(LruCell(width, 2 * width), Norm("layer", 1e-3), mode, _exact_gelu)


def lru_stack(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> ResidualStack:
    """Builds model `lru_stack` (`docs/studies/herranz2023.md`): inputs as wide as the blocks enter
    as they are, others by a dense adapter. Dropout and the ring of eigenvalues are traced."""
    return _stacked_lru(config, sizes, rngs, lru_block(config["width"], config["scan_mode"]))


def bare_lru(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> ResidualStack:
    """Builds model `bare_lru`: as `lru_stack`, but each block is its recurrent layer alone."""
    cell = LruCell(config["width"], 2 * config["width"])
    block = BareBlock(cell, Norm("none", 0.0), config["scan_mode"], gate=())
    return _stacked_lru(config, sizes, rngs, block)


def _stacked_lru(
    config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs, block: Block
) -> ResidualStack:
    width = config["width"]

    def init(key: jax.Array) -> Params:
        bounds = config["r_min"], config["r_max"], config["max_phase"]
        drawn = ring(named_key(key, "ring"), block.cell.hidden, "log_uniform", *bounds)
        return block.cell.init(key, width, *drawn)

    if sizes.tokens:
        layer, encoder = "embedding", "tied" if config["readout"] == "tied" else "embedding"
    else:
        layer, encoder = "adapter", "identity" if sizes.features == width else "dense"
    ends = Ends(encoder, ("batch", "time"), below="below", above="readout", layers=(layer, "lru"),
                drawn="input")  # fmt: skip
    laws = init, start.each(initializers.glorot_uniform())
    shape = config["depth"], width
    return ResidualStack(sizes, shape, block, ends, laws, rngs, config["dropout"])


def deep_recurrent(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> ResidualStack:
    """Builds model `deep_recurrent` (`docs/studies/zucchet2024.md`): both norms of a block share
    their scale and bias, as published. Memory and scales are traced."""
    cell, init = start.of_memory(config)
    norm = Norm(config["norm"], 1e-6, ("recurrence", "gate"))
    block = Block(cell, norm, config["scan_mode"], recompute=False)
    ends = Ends("one_hot" if sizes.tokens else "dense", ("time", "time"))
    laws = init, start.each(initializers.lecun_normal(in_axis=-1, out_axis=-2))
    return ResidualStack(sizes, (config["depth"], config["width"]), block, ends, laws, rngs)


def sequence_net(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> ResidualStack:
    """Builds models `deep_lru`, `deep_linear_rnn` and `deep_diagonal_rnn`
    (`docs/studies/bar2025.md`); dropout, the ring and the edge law's offset are traced."""
    cell, init = start.for_long_sequences(config)
    places = ("recurrence",) if config["prenorm"] else ("skip",)
    norm = Norm(config["norm"], 1e-5 if config["norm"] == "batch" else 1e-6, places, running=True)
    gelu = _gelu_of_gelu if config["gelu_twice"] else jax.nn.gelu
    block = Block(cell, norm, config["scan_mode"], gelu, drop_channels, ("value", "gate"))
    encoder, padded = "gathered" if sizes.tokens else "dense", sizes.padded and config["masked"]
    ends = Ends(encoder, ("time", "batch"), config["pooling"], padded, bias="bias",
                documents=sizes.documents)  # fmt: skip
    shape, laws = (int(config["depth"]), int(config["d_model"])), (init, start.cut_lecun)
    net = ResidualStack(sizes, shape, block, ends, laws, rngs, config["dropout"])
    net.first = Setting(jnp.stack(net.eigenvalues()))
    return net
