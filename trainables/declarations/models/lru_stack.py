"""Declaration of the residual stack of Linear Recurrent Units (study `herranz2023`, 2.3)."""

from __future__ import annotations

from dataclasses import replace

from trainables.declarations.comments import comment_labels
from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Model, Sizes, Tensor
from trainables.declarations.models.rnn import KEYS, is_tied
from trainables.declarations.probes.radius import RADIUS
from trainables.declarations.probes.timeline import TIMELINE

_SHARED = {key.name: key for key in KEYS}

_BLOCK = {  # tensor -> axes, in order: h the width, n the complex units
    "norm_scale": "h",
    "norm_bias": "h",
    "nu": "n",
    "theta": "n",
    "gamma": "n",
    "b_re": "nh",
    "b_im": "nh",
    "c_re": "hn",
    "c_im": "hn",
    "d": "h",
    "w_gate": "hh",
    "b_gate": "h",
    "w_value": "hh",
    "b_value": "h",
}
BLOCK_TENSORS = tuple(_BLOCK)
"""Tensors of one block, in order."""


def lru_tensors(config: Config, sizes: Sizes) -> tuple[Tensor, ...]:
    """Tensors of the stack: 10 H^2 + 11 H numbers a block, and what is around the blocks."""
    width, depth, tied = int(config["width"]), int(config["depth"]), is_tied(config, sizes)
    found = []
    if sizes.tokens and not tied:
        found.append(Tensor(-1, "embedding", "w", (sizes.features, width)))
    if not sizes.tokens and sizes.features != width:
        found.append(Tensor(-1, "adapter", "w", (width, sizes.features)))
        found.append(Tensor(-1, "adapter", "b", (width,)))
    axes = {"h": width, "n": 2 * width}
    for layer in range(depth):
        for name, shape in _BLOCK.items():
            found.append(Tensor(layer, f"lru.{layer}", name, tuple(axes[a] for a in shape)))
    found.append(Tensor(depth, "readout", "w", (sizes.classes, width)))
    if not tied:
        found.append(Tensor(depth, "readout", "b", (sizes.classes,)))
    return tuple(found)


LRU_STACK = Model(
    name="lru_stack",
    version=1,
    build="trainables.models.lru_stack:lru_stack",
    doc="Residual blocks of a Linear Recurrent Unit and a gated linear unit; logits at every step.",
    keys=(
        replace(_SHARED["depth"], default=3, doc="Residual blocks L."),
        Key("width", "int", 128, "static",
            "Units H of a block, and numbers of an embedding; the recurrence has 2 H complex ones.",
            low=1, aliases=("hidden_size", "hidden_dim", "H", "n_neurons")),
        replace(_SHARED["dropout"],
                doc="Share of entries set to 0 in training, after gelu and after the gate."),
        _SHARED["readout"],
        Key("r_min", "float", 0.4, "traced", "Smallest modulus of the first eigenvalues.", low=0,
            high=1, open_low=True, open_high=True),
        Key("r_max", "float", 0.99, "traced", "Largest modulus of the first eigenvalues.", low=0,
            high=1, open_low=True, open_high=True),
        Key("max_phase", "float", 0.314, "traced", "Largest phase of the first eigenvalues.",
            unit="rad", low=0, high=6.2831853),
        Key("scan_mode", "str", "auto", "static",
            "Form of the recurrence over time. scan: one step after the other; associative: in "
            "O(log T) dependent steps; auto: scan on a CPU, else associative.",
            choices=("auto", "scan", "associative")),
    ),
    check=lambda config: (
        [] if config["r_min"] < config["r_max"] else ["r_min must be smaller than r_max"]
    ),
    tensors=lru_tensors,
    aliases=("reslruffn", "reslru"),
    probes=(TIMELINE, RADIUS),
    labels=comment_labels,
)  # fmt: skip
