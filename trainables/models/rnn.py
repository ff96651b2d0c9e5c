"""Stacks of recurrent cells as one Flax NNX module. Shapes: T time, B batch, F features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.nn import initializers

from trainables.core.layout import LayerOutput, Slot
from trainables.core.random_keys import named_key
from trainables.core.variables import Carried, Tensors
from trainables.declarations import PartError, Sizes
from trainables.declarations.models.rnn import carries_state, embedding_width, is_tied, layer_widths
from trainables.layers.dropout import Dropout
from trainables.layers.gated import Cell, CellOf, Scheme, prepared, torch_uniform
from trainables.layers.state_dtype import float32_tensors, following
from trainables.layers.tap import tap
from trainables.models.named_init import by_gate, named_init


class RecurrentNet(nnx.Module):
    """Recurrent layers on top of each other, with logits at every time step.

    Dropout acts on the input of each layer, and under the torch scheme on the output of the last
    one. All time steps of a layer's input are projected at once, and the scan over time holds only
    what depends on the state. Hidden states start from 0 in every batch, or from where the last
    batch ended where the module carries them.

    Attributes:
      cells: one per layer, the lowest first.
      depth: number of layers.
      rnn: their tensors.
      readout: w (C, H) and b (C,); tied to the embedding: (C, H) = (tokens, width), and b under
        the torch scheme only.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        features: int,
        classes: int,
        rngs: nnx.Rngs,
        *,
        embedding: int | None = None,
        tied: bool = False,
        dropout: Any = 0.0,
        carried_batch: int | None = None,
        scheme: Scheme = "keras",
        inits: Mapping[str, str] | None = None,
    ):
        """
        Args:
          cells: one per layer, the lowest first.
          features: numbers of an input per step, or how many tokens there are.
          classes: logits C.
          embedding: numbers that stand for a token; None for inputs that are not tokens.
          tied: read out by the transposed embedding.
          dropout: rate, a number or a scalar array.
          carried_batch: samples whose states are carried from batch to batch; None to carry none.
          scheme: of the embedding and readout. keras: Glorot-uniform, bias 0; torch: an embedding
            of N(0, 1), a readout of U(+-1/sqrt H).
          inits: names of how the cells' w_ih and w_hh are drawn, in place of the scheme.

        Raises:
          ValueError: tied, but the embedding and the readout differ in shape.
        """
        self.cells, self.depth, self.tied = tuple(cells), len(cells), tied
        shape = classes, cells[-1].output_size
        if tied and (features, embedding) != shape:
            raise ValueError(f"a tied readout {shape} needs an embedding of that shape")
        key, torch = rngs.params(), scheme == "torch"
        glorot, self.drops_output = initializers.glorot_uniform(), torch
        draw = jax.random.normal if torch else glorot
        if embedding is not None and not tied:
            table = draw(named_key(key, "embedding"), (features, embedding))
            self.embedding = Tensors({"w": table})
        below, layers = features if embedding is None else embedding, []
        for layer, cell in enumerate(cells):
            own = named_key(key, "rnn", layer)
            layers.append(Tensors(_redrawn(cell.init(own, below), own, inits or {})))
            below = cell.output_size
        self.rnn = nnx.List(layers)
        own = named_key(key, "readout")
        if torch:
            dense = torch_uniform(own, shape[1], {"w": shape, "b": (classes,)})
            self.readout = Tensors({**dense, "w": draw(own, shape)} if tied else dense)
        else:
            dense = {"w": glorot(own, shape)}
            self.readout = Tensors(dense if tied else {**dense, "b": jnp.zeros(classes)})
        self.dropout = Dropout(dropout, rngs)
        self.tokens = embedding is not None
        carried = carried_batch or 0
        self.carries = carried > 0
        self.float32_tensors = float32_tensors(*cells)
        self.carried = nnx.List(
            [Carried(jnp.zeros((carried, c.state_size))) for c in cells if self.carries]
        )

    def embed(self, x: jax.Array) -> jax.Array:
        """Inputs (..., F) of the lowest layer: x itself, or the embedding of tokens x (...)."""
        if not self.tokens:
            return x
        return (self.readout if self.tied else self.embedding).values()["w"][x]

    def initial(self, batch: int) -> tuple[jax.Array, ...]:
        """States of 0, (batch, S) for each layer."""
        return tuple(jnp.zeros((batch, cell.state_size)) for cell in self.cells)

    def params(self, layer: int) -> dict[str, jax.Array]:
        """A layer's tensors by name, ready for its steps."""
        return prepared(self.cells[layer], self.rnn[layer].values())

    def step(self, layer: int, state: jax.Array, x: jax.Array) -> jax.Array:
        """A layer's next state (B, S) from its state and its input (B, F)."""
        cell, w = self.cells[layer], self.params(layer)
        return cell.advance(w, state, cell.drive(w, x))

    def output(self, layer: int, state: jax.Array) -> jax.Array:
        """What a layer in this state (..., S) hands on, (..., H)."""
        return self.cells[layer].output(self.params(layer), state)

    def logits(self, h: jax.Array) -> jax.Array:
        """Readout (..., C) of the top layer's output (..., H)."""
        w = self.readout.values()
        return h @ w["w"].T + w.get("b", 0)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits (B, T, C) of x (B, T, F) or tokens (B, T)."""
        start = self._start(x)
        logits, ends = self._run(x, start, None)
        for variable, end in zip(self.carried, ends, strict=False):
            variable[...] = end
        return logits

    def _start(self, x: jax.Array) -> tuple[jax.Array, ...]:
        if self.carries:
            return tuple(variable[...] for variable in self.carried)
        return self.initial(len(x))

    def outputs_by_layer(self, x: jax.Array) -> tuple[LayerOutput, ...]:
        """Of a call: each layer's states and what it hands on, the lowest first."""
        seen: list[tuple[jax.Array, jax.Array]] = []
        logits, _ = self._run(x, self._start(x), None, seen)
        embedded = jnp.swapaxes(self.embed(x), 0, 1)
        below = [LayerOutput("embedding", embedded)] if self.tokens else []
        layers = []
        for layer, (states, h) in enumerate(seen):
            if states.shape != h.shape:  # else what is handed on is the state
                layers.append(LayerOutput(f"rnn.{layer}", states, what="state"))
            layers.append(LayerOutput(f"rnn.{layer}", h))
        return (*below, *layers, LayerOutput("readout", jnp.swapaxes(logits, 0, 1)))

    def tapped(self, x: jax.Array, gauges: jax.Array) -> jax.Array:
        """As a call from states of 0, with a `tap` on every state; gauges are (L, T)."""
        return self._run(x, self.initial(len(x)), gauges)[0]

    def _run(
        self,
        x: jax.Array,
        states: Sequence[jax.Array],
        gauges_LT: jax.Array | None,
        seen: list[tuple[jax.Array, jax.Array]] | None = None,
    ) -> tuple[jax.Array, list[jax.Array]]:
        """Logits, and the layers' last states; `seen` takes each layer's states and outputs."""
        h, ends = jnp.swapaxes(self.embed(x), 0, 1), []
        for layer, cell in enumerate(self.cells):
            w = self.params(layer)
            drive = cell.drive(w, self.dropout(h))
            gauges = None if gauges_LT is None else gauges_LT[layer]
            step = partial(advanced, cell, w, seen is not None)
            start = following(partial(cell.advance, w), states[layer], drive)
            end, (h, states_TBS) = lax.scan(step, start, (drive, gauges))
            h = h.astype(drive.dtype)
            ends.append(end)
            if seen is not None and states_TBS is not None:
                seen.append((states_TBS, h))
        h = self.dropout(h) if self.drops_output else h
        return jnp.swapaxes(self.logits(h), 0, 1), ends

    def slots(self) -> tuple[Slot, ...]:
        """The embedding as layer -1, the recurrent layers from 0, the readout last."""
        found = []
        if self.tokens and not self.tied:
            found.append(Slot("embedding/w", None, -1, "embedding", "w"))
        for layer, tensors in enumerate(self.rnn):
            path, name = f"rnn/{layer}", f"rnn.{layer}"
            gates = getattr(self.cells[layer], "stored_gates", None)
            found += [Slot(f"{path}/{t}", None, layer, name, t, gates) for t in tensors.names]
        names = self.readout.names
        return (*found, *(Slot(f"readout/{t}", None, self.depth, "readout", t) for t in names))


