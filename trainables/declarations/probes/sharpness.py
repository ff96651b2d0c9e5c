"""Curvature of the loss."""

from __future__ import annotations

from trainables.declarations.core.parts import Column, Probe
from trainables.declarations.probes.base import cadence

SHARPNESS = Probe(
    name="sharpness",
    build="trainables.probes.sharpness:sharpness",
    keys=(cadence("sharpness", "the largest Hessian eigenvalue"),),
    doc="Curvature of the loss at the current weights, on a fixed probe batch.",
    columns=(
        Column("top_eigenvalue", "float64", "Of the Hessian, by 50 power iterations from the "
               "vector of ones, on at most 32 samples.", "loss/param^2"),
        Column("directional", "float64", "g'Hg / |g|^2 along the gradient g of the whole batch.",
               "loss/param^2"),
    ),
)  # fmt: skip
