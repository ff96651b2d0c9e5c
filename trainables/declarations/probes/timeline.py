"""Gradients over time, which every recurrent model shows."""

from __future__ import annotations

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Column, Probe

TIMELINE = Probe(
    name="timeline",
    build="trainables.probes.timeline:timeline",
    keys=(
        Key("timeline_every", "int", 0, "recording",
            "Record dL/dh over time every k-th epoch; 0: at the first and last epoch only.",
            unit="epochs", low=0),
        Key("timeline_points", "int", 64, "recording",
            "At most this many time steps, evenly spaced, the last included.", unit="time steps",
            low=2),
    ),
    doc="Norm of dL/dh_t over time, per layer, on a fixed probe batch.",
    columns=(
        Column("layer", "int32", "Recurrent layer, 0 nearest the input."),
        Column("t", "int32", "Time step, 0 first.", "time steps"),
        Column(
            "grad_norm",
            "float64",
            "2-norm over batch and units of the total derivative dL/dh_t.",
            "loss per unit of h",
        ),
    ),
)  # fmt: skip
