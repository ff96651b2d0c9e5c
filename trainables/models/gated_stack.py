"""LSTM and GRU stacks of study `vanishing`, which answer at the last time step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from trainables.core.layout import LayerOutput
from trainables.declarations import Sizes
from trainables.layers.gated import GRU, LSTM, Scheme
from trainables.models.rnn import RecurrentNet


class GatedStack(RecurrentNet):
    """As `RecurrentNet`, with the logits (B, C) of the last time step; dropout acts between layers
    only."""

    drops_input = False

    def __init__(self, cells: Any, sizes: Sizes, rngs: nnx.Rngs, scheme: Scheme, dropout: Any):
        super().__init__(cells, sizes.features, sizes.classes, rngs, dropout=dropout, scheme=scheme)
        self.drops_output = False

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
