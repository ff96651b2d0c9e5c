"""Declarations of deep linear recurrent networks for long sequences: study `bar2025`, section 1."""

from __future__ import annotations

from dataclasses import replace

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Model, Sizes, Tensor
from trainables.declarations.layers.glorot_init import EDGE_OFFSET, INITS, divisor
from trainables.declarations.models.rnn import KEYS
from trainables.declarations.probes.eigenvalues import EIGENVALUES, SPECTRUM
from trainables.declarations.probes.timeline import TIMELINE

_SHARED = {key.name: key for key in KEYS}
_CARTESIAN = ("lambda_re", "lambda_im")
LRU_SPECTRA = {"exp": ("nu", "theta"), "log": ("nu", "theta"), "cartesian": _CARTESIAN}
"""Tensors of an LRU's eigenvalues by `lru_param`."""

_BLOCK = (
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
    build="trainables.models.sequence_nets:sequence_net",
    doc="Residual blocks of a Linear Recurrent Unit and a gated linear unit.",
    keys=(
        *_BLOCK,
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
    build="trainables.models.sequence_nets:sequence_net",
    doc="Residual blocks of a dense linear recurrence and a gated linear unit.",
    keys=(*_BLOCK, init_key(INITS[:-1], "glorot"), OFFSET),
    check=_check,
    tensors=_tensors,
    aliases=("rnn",),
    probes=_PROBES,
)

DEEP_DIAGONAL_RNN = Model(
    name="deep_diagonal_rnn",
    version=1,
    build="trainables.models.sequence_nets:sequence_net",
    doc="Residual blocks of a complex diagonal recurrence that may leave the unit disk, and a "
    "gated linear unit.",
    keys=(*_BLOCK, init_key(INITS, "glorot"), OFFSET),
    check=_check,
    tensors=_tensors,
    aliases=("diag-rnn",),
    probes=_PROBES,
)

SEQUENCE = (DEEP_LRU, DEEP_LINEAR_RNN, DEEP_DIAGONAL_RNN)
