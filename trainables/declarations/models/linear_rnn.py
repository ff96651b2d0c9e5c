"""Declarations of the linear recurrent models of docs/specs/zucchet2024.md, 1.1 to 1.3."""

from __future__ import annotations

from typing import Any

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Config, Model, Sizes
from trainables.declarations.core.presets import Meaning, Preset
from trainables.declarations.layers.scan_mode import SCAN_MODE
from trainables.declarations.probes.eigenvalues import MODULI
from trainables.declarations.probes.timeline import TIMELINE

SCALAR_TASK = "teacher_student"
"""The task that judges a linear model by its response to an impulse, so that it may be a kernel."""

MIN_NU = Key("min_nu", "float", 0.0, "traced",
             "Smallest modulus of eigenvalues: the student's first ones and the teacher's.", low=0,
             high=1, open_high=True)  # fmt: skip
MAX_PHASE = Key("max_phase", "float", 3.14, "traced",
                "Largest phase of eigenvalues: the student's first ones and the teacher's.",
                unit="rad", low=0, high=3.1415927)  # fmt: skip
_MAX_NU = Key("max_nu", "float", 1.0, "traced",
              "Largest modulus of the student's first eigenvalues.", low=0, high=1,
              open_low=True)  # fmt: skip
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
_MAPS = Key("maps", "bool", True, "static",
            "false: B and C are the identity and D is 0; needs as many inputs and outputs as "
            "units.", aliases=("use_B_C_D",))  # fmt: skip
_COMPAT = Key("compat", "bool", False, "init",
              "First weights with the published program's defects: gamma of lru_param default and "
              "scaled_exp, phases of s4_init default.")  # fmt: skip


def executes(config: Config) -> str:
    """recurrent or kernel: what `execution` comes to."""
    if config["execution"] != "auto":
        return str(config["execution"])
    return "kernel" if config["task"] == SCALAR_TASK else "recurrent"


def _check(config: Config) -> list[str]:
    if config["min_nu"] > config["max_nu"]:
        return [f"min_nu={config['min_nu']:g} must not be above max_nu={config['max_nu']:g}"]
    if config["task"] == SCALAR_TASK:
        sides, width = (config["d_input"], config["d_output"]), config["width"]
        if not config.get("maps", True) and sides != (width, width):
            return [
                "maps=false makes inputs and outputs the states: set width to d_input and d_output"
            ]
    elif config["execution"] == "kernel":
        return [f"execution=kernel needs task {SCALAR_TASK}, which judges responses to an impulse"]
    return []


def _lru_rows(config: Config, sizes: Sizes) -> tuple[int, int]:
    return 2 + (config["lru_gamma"] == "learned") + 5 * config["maps"], 1


LRU = Model(
    name="lru",
    version=1,
    every_step=True,
    build="trainables.models.linear_rnn:lru",
    doc="A complex diagonal linear recurrence: the Linear Recurrent Unit, or the complex RNN.",
    keys=(
        _WIDTH,
        MIN_NU,
        _MAX_NU,
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
        _MAPS,
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
    return 1 + (config["block_form"] == "rotation") + 3 * config["maps"], 1


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
        _MAX_NU,
        MAX_PHASE,
        _MAPS,
        *_RUN,
    ),
    check=_rnn_check,
    rows=_rnn_rows,
    aliases=("RNN",),
    probes=(TIMELINE, MODULI),
)  # fmt: skip


def _s4_check(config: Config) -> list[str]:
    if config["min_nu"] > config["max_nu"]:
        return [f"min_nu={config['min_nu']:g} must not be above max_nu={config['max_nu']:g}"]
    what = "model s4 gives one output for each input"
    if config["task"] != SCALAR_TASK:
        return [f"{what}, so it needs task {SCALAR_TASK}"]
    if config["d_input"] != config["d_output"]:
        return [f"{what}, so d_input and d_output must be equal"]
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
        _MAX_NU,
        MAX_PHASE,
        Key("delta", "str", "channel", "static", "One Delta for each channel, or for each state.",
            choices=("channel", "state")),
        Key("s4_init", "str", "default", "init",
            "default: A = -1 + 2 pi i U / Delta, Delta from the ring's moduli; delta_1: Delta = 1 "
            "and A = log nu + 2 pi i U. Phases are uniform whatever max_phase, which is the "
            "teacher's.", choices=("default", "delta_1"), aliases=("s4_init_scheme",)),
        *_RUN,
        _COMPAT,
    ),
    check=_s4_check,
    rows=lambda config, sizes: (8, 1),
    aliases=("S4",),
    probes=(TIMELINE, MODULI),
)  # fmt: skip

LINEAR = (LRU, LINEAR_RNN, S4)

# ---- flags of the published program --------------------------------------------------------------


def flag(value: Any) -> bool:
    """A switch as a command line or a sweep file writes it."""
    return str(value).strip().lower() in ("true", "1", "yes", "y", "t")


SHARED_DELTA = Preset(
    name="s4_shared_Delta",
    read=lambda value, config: Meaning({} if flag(value) else {"delta": "state"}),
    decides=frozenset({"delta"}),
    doc="As the published program writes delta: true is one for each channel, false one a state.",
)
FORCE_COMPLEX = Preset(
    name="rnn_force_complex",
    read=lambda value, config: Meaning({"block_form": "rotation"} if flag(value) else {}),
    decides=frozenset({"block_form"}),
    doc="As the published program writes block_form=rotation: true; false leaves blocks free.",
)
