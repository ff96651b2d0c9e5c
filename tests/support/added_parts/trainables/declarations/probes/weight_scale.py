"""How large weights are, of every model."""

from trainables.declarations.core.parts import Column, Probe
from trainables.declarations.probes.base import cadence

WEIGHT_SCALE = Probe(
    name="weight_scale",
    build="trainables.probes.weight_scale:weight_scale",
    keys=(cadence("weight_scale", "the size of weights"),),
    every_model=True,
    doc="Size of the weights of each tensor.",
    columns=(
        Column("tensor", "string", "Layer and tensor."),
        Column("scale", "float64", "Root mean square of its entries."),
    ),
)
