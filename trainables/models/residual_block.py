"""A residual block around a recurrent layer (Orvieto et al., arXiv 2303.06349).

    u = norm(a);  y = drop(gelu(recurrence(u)));  y = drop((W y + b) sig(V y + c));  a + y

`Block` and `Norm` say what differs between models. Shapes: T time, B batch, H features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from trainables.core.random_keys import named_key
from trainables.layers.chrono_gru import ChronoGRU
from trainables.layers.dropout import drop
from trainables.layers.lru import Params
from trainables.layers.tap import tap

_MOMENTUM = 0.99
"""Of the running averages that batch norm evaluates with."""

Masks = tuple[jax.Array, jax.Array] | None
"""A block's dropout: key and rate; None to drop nothing."""


@dataclass(frozen=True)
class Norm:
    """Mean 0 and variance 1, then scaled and shifted by the block's norm_scale and norm_bias.

    Attributes:
      kind: "layer" is over features at each time step, "batch" over time and batch; or "none".
      epsilon: added to the variance.
      places: where it acts: before the "recurrence", before the "gate", after the "skip".
      running: "batch" counts no padding, and evaluates with running averages, which the stack
        keeps; else it takes the statistics of the batch at hand, in evaluation too.
    """

    kind: str
    epsilon: float
    places: tuple[str, ...] = ("recurrence",)
    running: bool = False

    def __call__(
        self, w: Params, x: jax.Array, moments_2H: Any = None, mask: Any = None,
        training: bool = False,
    ) -> tuple[jax.Array, Any]:  # fmt: skip
        """The normalised x (..., H), or (T, B, H) for "batch", and the new running moments, found
        in float32 or more."""
        if self.kind == "none":
            return x, moments_2H
        given = x.dtype
        x = x.astype(jnp.promote_types(given, jnp.float32))
        axes = (-1,) if self.kind == "layer" else (0, 1)
        if not self.running:
            centred = x - jnp.mean(x, axes, keepdims=True)
            variance = jnp.mean(centred**2, axes, keepdims=True)
        else:
            # "layer" is the same, but its gradients add up in another order: each model keeps its.
            if self.kind == "layer":
                mean, variance = jnp.mean(x, axes, keepdims=True), jnp.var(x, axes, keepdims=True)
            elif training:
                mean, variance = now = _moments(x, mask)
                kept = lax.stop_gradient(jnp.stack(now))
                moments_2H = _MOMENTUM * moments_2H + (1 - _MOMENTUM) * kept
            else:
                mean, variance = moments_2H
            centred = x - mean
        y = centred * lax.rsqrt(variance + self.epsilon)
        y = y * w["norm_scale"] + w["norm_bias"]
        return y.astype(given), moments_2H


def _moments(x_TBH: jax.Array, mask_TB1: Any) -> tuple[jax.Array, jax.Array]:
    """Mean and variance (H,) over what is no padding."""
    weight = jnp.ones((1, 1, 1)) if mask_TB1 is None else mask_TB1
    weight = jnp.broadcast_to(weight, (*x_TBH.shape[:2], 1))
    weight = weight / jnp.sum(weight)
    mean = jnp.sum(weight * x_TBH, (0, 1))
    return mean, jnp.sum(weight * (x_TBH - mean) ** 2, (0, 1))


def responses(
    cell: Any, mode: str, w: Params, u_TBH: jax.Array, mask_TB1: Any = None, gauges: Any = None
) -> jax.Array:
    """The recurrent layer's outputs (T, B, H), in the type of u; where w has a tensor c_back, also
    what that reads of the states of the reversed sequence.

    A tap on the drive of step t reads the total derivative dL/dh_t of a linear recurrence, since
    h_t is that drive plus A h_{t-1}; so it works in either form. A GRU's states are tapped.
    """
    drive = cell.drive(w, u_TBH)
    if mask_TB1 is not None:
        drive = drive * mask_TB1
    if isinstance(cell, ChronoGRU):
        return cell.states(w, drive, gauges).astype(u_TBH.dtype)
    if gauges is not None:
        drive = jax.vmap(tap)(drive, gauges)
    y = cell.output(w, cell.states(w, drive, mode), u_TBH)
    back = {n.replace("c_back", "c"): v for n, v in w.items() if n.startswith("c_back")}
    if back:
        y = y + cell.read({**w, **back}, cell.states(w, drive[::-1], mode)[::-1])
    return y.astype(u_TBH.dtype)


