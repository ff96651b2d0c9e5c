"""How the entries of each tensor are spread."""

from __future__ import annotations

from trainables.declarations.core.parts import Column, Probe
from trainables.declarations.probes.base import cadence

WEIGHT_HISTOGRAM = Probe(
    name="weight_histogram",
    build="trainables.probes.weight_histogram:weight_histogram",
    keys=(cadence("weight_histogram", "histograms of each tensor's entries"),),
    doc="Histogram of the entries of each tensor, in 40 equal bins from the least to the greatest.",
    columns=(
        Column("layer", "int32", "Layer, as in layers."),
        Column("layer_name", "string", "Name of the layer."),
        Column("tensor", "string", "Parameter tensor."),
        Column("low", "float64", "Lower edge of the bin."),
        Column("high", "float64", "Upper edge of the bin."),
        Column("share", "float64", "Share of the tensor's entries in the bin."),
    ),
)
