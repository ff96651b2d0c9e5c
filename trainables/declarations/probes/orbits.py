"""Orbits under constant inputs, what they end in, and how fast they contract."""

from __future__ import annotations

import re

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Column, Config, Probe
from trainables.declarations.probes.base import cadence

_STDS = re.compile(r"[0-9]*\.?[0-9]+(e[+-]?[0-9]+)?(:[0-9]*\.?[0-9]+(e[+-]?[0-9]+)?)*")


def stds(config: Config) -> tuple[float, ...]:
    """Standard deviations of first states that `orbit_std` names."""
    return tuple(float(text) for text in str(config["orbit_std"]).split(":"))


def _starts_check(config: Config) -> list[str]:
    if _STDS.fullmatch(str(config["orbit_std"])):
        return []
    return [f"orbit_std must be numbers such as 100 or 0.1:1:100; got {config['orbit_std']!r}"]


def _orbits_check(config: Config) -> list[str]:
    found = _starts_check(config)
    if config["orbit_burn_in"] >= config["orbit_steps"]:
        found.append("orbit_burn_in must be less than orbit_steps: else no step is recorded")
    return found


_INPUTS = Key("orbit_inputs", "int", 10, "recording",
        "Number of constant inputs: frequencies of the task sine, or tokens, drawn from the "
        "seed; all symbols of temporal_order.", low=1)  # fmt: skip
_STARTS = (
    _INPUTS,
    Key("orbit_starts", "int", 4, "recording",
        "Random first states for each input, the same at every snapshot.", low=1,
        aliases=("n_sequences_orbit",)),
    Key("orbit_std", "str", "100", "recording",
        "Standard deviation of all numbers of these states; several as 0.1:1:100, each with "
        "orbit_starts states.", aliases=("std_orbit",)),
)  # fmt: skip

_INPUT = (
    Column("input", "int32", "Constant input, 0 first."),
    Column("input_value", "float64", "The frequency (rad/step), symbol or token it is."),
)

_START = (
    *_INPUT,
    Column("start", "int32", "Random first state, the same at every snapshot."),
    Column("std", "float64", "Standard deviation of the first state's numbers."),
)

ORBITS = Probe(
    name="orbits",
    build="trainables.probes.orbits:orbits",
    keys=(
        cadence("orbits", "the output under constant inputs", "interval_orbit"),
        *_STARTS,
        Key("orbit_steps", "int", 1600, "recording", "Steps of an orbit.", unit="time steps",
            low=1, aliases=("seq_len_orbit",)),
        Key("orbit_burn_in", "int", 1200, "recording", "Number of first steps that are left out.",
            unit="time steps", low=0, aliases=("burnout_orbit",)),
        Key("orbit_feedback", "bool", False, "recording",
            "From the second step on the input is what the net has answered: the token of its "
            "highest logit, or its outputs."),
    ),
    check=_orbits_check,
    doc="Outputs over time under constant inputs, or fed back, at the current weights, after a "
    "burn-in.",
    columns=(
        *_START,
        Column("t", "int32", "Time step, 0 first.", "time steps"),
        Column("output", "int32", "Output; of more than eight: 0 their mean, 1 and 2 projections "
               "with weights U(0, 2) divided by their number, then single ones; -1 the token that "
               "is fed back."),
        Column("y", "float64", "Its value (float32)."),
    ),
)  # fmt: skip

ATTRACTORS = Probe(
    name="attractors",
    build="trainables.probes.orbits:attractors_probe",
    keys=(
        cadence("attractors", "what these orbits end in"),
        *_STARTS,
        Key("attractor_steps", "int", 20_000, "recording",
            "An orbit is followed, twice as long each time, until what it ends in has settled, for "
            "at most about this number of steps.", unit="time steps", low=1024),
    ),
    check=_starts_check,
    doc="What the orbits under constant inputs end in, in float64, burnt in until it has settled.",
    columns=(
        *_START,
        Column("kind", "string", "fixed_point, period, quasi_periodic (a closed curve), chaotic; "
               "slow: not settled after attractor_steps; unbounded."),
        Column("period", "int32", "Steps of a period; 1 for fixed points, 0 for none up to 64.",
               "time steps"),
        Column("amplitude", "float64", "Largest peak-to-peak value of an output."),
        Column("omega", "float64", "Dominant angular frequency of that output.", "rad/step"),
        Column("lyapunov", "float64", "Largest Lyapunov exponent over the last half of the orbit.",
               "nats/step"),
        Column("attractor", "int32", "Number of the attractor among those of this input and std; "
               "-1 where not settled."),
        Column("residual", "float64", "Recurrence error at the period over 1 + |x|, or the largest "
               "step over that."),
        Column("steps", "int32", "Steps followed.", "time steps"),
    ),
)  # fmt: skip

CONTRACTION = Probe(
    name="contraction",
    build="trainables.probes.orbits:contraction",
    keys=(cadence("contraction", "how fast the step contracts, and bounds of it"), _INPUTS),
    doc="How fast two random states under one constant input meet, and bounds of it.",
    columns=(
        *_INPUT,
        Column("decay_rate", "float64", "Slope of the logarithm of their distance over 200 steps "
               "or down to 1e-6; measured.", "nats/step"),
        Column("bound", "float64", "Upper bound of the step's Lipschitz constant: |W_hh| of a tanh "
               "network; of an orthogonal layer 1 where no bias is positive, else infinite."),
        Column("certificate", "float64", "Of an LSTM, the largest ratio of a norm to what Miller "
               "and Hardt's condition allows for inputs in [-1, 1]: below 1 it is a contraction."),
    ),
)  # fmt: skip
