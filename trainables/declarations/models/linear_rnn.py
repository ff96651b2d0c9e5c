"""Declarations of the linear recurrent models of docs/specs/zucchet2024.md, 1.1 to 1.3."""

from __future__ import annotations

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Model, Sizes
from trainables.declarations.layers.scan_mode import SCAN_MODE
from trainables.declarations.probes.eigenvalues import MODULI
from trainables.declarations.probes.timeline import TIMELINE

SCALAR_TASK = "teacher_student"
"""The task whose input and output are one number a step, so that a linear model may be a kernel."""

MIN_NU = Key("min_nu", "float", 0.0, "traced",
             "Smallest modulus of eigenvalues: the student's first ones and the teacher's.", low=0,
             high=1, open_high=True)  # fmt: skip
MAX_PHASE = Key("max_phase", "float", 3.14, "traced",
                "Largest phase of eigenvalues: the student's first ones and the teacher's.",
                unit="rad", low=0, high=3.1415927)  # fmt: skip
_WIDTH = Key("width", "int", 64, "static", "Units N of the recurrence.", low=1,
             aliases=("hidden_size", "hidden_dim", "H", "d_hidden"))  # fmt: skip
_RUN = (
    Key("execution", "str", "auto", "static",
        "recurrent: outputs step by step; kernel: by one causal convolution with the response to "
        f"an impulse, for task {SCALAR_TASK}; auto: kernel there, which is faster by far on a CPU "
        "(`python -m benchmarks execution`), else recurrent.",
        choices=("auto", "recurrent", "kernel")),
    SCAN_MODE,
)  # fmt: skip
_COMPAT = Key("compat", "bool", False, "init",
              "First weights with the published program's defects: gamma of lru_param default and "
              "scaled_exp, phases of s4_init default.")  # fmt: skip


def executes(config: Config) -> str:
    """recurrent or kernel: what `execution` comes to."""
    if config["execution"] != "auto":
        return str(config["execution"])
    return "kernel" if config["task"] == SCALAR_TASK else "recurrent"


def _check(config: Config) -> list[str]:
    if config["execution"] == "kernel" and config["task"] != SCALAR_TASK:
        return [f"execution=kernel needs task {SCALAR_TASK}, one number in and out a step"]
    return []


def _lru_rows(config: Config, sizes: Sizes) -> tuple[int, int]:
    return (8 if config["lru_gamma"] == "learned" else 7), 1


LRU = Model(
    name="lru",
    version=1,
    every_step=True,
    build="trainables.models.linear_rnn:lru",
    doc="A complex diagonal linear recurrence: the Linear Recurrent Unit, or the complex RNN.",
    keys=(
        _WIDTH,
        MIN_NU,
        MAX_PHASE,
        Key("lru_param", "str", "exp", "static",
            "Eigenvalues are stored as. exp: log(-log |lambda|) and log phase; default: real and "
            "imaginary part, which may leave the unit disk; polar: modulus and phase; scaled_exp: "
            "as exp, with phase / (1 - |lambda|).",
            choices=("exp", "default", "polar", "scaled_exp")),
        Key("lru_gamma", "str", "learned", "static",
            "Factor on each unit's input. learned: a parameter that starts at sqrt(1-|lambda|^2); "
            "L2: that number itself; L1: 1 - |lambda|; none: 1.",
            choices=("learned", "L1", "L2", "none"), aliases=("lru_which_gamma", "which_gamma")),
        *_RUN,
        _COMPAT,
    ),
    check=_check,
    rows=_lru_rows,
    aliases=("LRU",),
    probes=(TIMELINE, MODULI),
)  # fmt: skip


def _rnn_check(config: Config) -> list[str]:
    found, width, heads = _check(config), config["width"], config["heads"]
    if width % heads:
        found.append(f"heads must divide width: {heads} blocks of {width} units")
    elif config["block_form"] == "rotation" and width != 2 * heads:
        found.append(f"block_form=rotation needs blocks of 2 units: heads={width // 2}")
    return found


def _rnn_rows(config: Config, sizes: Sizes) -> tuple[int, int]:
    return (5 if config["block_form"] == "rotation" else 4), 1


LINEAR_RNN = Model(
    name="linear_rnn",
    version=1,
    every_step=True,
    build="trainables.models.linear_rnn:linear_rnn",
    doc="A linear recurrence with a dense state matrix, or a block-diagonal one.",
    keys=(
        _WIDTH,
        Key("heads", "int", 1, "static", "Blocks of the state matrix; 1: dense.", low=1,
            aliases=("n_heads", "rnn_n_heads")),
        Key("block_form", "str", "free", "static",
            "free: every entry is a parameter; rotation: blocks [[a, -b], [b, a]], from a ring.",
            choices=("free", "rotation")),
        MIN_NU,
        MAX_PHASE,
        *_RUN,
    ),
    check=_rnn_check,
    rows=_rnn_rows,
    aliases=("RNN",),
    probes=(TIMELINE, MODULI),
)  # fmt: skip


def _s4_check(config: Config) -> list[str]:
    if config["task"] != SCALAR_TASK:
        return [f"model s4 gives one output for each input, so it needs task {SCALAR_TASK}"]
    return []


S4 = Model(
    name="s4",
    version=1,
    every_step=True,
    build="trainables.models.linear_rnn:s4",
    doc="S4-like: a diagonal state-space model with a learned time step Delta = softplus(raw).",
    keys=(
        _WIDTH,
        MIN_NU,
        MAX_PHASE,
        Key("delta", "str", "channel", "static", "One Delta for each channel, or for each state.",
            choices=("channel", "state")),
        Key("s4_init", "str", "default", "init",
            "default: A = -1 + 2 pi i U / Delta, Delta from the ring's moduli; delta_1: Delta = 1 "
            "and A = log nu + 2 pi i U. Phases are uniform whatever max_phase, which is the "
            "teacher's.", choices=("default", "delta_1")),
        *_RUN,
        _COMPAT,
    ),
    check=_s4_check,
    rows=lambda config, sizes: (8, 1),
    aliases=("S4",),
    probes=(TIMELINE, MODULI),
)  # fmt: skip

LINEAR = (LRU, LINEAR_RNN, S4)
