"""Schemas of the built-in probe tables."""

from trainables.spec.parts import Column, Probe

TIMELINE = Probe(
    name="timeline",
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
)

PROBES = (TIMELINE,)
