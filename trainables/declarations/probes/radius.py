"""Spectral radii of one-step Jacobians."""

from __future__ import annotations

from trainables.declarations.core.parts import Column, Probe
from trainables.declarations.probes.base import cadence

RADIUS = Probe(
    name="radius",
    build="trainables.probes.radius:radius",
    keys=(cadence("radius", "the radii of one-step Jacobians"),),
    doc="Spectral radius of the one-step Jacobians on a fixed probe batch, at the current weights.",
    columns=(
        Column("kind", "string", "rec: d state / d last state of the same layer; enc: d state / d "
               "input; depth: d state / d state of the layer below; dec: d logits / d state."),
        Column("layer", "int32", "Layer of the upper state, 0 nearest the input."),
        Column("radius", "float64", "Largest |eigenvalue|, mean over the batch."),
        Column("radius_std", "float64", "Standard deviation of that over the batch."),
    ),
)  # fmt: skip
