"""What the nonlinearities of a model give."""

from __future__ import annotations

from trainables.declarations.core.parts import Column, Probe
from trainables.declarations.probes.base import cadence

ACTIVATIONS = Probe(
    name="activations",
    build="trainables.probes.activations:activations",
    keys=(cadence("activations", "mean, spread, saturation and death of activations by layer"),),
    doc="Values of every nonlinearity of the model, on a fixed probe batch, in evaluation mode.",
    every_model=True,
    columns=(
        Column("position", "int32", "Place in the forward pass, 0 nearest the input."),
        Column("layer_name", "string", "Layer whose parameter acted last on what enters it."),
        Column("function", "string", "tanh, sigmoid, relu, spike, gelu, ...; none: the answer of "
               "the model."),
        Column("mean", "float64", "Mean over samples, time steps and units."),
        Column("std", "float64", "Standard deviation over the same."),
        Column("saturated", "float64", "Share of values at which next to no gradient passes: "
               "within 0.01 of a bound of tanh or sigmoid, at the 0 of relu or of a neuron that "
               "spikes; NaN for other functions.", "fraction"),
        Column("dead", "float64", "Share of units, entries of the last axis, that are saturated "
               "for every sample and time step; NaN as above.", "fraction"),
    ),
)  # fmt: skip
