"""Learning rates after Adam's normalisation."""

from __future__ import annotations

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Column, Probe
from trainables.declarations.probes.base import cadence

EFFECTIVE_LR = Probe(
    name="effective_lr",
    build="trainables.probes.effective_lr:effective_lr",
    keys=(cadence("effective_lr", "effective learning rates"),),
    doc="Learning rate of each tensor's entries after Adam's normalisation.",
    columns=(
        Column("layer", "int32", "Layer, as in layers."),
        Column("layer_name", "string", "Name of the layer."),
        Column("tensor", "string", "Parameter tensor."),
        Column("lr", "float64", "Learning rate of the coming step."),
        Column("lr_mean", "float64", "lr / (sqrt(v^) + eps), geometric mean over entries; v^ the "
               "bias-corrected average of squared gradients."),
        Column("lr_min", "float64", "The smallest of those."),
        Column("lr_max", "float64", "The largest of those."),
        Column("lr_probe", "float64", "As published: geometric mean of max(step, 0) + 1e-8 of a "
               "step whose gradient is 1 everywhere. Momentum enters, so it may be the floor."),
        Column("negative", "float64", "Share of entries for which that step is not positive."),
    ),
)  # fmt: skip

WEIGHT_RATES = Probe(
    name="weight_rates",
    build="trainables.probes.effective_lr:weight_rates",
    keys=(
        cadence("weight_rates", "the effective learning rate of every weight"),
        Key("weight_rates_most", "int", 5000, "recording",
            "At most this many entries of a tensor, evenly spaced.", unit="entries", low=1),
    ),
    doc="Learning rate of every weight after Adam's normalisation.",
    columns=(
        Column("layer", "int32", "Layer, as in layers."),
        Column("layer_name", "string", "Name of the layer."),
        Column("tensor", "string", "Parameter tensor."),
        Column("entry", "int32", "Number of the entry in its tensor, the last axis fastest."),
        Column("weight", "float64", "The weight."),
        Column("lr", "float64", "lr / (sqrt(v^) + eps), v^ the bias-corrected average of its "
               "squared gradients."),
        Column("step", "float64", "As published: the step of a gradient that is 1 everywhere. "
               "Momentum enters, so it may be below 0."),
    ),
)  # fmt: skip
