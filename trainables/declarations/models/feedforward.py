"""Declaration of the feed-forward network of docs/specs/herranz2023.md, 2.1."""

from __future__ import annotations

from trainables.declarations.comments import comment_variants
from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Model
from trainables.declarations.models.named_init import INITS
from trainables.declarations.probes.radius import RADIUS

ACTIVATIONS = ("sin", "relu", "cos", "swish", "tanh")


FFN = Model(
    name="ffn",
    version=1,
    build="trainables.models.feedforward:ffn",
    doc="Dense layers of equal width on the flattened input, and a linear readout; no skips, no "
    "normalisation, zero biases.",
    keys=(
        Key("depth", "int", 30, "static", "Hidden layers L.", low=1, high=10_000,
            aliases=("num_layers", "n_layers", "layers", "L")),
        Key("width", "int", 128, "static", "Units H of each hidden layer.", low=1,
            aliases=("hidden_size", "hidden_dim", "H")),
        Key("activation", "str", "relu", "static", "Nonlinearity of the hidden layers.",
            choices=ACTIVATIONS, aliases=("act", "nonlinearity")),
        Key("init", "str", "glorot_normal", "init",
            "How weights are drawn: the published ones are truncated normal, of variance 2 / (fan "
            "in + fan out) or 2 / fan in.", choices=INITS),
    ),
    rows=lambda config, sizes: (2 * config["depth"] + 2, config["depth"] + 1),
    probes=(RADIUS,),
    variants=comment_variants,
)  # fmt: skip
