"""Schemas of the built-in probe tables."""

from trainables.declarations.core.parts import Column, Probe

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

_INPUT = (
    Column("input", "int32", "Constant input, 0 first."),
    Column("input_value", "float64", "The frequency (rad/step), symbol or token it is."),
)
_START = (
    *_INPUT,
    Column("start", "int32", "Random first state, the same at every snapshot."),
    Column("std", "float64", "Standard deviation of the first state's numbers."),
)

ORBITS = Probe(
    name="orbits",
    doc="Outputs over time under constant inputs, at the current weights, after a burn-in.",
    columns=(
        *_START,
        Column("t", "int32", "Time step, 0 first.", "time steps"),
        Column("output", "int32", "Output; of more than eight: 0 their mean, 1 and 2 projections "
               "with weights U(0, 2), then single ones."),
        Column("y", "float64", "Its value (float32)."),
    ),
)  # fmt: skip

ATTRACTORS = Probe(
    name="attractors",
    doc="What the orbits under constant inputs end in, in float64, burnt in until it has settled.",
    columns=(
        *_START,
        Column("kind", "string", "fixed_point, period, quasi_periodic (a closed curve), chaotic; "
               "slow: not settled after attractor_steps; unbounded."),
        Column("period", "int32", "Steps of a period; 1 for fixed points, 0 for none up to 64.",
               "time steps"),
        Column("amplitude", "float64", "Largest peak-to-peak value of an output."),
        Column("omega", "float64", "Dominant angular frequency of that output.", "rad/step"),
        Column("lyapunov", "float64", "Largest Lyapunov exponent over the last half of the orbit.",
               "nats/step"),
        Column("attractor", "int32", "Number of the attractor among those of this input and std; "
               "-1 where not settled."),
        Column("residual", "float64", "Recurrence error at the period over 1 + |x|, or the largest "
               "step over that."),
        Column("steps", "int32", "Steps followed.", "time steps"),
    ),
)  # fmt: skip

CONTRACTION = Probe(
    name="contraction",
    doc="How fast two random states under one constant input meet, and bounds of it.",
    columns=(
        *_INPUT,
        Column("decay_rate", "float64", "Slope of the logarithm of their distance over 200 steps "
               "or down to 1e-6; measured.", "nats/step"),
        Column("bound", "float64", "Upper bound of the step's Lipschitz constant: |W_hh| of a tanh "
               "network; of an orthogonal layer 1 where no bias is positive, else infinite."),
        Column("certificate", "float64", "Of an LSTM, the largest ratio of a norm to what Miller "
               "and Hardt's condition allows for inputs in [-1, 1]: below 1 it is a contraction."),
    ),
)  # fmt: skip

SMOOTHNESS = Probe(
    name="smoothness",
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

PROBES = (
    TIMELINE, RADIUS, LSC, MODULI, EFFECTIVE_LR, SHARPNESS, ORBITS, ATTRACTORS, CONTRACTION,
    SMOOTHNESS,
)  # fmt: skip
