"""Deep linear recurrent networks for long sequences as one Flax NNX module (study `bar2025`).

    z = norm(x);  y = drop(gelu(recurrence(z)));  y = drop((W1 y + b1) sig(W2 y + b2));  x + y

between a dense encoder at each time step and a dense decoder, whose input is pooled over time.
Blocks are alike, so their tensors are stacked along a leading axis of L layers. Shapes are
suffixed: T time, B batch, H features, N units, L layers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from trainables.core.layout import Slot
from trainables.core.random_keys import named_key
from trainables.core.variables import Setting, Tensors
from trainables.declarations import Sizes
from trainables.declarations.models.sequence_nets import block_tensors
from trainables.layers.block_linear import BlockCell
from trainables.layers.dropout import Dropout, drop
from trainables.layers.glorot_init import spectrum, state_matrix, storable
from trainables.layers.lru import GAMMAS, SPECTRA, LruCell, Pair, Params, polar, ring
from trainables.layers.tap import tap

_EPSILON = {"batch": 1e-5, "layer": 1e-6}
_MOMENTUM = 0.99
"""Of the running averages that batch norm evaluates with."""

_GAUSSIAN = ("b", "b_re", "b_im", "c", "c_back", "c_re", "c_im", "c_back_re", "c_back_im", "d")
_CUT_SD = 0.87962566103423978
"""Standard deviation of N(0, 1) cut off at 2."""

Init = Callable[[jax.Array], Params]


class RunningMoments(nnx.Variable):
    """Running mean and variance of what each block normalises, (L, 2, H)."""


# ---- recurrences ---------------------------------------------------------------------------------


def recurrence(config: Mapping[str, Any]) -> tuple[LruCell | BlockCell, Init]:
    """The recurrent layer of a block, H in and out, and its first tensors by name.

    B has entries of variance 1/H, real and imaginary part together; C of an LRU 1/N in each part
    (section 1.1), of the others 1/N (1.2, 1.3); D is N(0, 1). A real C reads the real part.
    """
    h, n = int(config["d_model"]), int(config["width"])
    if config["model"] == "deep_linear_rnn":
        cell: LruCell | BlockCell = BlockCell(n, 1, h)
        first = _first_matrix
    else:
        learned = config.get("lru_gamma") == "learned"
        cell = LruCell(h, n, config.get("lru_param", "cartesian"), "log" if learned else "none")
        first = _first_spectrum
    names = block_tensors(config)

    parts = sum(axes == "nh" for axes in names.values())
    laws = {"nh": ((n, h), math.sqrt(parts * h)), "hn": ((h, n), math.sqrt(n)), "h": ((h,), 1.0)}
    drawn = {name: laws[names[name]] for name in names if name in _GAUSSIAN}

    def init(key: jax.Array) -> Params:
        tensors = first(named_key(key, "a"), config, cell)
        shapes = [shape for shape, _ in drawn.values()]
        values = _cut(jax.random.normal, named_key(key, "maps"), shapes)
        scales = [scale for _, scale in drawn.values()]
        return tensors | {n: v / s for n, v, s in zip(drawn, values, scales, strict=True)}

    return cell, init


def _cut(
    draw: Callable[..., jax.Array], key: jax.Array, shapes: Sequence[tuple[int, ...]]
) -> list[jax.Array]:
    """Independent arrays of one law. One draw for all, since each costs a second to compile."""
    ends = list(itertools.accumulate(map(math.prod, shapes)))
    flat = jnp.split(draw(key, (ends[-1],)), ends[:-1])
    return [part.reshape(shape) for part, shape in zip(flat, shapes, strict=True)]


def _lecun(key: jax.Array, shapes: Sequence[tuple[int, int]]) -> list[jax.Array]:
    """Matrices (out, in) of variance 1/in, normal and cut off at two standard deviations."""
    found = _cut(lambda key, shape: jax.random.truncated_normal(key, -2, 2, shape), key, shapes)
    return [m / (_CUT_SD * math.sqrt(m.shape[1])) for m in found]


def _first_matrix(key: jax.Array, config: Mapping[str, Any], cell: Any) -> Params:
    return {"a": state_matrix(key, cell.hidden, config["init"], config["edge_offset"])[None]}


def _first_spectrum(key: jax.Array, config: Mapping[str, Any], cell: Any) -> Params:
    if config["init"] == "ring":
        bounds = config["r_min"], config["r_max"], config["max_phase"]
        modulus, phase = ring(key, cell.hidden, "area", *bounds)
        lam = polar(modulus, phase)
    else:
        lam = spectrum(key, cell.hidden, config["init"], config["edge_offset"])
    if config["model"] == "deep_diagonal_rnn":
        return dict(zip(("lambda_re", "lambda_im"), lam, strict=True))
    modulus, phase = storable(lam)
    stored = SPECTRA[cell.spectrum]
    tensors = dict(zip(stored.names, stored.store(modulus, phase), strict=True))
    start = GAMMAS[cell.gamma].start
    return tensors if start is None else {**tensors, "gamma": start(polar(modulus, phase))}


def responses(
    cell: LruCell | BlockCell, mode: str, w: Params, u_TBH: jax.Array, mask_TB1: Any, gauges: Any
) -> jax.Array:
    """C h + D u (T, B, H) of inputs; where w has a tensor c_back, also what that reads of the
    states of the reversed sequence."""
    drive = cell.drive(w, u_TBH)
    if mask_TB1 is not None:
        drive = drive * mask_TB1
    if gauges is not None:
        drive = jax.vmap(tap)(drive, gauges)
    y = cell.output(w, cell.states(w, drive, mode), u_TBH)
    back = {n.replace("c_back", "c"): v for n, v in w.items() if n.startswith("c_back")}
    if back:
        y = y + cell.read({**w, **back}, cell.states(w, drive[::-1], mode)[::-1])
    return y


# ---- the block -----------------------------------------------------------------------------------


def normalised(
    w: Params, x_TBH: jax.Array, norm: str, mask_TB1: Any, moments_2H: Any, training: bool
) -> tuple[jax.Array, Any]:
    """The normalised input, and the new running moments of a batch norm."""
    if norm == "none":
        return x_TBH, moments_2H
    if norm == "layer":
        mean, variance = jnp.mean(x_TBH, -1, keepdims=True), jnp.var(x_TBH, -1, keepdims=True)
    else:
        if training:
            weight = jnp.ones((1, 1, 1)) if mask_TB1 is None else mask_TB1
            weight = jnp.broadcast_to(weight, (*x_TBH.shape[:2], 1))
            weight = weight / jnp.sum(weight)
            mean = jnp.sum(weight * x_TBH, (0, 1))
            variance = jnp.sum(weight * (x_TBH - mean) ** 2, (0, 1))
            now = jnp.stack([mean, variance])
            moments_2H = _MOMENTUM * moments_2H + (1 - _MOMENTUM) * lax.stop_gradient(now)
        else:
            mean, variance = moments_2H
    y = (x_TBH - mean) * lax.rsqrt(variance + _EPSILON[norm])
    return y * w["norm_scale"] + w["norm_bias"], moments_2H


def _dropped(masks: Any, name: str, y_TBH: jax.Array) -> jax.Array:
    """y with one mask of samples and channels for all time steps."""
    if masks is None:
        return y_TBH
    key, rate = masks
    return y_TBH * drop(named_key(key, name), jnp.ones_like(y_TBH[:1]), rate)


class SequenceNet(nnx.Module):
    """Encoder, L blocks, decoder; states start from 0 in every batch.

    Outputs are logits (B, C), or (B, T, C) without pooling. Tokens are embedded by gather, which is
    the dense map of a unit vector; where the task pads with token 0, padding is masked out.

    Attributes:
      cell: the recurrence that all blocks share.
      depth: number of blocks L.
      blocks: their tensors, each with a leading axis of L.
      first: eigenvalues at initialisation, (2, L, N): real and imaginary parts.
    """

    def __init__(self, config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs):
        self.depth, self.norm = int(config["depth"]), str(config["norm"])
        self.prenorm, self.pooling = bool(config["prenorm"]), str(config["pooling"])
        self.twice, self.mode = bool(config["gelu_twice"]), str(config["scan_mode"])
        self.tokens, self.padded = sizes.tokens, sizes.padded and bool(config["masked"])
        self.tensors = tuple(block_tensors(config))
        h = int(config["d_model"])
        key = rngs.params()
        self.cell, init = recurrence(config)

        def one(key: jax.Array) -> Params:
            tensors = init(named_key(key, "recurrence"))
            if self.norm != "none":
                tensors |= {"norm_scale": jnp.ones(h), "norm_bias": jnp.zeros(h)}
            matrices = _lecun(named_key(key, "dense"), [(h, h)] * 2)
            for name, matrix in zip(("value", "gate"), matrices, strict=True):
                tensors |= {f"w_{name}": matrix, f"b_{name}": jnp.zeros(h)}
            return {name: tensors[name] for name in self.tensors}

        ends = [(h, sizes.features), (sizes.classes, h)]
        encoder, decoder = _lecun(named_key(key, "ends"), ends)
        self.encoder = Tensors({"w": encoder.T if sizes.tokens else encoder, "bias": jnp.zeros(h)})
        keys = jnp.stack([named_key(key, "block", i) for i in range(self.depth)])
        self.blocks = Tensors(jax.vmap(one)(keys))
        self.decoder = Tensors({"w": decoder, "bias": jnp.zeros(sizes.classes)})
        self.dropout = Dropout(config["dropout"], rngs)
        start = jnp.stack([jnp.zeros(h), jnp.ones(h)])
        self.moments = RunningMoments(jnp.tile(start, (self.depth, 1, 1)))
        self.first = Setting(jnp.stack(self.eigenvalues()))

    def eigenvalues(self) -> Pair:
        """(real, imaginary) parts of each layer's, (L, N)."""
        return jax.vmap(self.cell.eigenvalues)(self.blocks.values())

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits of x (B, T, F), or of tokens (B, T)."""
        return self._run(x, None)

    def tapped(self, x: jax.Array, gauges: jax.Array) -> jax.Array:
        """As a call, with a `tap` on every drive; gauges has shape (L, T)."""
        return self._run(x, gauges)

    def state_norms(self, x: jax.Array) -> jax.Array:
        """Root mean square over the batch of |h_t| at the last step of each layer, (L,)."""
        norms: list[jax.Array] = []
        self._run(x, None, norms)
        return norms[0]

    def _encoded(self, x: jax.Array) -> tuple[jax.Array, Any]:
        """Input of the first block (T, B, H), and the mask (T, B, 1) of what is no padding."""
        w = self.encoder.values()
        if not self.tokens:
            return jnp.swapaxes(x, 0, 1) @ w["w"].T + w["bias"], None
        x_TB = x.T
        mask = (x_TB != 0).astype(jnp.float32)[..., None] if self.padded else None
        return w["w"][x_TB.astype(jnp.int32)] + w["bias"], mask

    def _run(self, x: jax.Array, gauges_LT: Any, norms: list[jax.Array] | None = None) -> Any:
        a_TBH, mask = self._encoded(x)
        key, rate = self.dropout.key(), self.dropout.rate[...]
        training = not self.dropout.deterministic

        @jax.checkpoint
        def layer(a: jax.Array, own: Any) -> tuple[jax.Array, Any]:
            w, moments, index, gauges = own
            masks = None if key is None else (jax.random.fold_in(key, index), rate)
            z = a
            if self.prenorm:
                z, moments = normalised(w, a, self.norm, mask, moments, training)
            y = jax.nn.gelu(responses(self.cell, self.mode, w, z, mask, gauges))
            y = _dropped(masks, "gelu", jax.nn.gelu(y) if self.twice else y)
            gate = jax.nn.sigmoid(y @ w["w_gate"].T + w["b_gate"])
            a = a + _dropped(masks, "gate", gate * (y @ w["w_value"].T + w["b_value"]))
            if not self.prenorm:
                a, moments = normalised(w, a, self.norm, mask, moments, training)
            if norms is None:
                return a, (moments, jnp.float32(0))
            drive = self.cell.drive(w, z)
            last = self.cell.states(w, drive if mask is None else drive * mask, self.mode)[-1]
            return a, (moments, jnp.sqrt(jnp.mean(jnp.sum(last**2, -1))))

        stacked = (self.blocks.values(), self.moments[...], jnp.arange(self.depth), gauges_LT)
        top_TBH, (moments, last) = lax.scan(layer, a_TBH, stacked)
        if norms is not None:
            norms.append(last)
        if training:
            self.moments[...] = moments
        return self._decoded(top_TBH, mask)

    def _decoded(self, top_TBH: jax.Array, mask: Any) -> jax.Array:
        w = self.decoder.values()
        if self.pooling == "none":
            return jnp.swapaxes(top_TBH, 0, 1) @ w["w"].T + w["bias"]
        if self.pooling == "last" and mask is None:
            pooled = top_TBH[-1]
        elif self.pooling == "last":
            ends = jnp.sum(mask[..., 0], 0).astype(jnp.int32) - 1
            pooled = top_TBH[jnp.maximum(ends, 0), jnp.arange(top_TBH.shape[1])]
        elif mask is None:
            pooled = jnp.mean(top_TBH, 0)
        else:
            pooled = jnp.sum(mask * top_TBH, 0) / jnp.maximum(jnp.sum(mask, 0), 1)
        return pooled @ w["w"].T + w["bias"]

    def slots(self) -> tuple[Slot, ...]:
        """The encoder as layer -1, the blocks from 0, the decoder last."""
        found = [Slot(f"encoder/{t}", None, -1, "encoder", t) for t in ("w", "bias")]
        for i in range(self.depth):
            found += [Slot(f"blocks/{t}", i, i, f"block.{i}", t) for t in self.tensors]
        found += [Slot(f"decoder/{t}", None, self.depth, "decoder", t) for t in ("w", "bias")]
        return tuple(found)


def sequence_net(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> SequenceNet:
    """Builds models `deep_lru`, `deep_linear_rnn` and `deep_diagonal_rnn`; dropout, the ring and
    the edge law's offset are traced."""
    return SequenceNet(config, sizes, rngs)
