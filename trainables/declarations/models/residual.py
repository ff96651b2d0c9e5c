"""Declarations of the residual stacks of recurrent layers: `lru_stack`, `deep_recurrent`, and the
deep linear recurrent networks for long sequences (`docs/studies/herranz2023.md`, `zucchet2024.md`
and `bar2025.md`).
"""

from __future__ import annotations

from dataclasses import replace

from trainables.declarations.comments import comment_variants
from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Model, Sizes
from trainables.declarations.layers.glorot_init import EDGE_OFFSET, INITS, divisor
from trainables.declarations.layers.scan_mode import SCAN_MODE
from trainables.declarations.models.rnn import KEYS, is_tied
from trainables.declarations.probes.eigenvalues import EIGENVALUES, SPECTRUM
from trainables.declarations.probes.radius import RADIUS
from trainables.declarations.probes.timeline import TIMELINE

_SHARED = {key.name: key for key in KEYS}

# ---- lru_stack -----------------------------------------------------------------------------------


def _lru_rows(config: Config, sizes: Sizes, tensors: int) -> tuple[int, int]:
    depth, tied = int(config["depth"]), is_tied(config, sizes)
    adapter = 0 if sizes.features == config["width"] else 2
    below = int(not tied) if sizes.tokens else adapter
    return below + tensors * depth + (1 if tied else 2), (below > 0) + depth + 1


_LRU_KEYS = (
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
    SCAN_MODE,
)  # fmt: skip


def _ring_check(config: Config) -> list[str]:
    return [] if config["r_min"] < config["r_max"] else ["r_min must be smaller than r_max"]


LRU_STACK = Model(
    name="lru_stack",
    version=1,
    every_step=True,
    build="trainables.models.residual:lru_stack",
    doc="Residual blocks of a Linear Recurrent Unit and a gated linear unit; logits at every step.",
    keys=_LRU_KEYS,
    check=_ring_check,
    rows=lambda config, sizes: _lru_rows(config, sizes, 14),
    aliases=("reslruffn", "reslru"),
    probes=(TIMELINE, RADIUS),
    variants=comment_variants,
)
BARE_LRU = Model(
    name="bare_lru",
    version=1,
    every_step=True,
    build="trainables.models.residual:bare_lru",
    doc="Linear Recurrent Units on top of each other, without skips, norms or gates; logits at "
    "every step. What herranz2023's programs call net=lru.",
    keys=(
        replace(_LRU_KEYS[0], doc="Recurrent layers L."),
        _LRU_KEYS[1],
        _SHARED["dropout"],
        *_LRU_KEYS[3:],
    ),
    check=_ring_check,
    rows=lambda config, sizes: _lru_rows(config, sizes, 8),
    aliases=("lruffn",),
    probes=(TIMELINE,),
)

# ---- deep_recurrent ------------------------------------------------------------------------------


def _deep_rows(config: Config, sizes: Sizes) -> tuple[int, int]:
    depth, norm = int(config["depth"]), 0 if config["norm"] == "none" else 2
    block = norm + {"lru": 12, "complex": 11, "gru": 8}[str(config["deep_cell"])]
    return block * depth + 4, depth + 2


DEEP_RECURRENT = Model(
    name="deep_recurrent",
    version=1,
    every_step=True,
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
        SCAN_MODE,
    ),
    rows=_deep_rows,
    probes=(TIMELINE,),
)  # fmt: skip

# ---- for long sequences --------------------------------------------------------------------------

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
    SCAN_MODE,
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


def _rows(config: Config, sizes: Sizes) -> tuple[int, int]:
    model, both = config["model"], bool(config["bidirectional"])
    if model == "deep_linear_rnn":
        recurrence = 4 + both
    elif model == "deep_lru":
        recurrence = 7 + 2 * both + (config["lru_gamma"] == "learned")
    else:
        recurrence = 6 + both
    depth, norm = int(config["depth"]), 0 if config["norm"] == "none" else 2
    return (norm + recurrence + 4) * depth + 4, depth + 2


_PROBES = (TIMELINE, SPECTRUM, EIGENVALUES)

DEEP_LRU = Model(
    name="deep_lru",
    version=1,
    every_step=True,
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
            choices=("exp", "log", "cartesian")),
        Key("lru_gamma", "str", "learned", "static",
            "Factor on each unit's input: a parameter that starts at sqrt(1 - |lambda|^2), or 1.",
            choices=("learned", "none")),
    ),
    check=_lru_check,
    rows=_rows,
    probes=_PROBES,
)  # fmt: skip

DEEP_LINEAR_RNN = Model(
    name="deep_linear_rnn",
    version=1,
    every_step=True,
    build="trainables.models.residual:sequence_net",
    doc="Residual blocks of a dense linear recurrence and a gated linear unit.",
    keys=(*_SEQUENCE_KEYS, init_key(INITS[:-1], "glorot"), OFFSET),
    check=_check,
    rows=_rows,
    aliases=("rnn",),
    probes=_PROBES,
)

DEEP_DIAGONAL_RNN = Model(
    name="deep_diagonal_rnn",
    version=1,
    every_step=True,
    build="trainables.models.residual:sequence_net",
    doc="Residual blocks of a complex diagonal recurrence that may leave the unit disk, and a "
    "gated linear unit.",
    keys=(*_SEQUENCE_KEYS, init_key(INITS, "glorot"), OFFSET),
    check=_check,
    rows=_rows,
    aliases=("diag-rnn",),
    probes=_PROBES,
)

SEQUENCE = (DEEP_LRU, DEEP_LINEAR_RNN, DEEP_DIAGONAL_RNN)
