"""Declaration of the feed-forward network of study `herranz2023` (section 2.1)."""

from __future__ import annotations

from math import prod

from trainables.declarations.comments import comment_labels
from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Model, Sizes, Tensor
from trainables.declarations.probes.radius import RADIUS

ACTIVATIONS = ("sin", "relu", "cos", "swish", "tanh")


def dense_tensors(config: Config, sizes: Sizes) -> tuple[Tensor, ...]:
    """Tensors of the dense layers, weight and bias of each, then the readout's."""
    depth, width = int(config["depth"]), int(config["width"])
    fans = [sizes.seq_len * sizes.features, *[width] * depth, sizes.classes]
    names = [*(f"dense.{layer}" for layer in range(depth)), "readout"]
    found = []
    for layer, name in enumerate(names):
        found.append(Tensor(layer, name, "w", (fans[layer + 1], fans[layer])))
        found.append(Tensor(layer, name, "b", (fans[layer + 1],)))
    return tuple(found)


def parameter_count(config: Config, sizes: Sizes) -> int:
    """Trained numbers of the network."""
    return sum(prod(tensor.shape) for tensor in dense_tensors(config, sizes))


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
            "Truncated normal weights of variance 2 / (fan in + fan out), or 2 / fan in.",
            choices=("glorot_normal", "he_normal")),
    ),
    tensors=dense_tensors,
    probes=(RADIUS,),
    labels=comment_labels,
)  # fmt: skip
