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

PROBES = (TIMELINE, RADIUS, LSC)
