"""Slopes and curvatures of the loss by sequence length."""

from __future__ import annotations

from trainables.declarations.core.parts import Column, Probe
from trainables.declarations.probes.base import cadence

SMOOTHNESS = Probe(
    name="smoothness",
    build="trainables.probes.smoothness:smoothness",
    keys=(
        cadence(
            "smoothness", "slopes and curvatures of the loss by sequence length, in float64"
        ),
    ),
    doc="Loss, slope and curvature at the current weights by length of the sequences, in float64.",
    columns=(
        Column("length", "int32", "The first so many time steps of the probe batch.",
               "time steps"),
        Column("cost", "float64", "Mean loss over them."),
        Column("grad_norm", "float64", "2-norm of its gradient.", "loss/param"),
        Column("curvature", "float64", "Largest |eigenvalue| of its Hessian, by power iteration.",
               "loss/param^2"),
        Column("lipschitz", "float64", "Largest |dV| over distance between neighbours on a line "
               "through the weights along the gradient.", "loss/param"),
        Column("beta", "float64", "Largest |dg| over distance between the same neighbours.",
               "loss/param^2"),
    ),
)  # fmt: skip
