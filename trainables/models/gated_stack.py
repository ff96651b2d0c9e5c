"""LSTM and GRU stacks of study `vanishing`, which answer at the last time step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from trainables.core.layout import LayerOutput
from trainables.declarations import Sizes
from trainables.layers.dropout import drop
from trainables.layers.gated import GRU, LSTM, Scheme
from trainables.layers.state_dtype import following
from trainables.models.rnn import RecurrentNet, advanced


class GatedStack(RecurrentNet):
    """As `RecurrentNet`, with the logits (B, C) of the last time step; dropout acts between layers
    only. All layers but the lowest are one scan, so that twenty compile as fast as two."""

    def __init__(self, cells: Any, sizes: Sizes, rngs: nnx.Rngs, scheme: Scheme, dropout: Any):
        super().__init__(cells, sizes.features, sizes.classes, rngs, dropout=dropout, scheme=scheme)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits (B, C) of x (B, T, F)."""
        return super().__call__(x)[:, -1]

    def tapped(self, x: jax.Array, gauges: jax.Array) -> jax.Array:
        """As a call, with a `tap` on every state; gauges are (L, T)."""
        return super().tapped(x, gauges)[:, -1]

    def outputs_by_layer(self, x: jax.Array) -> tuple[LayerOutput, ...]:
        """Of a call: each layer's states and what it hands on, and the logits."""
        *layers, last = super().outputs_by_layer(x)
        return (*layers, LayerOutput("readout", last.values[-1], timed=False))

    def _run(
        self,
        x: jax.Array,
        states: Sequence[jax.Array],
        gauges_LT: jax.Array | None,
        seen: list[tuple[jax.Array, jax.Array]] | None = None,
    ) -> tuple[jax.Array, list[jax.Array]]:
        cell, key, rate = self.cells[0], self.dropout.key(), self.dropout.rate[...]

        def layer(h_TBH: jax.Array, own: Any) -> tuple[jax.Array, Any]:
            w, state, gauges, *keys = own
            drive = cell.drive(w, drop(keys[0], h_TBH, rate) if keys else h_TBH)
            step = partial(advanced, cell, w, seen is not None)
            start = following(partial(cell.advance, w), state, drive)
            end, (out_TBH, states_TBS) = lax.scan(step, start, (drive, gauges))
            out_TBH = out_TBH.astype(drive.dtype)
            return out_TBH, (end, states_TBS, out_TBH)

        at = (lambda part: None) if gauges_LT is None else gauges_LT.__getitem__
        h_TBH, lowest = layer(jnp.swapaxes(x, 0, 1), (self.params(0), states[0], at(0)))
        found = [lowest]
        if self.depth > 1:
            above = [self.params(number) for number in range(1, self.depth)]
            stacked = {name: jnp.stack([w[name] for w in above]) for name in above[0]}
            masks = () if key is None else (jax.random.split(key, self.depth - 1),)
            given = (stacked, jnp.stack(states[1:]), at(slice(1, None)), *masks)
            h_TBH, others = lax.scan(layer, h_TBH, given)
            found += [jax.tree.map(itemgetter(i), others) for i in range(len(above))]
        if seen is not None:
            seen += [(states_TBS, out_TBH) for _, states_TBS, out_TBH in found]
        return jnp.swapaxes(self.logits(h_TBH), 0, 1), [end for end, _, _ in found]


def _net(cell: Any, config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> GatedStack:
    scheme: Scheme = "torch" if config["init"] == "default" else "keras"
    cells = [cell(config["width"], scheme=scheme)] * int(config["depth"])
    return GatedStack(cells, sizes, rngs, scheme, config["dropout"])


def lstm_stack(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> GatedStack:
    """Builds model `lstm_stack` of `trainables.declarations.models.gated_stack`."""
    return _net(LSTM, config, sizes, rngs)


def gru_stack(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> GatedStack:
    """Builds model `gru_stack`."""
    return _net(GRU, config, sizes, rngs)
