"""Declarations of analyses of inputs, and of a GRU that they gate (docs/specs/zucchet2024.md, 5.8
and 5.9)."""

from __future__ import annotations

from trainables.declarations.analyses.base import analysis
from trainables.declarations.analyses.linear_unit import BATCH, DEEP, STEPS, WIDTH
from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Column, Probe
from trainables.declarations.tasks.sequence_file import INPUT_FILE, input_dataset, input_problems

INPUT_STAGES = (
    analysis(
        "autocorrelation",
        "How inputs correlate over time, measured and fitted.",
        "trainables.analyses.input_signals:Autocorrelation",
        ("autocorrelation",),
        INPUT_FILE,
        Key("correlation_lags", "int", 200, "static", "Lags, at most.", unit="time steps", low=2),
        WIDTH,
        STEPS,
        BATCH,
        check=input_problems,
        dataset=input_dataset,
    ),
    analysis(
        "gated_network",
        "States and sensitivities of a GRU whose gates read inputs and states, beside theory.",
        "trainables.analyses.deep_signals:GatedNetwork",
        ("gated_network",),
        Key("gate_memory", "float", 16.0, "traced",
            "T of every update gate at zero input and state: it keeps 1 - 1/T.", unit="time steps",
            low=1, open_low=True),
        DEEP["scale_x"],
        DEEP["scale_h"],
        INPUT_FILE,
        WIDTH,
        STEPS,
        BATCH,
        check=input_problems,
        dataset=input_dataset,
    ),
)  # fmt: skip

INPUT_PROBES = (
    Probe(
        name="autocorrelation",
        doc="R(d), the mean of x_t x_{t+d} over sequences, time and features.",
        columns=(
            Column("lag", "int32", "d.", "time steps"),
            Column("measured", "float64", "R(d)."),
            Column("fitted", "float64", "slow rho^d, and white at lag 0."),
            Column("slow", "float64", "Size of the slow component."),
            Column("rho", "float64", "Its correlation one step apart."),
            Column("white", "float64", "Size of the white one."),
        ),
    ),
    Probe(
        name="gated_network",
        doc="A GRU h' = (1 - z) W x + z h, z = sig(W_z x + b_z + U_z h), at its last step.",
        columns=(
            Column("memory", "float64", "T.", "time steps"),
            Column("energy", "float64", "E[h^2] of leaky units of these inputs, closed form."),
            Column("sensitivity", "float64", "E[(dh/db_z)^2] likewise."),
            Column("measured_energy", "float64", "h^2, mean over sequences and units."),
            Column("measured_sensitivity", "float64", "(dh/db_z)^2 of each unit's own b_z, all "
                   "paths included, likewise."),
        ),
    ),
)  # fmt: skip