def advanced(
    cell: Cell, w: Mapping[str, jax.Array], watched: bool, state: jax.Array, here: Any
) -> tuple[jax.Array, tuple[jax.Array, jax.Array | None]]:
    """A step of a layer's scan: the next state, and what is handed on with, if watched, the state.

    `here` is the step's drive and its gauge, None where states are not tapped.
    """
    drive, gauge = here
    state = cell.advance(w, state, drive)
    if gauge is not None:
        state = tap(state, gauge)
    return state, (cell.output(w, state), state if watched else None)


def _redrawn(
    tensors: dict[str, jax.Array], key: jax.Array, inits: Mapping[str, str]
) -> dict[str, jax.Array]:
    """A layer's tensors with those matrices drawn anew that `inits` names a way for."""
    found = {}
    for name, scheme in inits.items():
        if name not in tensors:
            raise PartError(f"the layers have no matrix {name}; leave recurrent_init out")
        draw, shape, own = named_init(scheme), tensors[name].shape, named_key(key, name)
        found[name] = by_gate(draw, own, shape) if name == "w_hh" else draw(own, shape)
    return {**tensors, **found}


def recurrent_net(
    config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs, cell: CellOf
) -> RecurrentNet:
    """Builds the models of `trainables.declarations.models.rnn`; `dropout` is traced."""
    named = {"w_ih": config.get("input_init"), "w_hh": config.get("recurrent_init")}
    return RecurrentNet(
        [cell(units, config, sizes) for units in layer_widths(config)],
        sizes.features,
        sizes.classes,
        rngs,
        embedding=embedding_width(config, sizes),
        tied=is_tied(config, sizes),
        dropout=config["dropout"],
        carried_batch=sizes.batch_size if carries_state(config) else None,
        inits={name: scheme for name, scheme in named.items() if scheme},
    )