class Flow(NamedTuple):
    """What passes through a block, (T, B, H) each: its input, what the recurrent layer reads of it,
    that layer's output, and what the block hands on."""

    a: jax.Array
    u: jax.Array
    y: jax.Array
    out: jax.Array


@dataclass(frozen=True)
class Block:
    """What all blocks of a stack do, as functions of a block's tensors by name.

    Attributes:
      cell: the recurrent layer, H in and out: an `LruCell`, a `BlockCell` or a `ChronoGRU`.
      norm: what is normalised, and where.
      mode: form of a linear recurrence over time, as for `lru.states`.
      gelu: between recurrent layer and gate.
      drop: (key, y, rate) -> y, after gelu and after the gate.
      gate: the gated linear unit's two maps, in their order among the tensors.
      recompute: the block, in the reverse pass. That took a quarter of the memory and no more time
        (L 6, H 128, T 100, B 32, two CPU cores: 69 against 275 MB).
    """

    cell: Any
    norm: Norm
    mode: str = "auto"
    gelu: Callable[[jax.Array], jax.Array] = jax.nn.gelu
    drop: Callable[[jax.Array, jax.Array, jax.Array], jax.Array] = drop
    gate: tuple[str, ...] = ("gate", "value")
    recompute: bool = True

    def read(self, w: Params, a: jax.Array) -> jax.Array:
        """What the recurrent layer reads of an input (..., H), by no running moments."""
        return self.norm(w, a)[0] if "recurrence" in self.norm.places else a

    def branch(self, w: Params, y: jax.Array, masks: Masks = None) -> jax.Array:
        """From a recurrent layer's output (..., H) to what the skip adds."""
        y = self._dropped("gelu", self.gelu(y), masks)
        if "gate" in self.norm.places:
            y, _ = self.norm(w, y)
        gate = jax.nn.sigmoid(y @ w["w_gate"].T + w["b_gate"])
        return self._dropped("gate", gate * (y @ w["w_value"].T + w["b_value"]), masks)

    def _dropped(self, name: str, y: jax.Array, masks: Masks) -> jax.Array:
        return y if masks is None else self.drop(named_key(masks[0], name), y, masks[1])

    def run(
        self, w: Params, a_TBH: jax.Array, moments_2H: Any, masks: Masks, gauges: Any, mask: Any,
        training: bool,
    ) -> tuple[Flow, Any]:  # fmt: skip
        """A whole sequence, and the new running moments of a batch norm; `gauges` (T,) are for a
        `tap` on every state, `mask` (T, B, 1) is 0 at padding."""

        def normed(place: str, x: jax.Array, moments: Any) -> tuple[jax.Array, Any]:
            here = place in self.norm.places
            return self.norm(w, x, moments, mask, training) if here else (x, moments)

        u, moments = normed("recurrence", a_TBH, moments_2H)
        y = responses(self.cell, self.mode, w, u, mask, gauges)
        out, moments = normed("skip", a_TBH + self.branch(w, y, masks), moments)
        return Flow(a_TBH, u, y, out), moments


@dataclass(frozen=True)
class BareBlock(Block):
    """The recurrent layer alone: no norm, gelu, gate or skip; dropout acts on what it reads."""

    def run(
        self, w: Params, a_TBH: jax.Array, moments_2H: Any, masks: Masks, gauges: Any, mask: Any,
        training: bool,
    ) -> tuple[Flow, Any]:  # fmt: skip
        u = self._dropped("input", a_TBH, masks)
        y = responses(self.cell, self.mode, w, u, mask, gauges)
        return Flow(a_TBH, u, y, y), moments_2H
