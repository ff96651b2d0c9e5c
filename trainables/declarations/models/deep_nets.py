"""Declaration of the residual recurrent network of study `zucchet2024` (section 1.4)."""

from __future__ import annotations

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Model, Sizes, Tensor
from trainables.declarations.probes.timeline import TIMELINE

_NORM = {"norm_scale": "h", "norm_bias": "h"}
_GATE = {"w_gate": "hh", "b_gate": "h", "w_value": "hh", "b_value": "h"}
_MAPS = {"b_re": "hh", "b_im": "hh", "c_re": "hh", "c_im": "hh", "d": "hh"}
_BLOCK = {  # cell -> tensor -> axes: h the width, g the three gates
    "lru": {**_NORM, "nu": "h", "theta": "h", "gamma": "h", **_MAPS, **_GATE},
    "complex": {**_NORM, "lambda_re": "h", "lambda_im": "h", **_MAPS, **_GATE},
    "gru": {**_NORM, "w_ih": "ghh", "w_hh": "ghh", "b_ih": "gh", "b_hh": "h", **_GATE},
}
BLOCK_TENSORS = {cell: tuple(tensors) for cell, tensors in _BLOCK.items()}
"""Tensors of one block by cell, in order; without a norm the first two are left out."""


def deep_tensors(config: Config, sizes: Sizes) -> tuple[Tensor, ...]:
    """Tensors of the whole network."""
    width, depth = int(config["width"]), int(config["depth"])
    axes = {"h": width, "g": 3}
    found = [
        Tensor(-1, "encoder", "w", (width, sizes.features)),
        Tensor(-1, "encoder", "b", (width,)),
    ]
    for layer in range(depth):
        for name, shape in _BLOCK[config["deep_cell"]].items():
            if config["norm"] != "none" or name not in _NORM:
                found.append(Tensor(layer, f"block.{layer}", name, tuple(axes[a] for a in shape)))
    found.append(Tensor(depth, "decoder", "w", (sizes.classes, width)))
    found.append(Tensor(depth, "decoder", "b", (sizes.classes,)))
    return tuple(found)


DEEP_RECURRENT = Model(
    name="deep_recurrent",
    version=1,
    build="trainables.models.deep_nets:deep_recurrent",
    doc="Residual blocks of a recurrent layer and a gated linear unit, outputs at every step.",
    keys=(
        Key("depth", "int", 4, "static", "Residual blocks L.", low=1, high=10_000,
            aliases=("num_layers", "n_layers", "layers", "L")),
        Key("width", "int", 256, "static", "Units H of a block and of its recurrent layer.", low=1,
            aliases=("hidden_size", "hidden_dim", "H", "d_hidden")),
        Key("deep_cell", "str", "lru", "static",
            "The recurrent layer. lru: LRU with a learned gamma; complex: complex diagonal, "
            "without one; gru: GRU with update gates of given memories.",
            choices=("lru", "complex", "gru")),
        Key("norm", "str", "none", "static",
            "Before the recurrent layer and before the gate. batch: statistics of the batch at "
            "hand, in evaluation too.", choices=("none", "layer", "batch")),
        Key("memory", "float", 10.0, "traced",
            "t: moduli in [1 - 1/t, 1 - 1/(2t)], or gates of memories in [t, 2t].",
            unit="time steps", low=1),
        Key("scale_x", "float", 1.0, "traced", "A GRU's input kernels are N(0, 2 scale_x / H).",
            low=0),
        Key("scale_h", "float", 1.0, "traced",
            "A GRU's recurrent kernels are orthogonal, times this.", low=0),
        Key("scan_mode", "str", "auto", "static",
            "Form of a linear recurrence over time. scan: one step after the other; associative: "
            "in O(log T) dependent steps; auto: scan on a CPU, else associative.",
            choices=("auto", "scan", "associative")),
    ),
    tensors=deep_tensors,
    probes=(TIMELINE,),
)  # fmt: skip
