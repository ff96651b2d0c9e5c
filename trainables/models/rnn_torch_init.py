"""Recurrent nets with torch's defaults, and the stable LSTM and oRNN of study `ribeiro2020`.

Like every `RecurrentNet`, but initialised as torch does, and with a rule that acts on the weights
after each optimizer step where the model has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from trainables.declarations import Sizes
from trainables.declarations.models.rnn import carries_state, is_tied
from trainables.declarations.models.rnn_torch_init import REBASE_STEPS, REBASES_PER_PROJECTION
from trainables.layers.first_states import FirstStates
from trainables.layers.gated import Cell, CellOf
from trainables.layers.orthogonal import nearest_orthogonal
from trainables.layers.stable_lstm import stabilised
from trainables.models.rnn import RecurrentNet


class Base(nnx.Variable):
    """The orthogonal matrix that a re-based layer turns around; moved, but not by a gradient."""


class TorchNet(RecurrentNet):
    """A stack of one kind of cell.

    Attributes:
      rule: of `stable_lstm.stabilised` for the lowest layer, or "none".
      bases: one per orthogonal layer that is re-based, else empty.
      first: states that sequences start from; None for 0.
    """

    def __init__(
        self, cells: tuple[Cell, ...], sizes: Sizes, rngs: nnx.Rngs, *, rule: str, rebased: bool,
        first_std: float = 0.0, **options: Any,
    ):  # fmt: skip
        super().__init__(cells, sizes.features, sizes.classes, rngs, scheme="torch", **options)
        self.rule = rule
        self.bases = nnx.List([Base(jnp.eye(c.output_size)) for c in cells if rebased])
        self.first = FirstStates(first_std, rngs) if first_std else None

    def initial(self, batch: int) -> tuple[jax.Array, ...]:
        if self.first is None:
            return super().initial(batch)
        return self.first(batch, [cell.state_size for cell in self.cells])

    @property
    def acts_after_steps(self) -> bool:
        """Whether `after_step` does anything."""
        return self.rule != "none" or len(self.bases) > 0

    def params(self, layer: int) -> dict[str, jax.Array]:
        if not len(self.bases):
            return super().params(layer)
        cell: Any = self.cells[layer]
        return cell.prepared({**self.rnn[layer].values(), "base": self.bases[layer][...]})

    def after_step(self, step: jax.Array) -> None:
        """Acts on the weights after optimizer step `step`, counted from 1."""
        if self.rule != "none":
            for name, value in stabilised(self.rnn[0].values(), self.rule).items():
                getattr(self.rnn[0], name)[...] = value
        for layer in range(len(self.bases)):
            self._rebase(layer, step)

    def _rebase(self, layer: int, step: jax.Array) -> None:
        """Every so many steps base <- base expm(S) and A <- 0; rounding is projected out of the
        base from time to time. Adam's averages stay as they are, as published."""
        cell: Any = self.cells[layer]
        w, base = self.rnn[layer], self.bases[layer]

        def moved() -> tuple[jax.Array, jax.Array]:
            turned = cell.matrix({**w.values(), "base": base[...]})
            due = step % (REBASE_STEPS * REBASES_PER_PROJECTION) == 0
            turned = lax.cond(due, nearest_orthogonal, lambda matrix: matrix, turned)
            return turned, jnp.zeros_like(w.a[...])

        due = step % REBASE_STEPS == 0
        base[...], w.a[...] = lax.cond(due, moved, lambda: (base[...], w.a[...]))


def torch_net(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs, cell: CellOf) -> TorchNet:
    """Builds the models of `trainables.declarations.models.rnn_torch_init`; `dropout` is traced."""
    width = int(config["embedding"] or config["width"]) if sizes.tokens else None
    return TorchNet(
        (cell(int(config["width"]), config, sizes),) * int(config["depth"]),
        sizes,
        rngs,
        rule=config.get("stabilize", "none"),
        rebased=config.get("orthogonal_map") == "dynamic",
        embedding=width,
        tied=is_tied(config, sizes),
        dropout=config["dropout"],
        carried_batch=sizes.batch_size if carries_state(config) else None,
        first_std=float(config["first_std"]),
    )
