"""Declarations of stacked Elman networks, with and without skips."""

from __future__ import annotations

import math
from dataclasses import replace

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Model, Sizes
from trainables.declarations.probes.timeline import TIMELINE

_STACK_KEYS = (
    Key("depth", "int", 20, "static", "Recurrent layers L.", low=1, high=10_000,
        aliases=("num_layers", "n_layers", "layers", "L")),
    Key("width", "int", 256, "static", "Units H of each recurrent layer.", low=1,
        aliases=("hidden_size", "hidden_dim", "H")),
    Key("activation", "str", "tanh", "static", "Nonlinearity of the cell.",
        choices=("tanh", "relu"), aliases=("nonlinearity",)),
    Key("init", "str", "xavier", "init",
        "default: U(+-1/sqrt H) everywhere; xavier: Glorot-uniform input, orthogonal recurrent, "
        "zero biases; he: Kaiming-uniform input (gain sqrt 2), orthogonal recurrent, zero biases.",
        choices=("default", "xavier", "he")),
    Key("w_hh_factor", "float", 1.0, "init",
        "Factor on the first recurrent matrices W_hh, such as 0.5 or 1.2.", low=0),
    Key("dropout", "float", 0.0, "static",
        "Share of what a layer hands to the next one that is set to 0 in training.", low=0, high=1,
        open_high=True, added=True),
)  # fmt: skip


def _rows(config: Config, sizes: Sizes) -> tuple[int, int]:
    """Torch's four tensors a layer, and the readout's two."""
    return 4 * config["depth"] + 2, config["depth"] + 1


VANILLA_RNN = Model(
    name="vanilla_rnn",
    version=1,
    build="trainables.models.elman_stack:vanilla_rnn",
    doc="Stacked Elman network; logits from the top layer at the last time step.",
    keys=_STACK_KEYS,
    rows=_rows,
    aliases=("vanilla", "VanillaRNN"),
    probes=(TIMELINE,),
)

RESIDUAL_RNN = Model(
    name="residual_rnn",
    version=1,
    build="trainables.models.elman_stack:residual_rnn",
    doc="Elman layers with skips x + alpha r over depth, none around the first nor through time.",
    keys=(
        *(replace(k, default="relu") if k.name == "activation" else k for k in _STACK_KEYS),
        Key("residual_scale", "float", 1.0, "traced", "alpha in x + alpha RNN(x); 1 as published.",
            low=0, aliases=("alpha",),
            named={"1/sqrt(L)": lambda config: 1 / math.sqrt(config["depth"])}),
    ),
    rows=_rows,
    aliases=("residual", "ResidualRNN"),
    probes=(TIMELINE,),
)  # fmt: skip
