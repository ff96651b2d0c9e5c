"""Declarations of the residual stacks of recurrent layers: `lru_stack`, `deep_recurrent`, and the
deep linear recurrent networks for long sequences (`docs/studies/herranz2023.md`, `zucchet2024.md`
and `bar2025.md`).
"""

from __future__ import annotations

from dataclasses import replace

from trainables.declarations.comments import comment_labels
from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Model, Sizes, Tensor
from trainables.declarations.layers.glorot_init import EDGE_OFFSET, INITS, divisor
from trainables.declarations.models.rnn import KEYS, is_tied
from trainables.declarations.probes.eigenvalues import EIGENVALUES, SPECTRUM
from trainables.declarations.probes.radius import RADIUS
from trainables.declarations.probes.timeline import TIMELINE

_SHARED = {key.name: key for key in KEYS}

# ---- lru_stack -----------------------------------------------------------------------------------

_LRU_BLOCK = {  # tensor -> axes, in order: h the width, n the complex units
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


def _lru_tensors(config: Config, sizes: Sizes) -> tuple[Tensor, ...]:
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
        for name, shape in _LRU_BLOCK.items():
            found.append(Tensor(layer, f"lru.{layer}", name, tuple(axes[a] for a in shape)))
    found.append(Tensor(depth, "readout", "w", (sizes.classes, width)))
    if not tied:
        found.append(Tensor(depth, "readout", "b", (sizes.classes,)))
    return tuple(found)


LRU_STACK = Model(
    name="lru_stack",
    version=1,
    build="trainables.models.residual:lru_stack",
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
    tensors=_lru_tensors,
    aliases=("reslruffn", "reslru"),
    probes=(TIMELINE, RADIUS),
    labels=comment_labels,
)  # fmt: skip

# ---- deep_recurrent ------------------------------------------------------------------------------

_NORM = {"norm_scale": "h", "norm_bias": "h"}
_GATE = {"w_gate": "hh", "b_gate": "h", "w_value": "hh", "b_value": "h"}
_MAPS = {"b_re": "hh", "b_im": "hh", "c_re": "hh", "c_im": "hh", "d": "hh"}
_DEEP_BLOCK = {  # cell -> tensor -> axes: h the width, g the three gates
    "lru": {**_NORM, "nu": "h", "theta": "h", "gamma": "h", **_MAPS, **_GATE},
    "complex": {**_NORM, "lambda_re": "h", "lambda_im": "h", **_MAPS, **_GATE},
    "gru": {**_NORM, "w_ih": "ghh", "w_hh": "ghh", "b_ih": "gh", "b_hh": "h", **_GATE},
}


def _deep_tensors(config: Config, sizes: Sizes) -> tuple[Tensor, ...]:
    """Tensors of the whole network."""
    width, depth = int(config["width"]), int(config["depth"])
    axes = {"h": width, "g": 3}
    found = [
        Tensor(-1, "encoder", "w", (width, sizes.features)),
        Tensor(-1, "encoder", "b", (width,)),
    ]
    for layer in range(depth):
        for name, shape in _DEEP_BLOCK[config["deep_cell"]].items():
            if config["norm"] != "none" or name not in _NORM:
                found.append(Tensor(layer, f"block.{layer}", name, tuple(axes[a] for a in shape)))
    found.append(Tensor(depth, "decoder", "w", (sizes.classes, width)))
    found.append(Tensor(depth, "decoder", "b", (sizes.classes,)))
    return tuple(found)


DEEP_RECURRENT = Model(
    name="deep_recurrent",
    version=1,
    build="trainables.models.residual:deep_recurrent",
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
    tensors=_deep_tensors,
    probes=(TIMELINE,),
)  # fmt: skip

# ---- for long sequences --------------------------------------------------------------------------

_CARTESIAN = ("lambda_re", "lambda_im")
LRU_SPECTRA = {"exp": ("nu", "theta"), "log": ("nu", "theta"), "cartesian": _CARTESIAN}
"""Tensors of an LRU's eigenvalues by `lru_param`."""

_SEQUENCE_KEYS = (
    Key("depth", "int", 6, "static", "Residual blocks L.", low=1, high=10_000,
        aliases=("num_layers", "n_layers", "layers", "L")),
    Key("d_model", "int", 256, "static", "Features H between blocks.", low=1),
    Key("width", "int", 128, "static", "Units N of each recurrence.", low=1,
        aliases=("d_hidden",)),
    Key("norm", "str", "batch", "static",
        "batch: over batch and time by channel, running averages (momentum .99) in evaluation; "
        "layer: over channels at each time step; none.", choices=("batch", "layer", "none")),
    Key("prenorm", "bool", True, "static", "Norm before the recurrence; false: after the skip."),
    replace(_SHARED["dropout"], aliases=("p_dropout",),
            doc="Share of channels set to 0 in training, one mask for all time steps."),
    Key("bidirectional", "bool", False, "static",
        "The recurrence also runs backwards, with the same A and B, and C reads both states."),
    Key("pooling", "str", "mean", "static",
        "Logits of the mean over time, of the last time step, or at every step (none).",
        choices=("mean", "last", "none")),
    Key("masked", "bool", True, "static",
        "Padding of tokens is no part of norms, states or pooling; false: of all, as published."),
    Key("gelu_twice", "bool", False, "static", "As the published block: gelu of gelu."),
    Key("scan_mode", "str", "auto", "static",
        "Form of the recurrence over time. scan: one step after the other; associative: in "
        "O(log T) dependent steps; auto: scan on a CPU and for a dense A, else associative.",
        choices=("auto", "scan", "associative")),
)  # fmt: skip
OFFSET = Key("edge_offset", "float", EDGE_OFFSET, "traced",
             "z of init=rescaled: the divisor is the edge law at a Gumbel variable of z. Default: "
             "its mean and one standard deviation.")  # fmt: skip


def init_key(choices: tuple[str, ...], default: str) -> Key:
    """Key `init` of a recurrence that offers these."""
    return Key(
        "init", "str", default, "init",
        "Of the state matrix A, or its eigenvalues. glorot: N(0, 1/n) entries; halved_glorot: "
        "divided by sqrt 2; rescaled: by the edge law (width >= 164); calibrated: by the measured "
        "radius's mean and one standard deviation; identity; uniform: over the unit disk; ring: "
        "over a ring's area.", choices=choices, named={"fixed": "rescaled"}, aliases=("A_init",),
    )  # fmt: skip


def init_problems(init: str, width: int) -> list[str]:
    """Why a width cannot start so; empty where it can."""
    try:
        divisor("rescaled" if init == "rescaled" else "glorot", width)
    except ValueError as error:
        return [str(error)]
    return []


def _check(config: Config) -> list[str]:
    return init_problems(config["init"], config["width"])


def _lru_check(config: Config) -> list[str]:
    ring = [] if config["r_min"] < config["r_max"] else ["r_min must be smaller than r_max"]
    return [*_check(config), *ring]


_DENSE_PARTS = {"w_value": "hh", "b_value": "h", "w_gate": "hh", "b_gate": "h"}


def recurrent_tensors(config: Config) -> dict[str, str]:
    """Tensor -> axes of one recurrence, in order: h features, n units, 1 a block."""
    model, both = config["model"], config["bidirectional"]
    if model == "deep_linear_rnn":
        return {"a": "1nn", "b": "nh", "c": "hn"} | ({"c_back": "hn"} if both else {}) | {"d": "h"}
    parts = ("re", "im") if model == "deep_lru" else ("re",)
    stored = LRU_SPECTRA[config["lru_param"]] if model == "deep_lru" else _CARTESIAN
    found: dict[str, str] = dict.fromkeys(stored, "n")
    if model == "deep_lru" and config["lru_gamma"] == "learned":
        found["gamma"] = "n"
    found |= {"b_re": "nh", "b_im": "nh"} | {f"c_{part}": "hn" for part in parts}
    return found | ({f"c_back_{part}": "hn" for part in parts} if both else {}) | {"d": "h"}


def block_tensors(config: Config) -> dict[str, str]:
    """Tensor -> axes of one block, in order."""
    norm = {} if config["norm"] == "none" else {"norm_scale": "h", "norm_bias": "h"}
    return norm | recurrent_tensors(config) | _DENSE_PARTS


def _tensors(config: Config, sizes: Sizes) -> tuple[Tensor, ...]:
    axes = {"h": int(config["d_model"]), "n": int(config["width"]), "1": 1}
    fan_in = (sizes.features, axes["h"]) if sizes.tokens else (axes["h"], sizes.features)
    found = [Tensor(-1, "encoder", "w", fan_in), Tensor(-1, "encoder", "bias", (axes["h"],))]
    depth = int(config["depth"])
    for layer in range(depth):
        for name, shape in block_tensors(config).items():
            found.append(Tensor(layer, f"block.{layer}", name, tuple(axes[a] for a in shape)))
    found.append(Tensor(depth, "decoder", "w", (sizes.classes, axes["h"])))
    found.append(Tensor(depth, "decoder", "bias", (sizes.classes,)))
    return tuple(found)


_PROBES = (TIMELINE, SPECTRUM, EIGENVALUES)

DEEP_LRU = Model(
    name="deep_lru",
    version=1,
    build="trainables.models.residual:sequence_net",
    doc="Residual blocks of a Linear Recurrent Unit and a gated linear unit.",
    keys=(
        *_SEQUENCE_KEYS,
        init_key(("ring", *(i for i in INITS if i != "identity")), "ring"),
        OFFSET,
        Key("r_min", "float", 0.4, "traced", "Smallest modulus of the ring.", low=0, high=1,
            open_high=True),
        Key("r_max", "float", 0.9, "traced", "Largest modulus of the ring.", low=0, high=1,
            open_low=True, open_high=True),
        Key("max_phase", "float", 3.14, "traced", "Largest phase of the ring.", unit="rad", low=0,
            open_low=True, high=6.2831853),
        Key("lru_param", "str", "exp", "static",
            "Eigenvalues are stored as. exp: log(-log |lambda|) and log phase, always inside the "
            "unit disk; log: -log |lambda| and phase; cartesian: real and imaginary part.",
            choices=tuple(LRU_SPECTRA)),
        Key("lru_gamma", "str", "learned", "static",
            "Factor on each unit's input: a parameter that starts at sqrt(1 - |lambda|^2), or 1.",
            choices=("learned", "none")),
    ),
    check=_lru_check,
    tensors=_tensors,
    probes=_PROBES,
)  # fmt: skip

DEEP_LINEAR_RNN = Model(
    name="deep_linear_rnn",
    version=1,
    build="trainables.models.residual:sequence_net",
    doc="Residual blocks of a dense linear recurrence and a gated linear unit.",
    keys=(*_SEQUENCE_KEYS, init_key(INITS[:-1], "glorot"), OFFSET),
    check=_check,
    tensors=_tensors,
    aliases=("rnn",),
    probes=_PROBES,
)

DEEP_DIAGONAL_RNN = Model(
    name="deep_diagonal_rnn",
    version=1,
    build="trainables.models.residual:sequence_net",
    doc="Residual blocks of a complex diagonal recurrence that may leave the unit disk, and a "
    "gated linear unit.",
    keys=(*_SEQUENCE_KEYS, init_key(INITS, "glorot"), OFFSET),
    check=_check,
    tensors=_tensors,
    aliases=("diag-rnn",),
    probes=_PROBES,
)

SEQUENCE = (DEEP_LRU, DEEP_LINEAR_RNN, DEEP_DIAGONAL_RNN)
