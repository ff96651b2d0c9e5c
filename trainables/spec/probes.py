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

RADIUS = Probe(
    name="radius",
    doc="Spectral radius of the one-step Jacobians on a fixed probe batch, at the current weights.",
    columns=(
        Column("kind", "string", "rec: d state / d last state of the same layer; enc: d state / d "
               "input; depth: d state / d state of the layer below; dec: d logits / d state."),
        Column("layer", "int32", "Layer of the upper state, 0 nearest the input."),
        Column("radius", "float64", "Largest |eigenvalue|, mean over the batch."),
        Column("radius_std", "float64", "Standard deviation of that over the batch."),
    ),
)  # fmt: skip

LSC = Probe(
    name="lsc",
    doc="What each iteration of the stage lsc measured, before it changed the weights.",
    columns=(
        Column("iteration", "int32", "Iteration of the trial, 0 first."),
        Column("kind", "string", "As in radius; block: a pair of consecutive operations of a "
               "feed-forward network, of which each iteration takes one."),
        Column("layer", "int32", "Layer whose weights the Jacobian hangs on, 0 nearest the input."),
        Column("radius", "float64", "Mean over samples of lsc_norm, by default the radius."),
        Column("target", "float64", "What it should be."),
    ),
)  # fmt: skip

MODULI = Probe(
    name="moduli",
    doc="Moduli of the eigenvalues of a linear recurrence, at the current weights.",
    columns=(
        Column("unit", "int32", "Rank of the eigenvalue, 0 the largest modulus; for a matrix of "
               "several blocks over all of them."),
        Column("modulus", "float64", "|eigenvalue| of the step from a state to the next."),
    ),
)  # fmt: skip

EFFECTIVE_LR = Probe(
    name="effective_lr",
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

SHARPNESS = Probe(
    name="sharpness",
    doc="Curvature of the loss at the current weights, on a fixed probe batch.",
    columns=(
        Column("top_eigenvalue", "float64", "Of the Hessian, by 50 power iterations from the "
               "vector of ones, on at most 32 samples.", "loss/param^2"),
        Column("directional", "float64", "g'Hg / |g|^2 along the gradient g of the whole batch.",
               "loss/param^2"),
    ),
)  # fmt: skip

PROBES = (TIMELINE, RADIUS, LSC, MODULI, EFFECTIVE_LR, SHARPNESS)
