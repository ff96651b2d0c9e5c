"""Declarations of the analyses of the chaotic two-unit LSTM (docs/specs/ribeiro2020.md, 1.3
and 4.4): stages of one epoch that train nothing and fill probes."""

from __future__ import annotations

import re

from trainables.declarations.analyses.base import analysis
from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Column, Config, Probe

_NUMBERS = re.compile(r"[0-9]*\.?[0-9]+(:[0-9]*\.?[0-9]+)*")


def _line_check(config: Config) -> list[str]:
    if config["scan_from"] < config["scan_to"]:
        return []
    return ["scan_from must be less than scan_to"]


def _cost_check(config: Config) -> list[str]:
    found = _line_check(config) if "scan_from" in config else []
    if config["cost_burn_in"] >= config["cost_steps"]:
        found.append("cost_burn_in must be less than cost_steps")
    return found


def _length_check(config: Config) -> list[str]:
    if _NUMBERS.fullmatch(config["at"]):
        return []
    return [f"at must be numbers such as 0.6:0.95; got {config['at']!r}"]


_LINE = (
    Key("scan_from", "float", 0.5, "static", "First s of the family W(s) = s W.", low=0),
    Key("scan_to", "float", 2.0, "static", "Last s.", low=0),
    Key("scan_points", "int", 301, "static", "Values of s, evenly spaced.", low=2),
)
_COST = (
    Key("cost_steps", "int", 200, "static", "Steps of an orbit.", unit="time steps", low=1),
    Key("cost_burn_in", "int", 100, "static", "Number of first steps that count for nothing.",
        unit="time steps", low=0),
)  # fmt: skip


CHAOS_STAGES = (
    analysis(
        "chaos_scan",
        "Orbit diagram and Lyapunov exponents of a family of two-unit LSTMs through chaos.",
        "trainables.analyses.chaotic_lstm:Scan",
        ("chaos_scan", "orbit_diagram"),
        *_LINE,
        Key("scan_starts", "str", "standard", "static", "standard: h = c = .5; origin: 1e-3; both.",
            choices=("standard", "origin", "both")),
        Key("scan_steps", "int", 65_536, "static",
            "Orbits are followed until all have settled, for at most about this number of steps.",
            unit="time steps", low=1024),
        Key("scan_keep", "int", 128, "static", "Last steps kept for the diagram.",
            unit="time steps", low=1, high=512),
        check=_line_check,
    ),
    analysis(
        "chaos_cost",
        "Distance to the orbit at s = 1 along the family, with its derivatives.",
        "trainables.analyses.chaotic_lstm:CostLine",
        ("chaos_cost",),
        *_LINE,
        *_COST,
        check=_cost_check,
    ),
    analysis(
        "chaos_length",
        "The same by length of the orbit, at fixed s.",
        "trainables.analyses.chaotic_lstm:CostLength",
        ("chaos_length",),
        Key("family", "str", "chaotic_lstm", "static",
            "power: x_t = s^t and V the mean of x_t^2, whose derivatives are known.",
            choices=("chaotic_lstm", "power")),
        Key("at", "str", "0.6:0.95:1.05:1.7", "static", "Values of s."),
        Key("most_steps", "int", 200, "static", "Longest orbit; lengths are 20, 30, ...",
            unit="time steps", low=20, high=400),
        check=_length_check,
    ),
    analysis(
        "chaos_plane",
        "The cost over a plane of weights: s1 along the family, s2 towards random weights.",
        "trainables.analyses.chaotic_lstm:CostPlane",
        ("chaos_plane",),
        *_COST,
        Key("plane_points", "int", 151, "static", "Points each way, beside s1 = 1 and s2 = 0.",
            low=2),
        Key("plane_seed", "int", 0, "static", "Draws the random weights.", low=0),
        check=_cost_check,
    ),
)  # fmt: skip

_S = Column("s", "float64", "Factor of the weights; 1 is the chaotic LSTM.")
_DERIVATIVES = (
    Column("cost", "float64", "Mean squared distance of both units to the orbit at s = 1; V."),
    Column("slope", "float64", "dV/ds, by forward derivatives."),
    Column("bend", "float64", "d2V/ds2, likewise."),
    Column("grad_norm", "float64", "2-norm of V's gradient by all weights."),
    Column("hvp_norm", "float64", "2-norm of the Hessian times the line's unit direction."),
)

CHAOS_PROBES = (
    Probe(
        name="chaos_scan",
        doc="What orbits of the family end in, by s and first state.",
        columns=(
            _S,
            Column("start", "string", "First state: standard or origin."),
            Column("kind", "string", "As in attractors."),
            Column("period", "int32", "Steps of a period; 0 for none up to 64.", "time steps"),
            *(Column(f"lyapunov{k}", "float64", f"Lyapunov exponent {k} over the orbit's last "
                     "half.", "nats/step") for k in range(1, 5)),
            Column("amplitude", "float64", "Largest peak-to-peak value of a unit."),
            Column("attractor", "int32", "Number of the attractor among those of this s."),
            Column("residual", "float64", "As in attractors."),
            Column("steps", "int32", "Steps followed.", "time steps"),
            Column("origin_modulus", "float64", "Largest |eigenvalue| of the Jacobian at the "
                   "origin; 1 at the Neimark-Sacker point."),
        ),
    ),
    Probe(
        name="orbit_diagram",
        doc="Last states of these orbits.",
        columns=(
            _S,
            Column("start", "string", "First state."),
            Column("t", "int32", "Step among those kept.", "time steps"),
            Column("h1", "float64", "First unit."),
            Column("h2", "float64", "Second unit."),
        ),
    ),
    Probe(name="chaos_cost", doc="Cost profile of the family.", columns=(_S, *_DERIVATIVES)),
    Probe(
        name="chaos_length",
        doc="Cost of whole orbits by their length.",
        columns=(Column("length", "int32", "Steps N.", "time steps"), _S, *_DERIVATIVES),
    ),
    Probe(
        name="chaos_plane",
        doc="Cost over a plane of weights.",
        columns=(
            Column("s1", "float64", "Along the family."),
            Column("s2", "float64", "Towards random weights."),
            _DERIVATIVES[0],
        ),
    ),
)  # fmt: skip
