"""Declarations of analyses of docs/specs/bar2025.md, 5, that train nothing, and of its probes."""

from __future__ import annotations

from dataclasses import replace

from trainables.declarations.analyses.base import analysis
from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Column, Config, Probe
from trainables.declarations.layers.glorot_init import INITS, SCALED
from trainables.declarations.models.residual import OFFSET, init_key, init_problems

_WIDTH = Key("matrix_width", "int", 256, "static", "Units n of the state matrix.", low=2)


def _check(config: Config) -> list[str]:
    dense = config.get("recurrence") == "dense"
    if dense and config["init"] == "uniform":
        return ["init=uniform is a law of eigenvalues: recurrence=dense has none"]
    return init_problems(config["init"], config["matrix_width"])


GROWTH_STAGES = (
    analysis(
        "radii",
        "Spectral radii of Glorot matrices, as they are and divided as each init divides.",
        "trainables.analyses.glorot_growth:Radii",
        ("radii",),
        _WIDTH,
        Key("draws", "int", 200, "static", "Matrices drawn.", low=1),
    ),
    analysis(
        "divergence",
        "State and gradient of one linear recurrent layer over a long white input, at its start.",
        "trainables.analyses.glorot_growth:Divergence",
        ("divergence", "overflow"),
        _WIDTH,
        Key("recurrence", "str", "diagonal", "static", "Of the layer's state matrix.",
            choices=("diagonal", "dense")),
        Key("length", "int", 4096, "static", "Time steps T.", unit="time steps", low=2),
        Key("inputs", "int", 16, "static", "Features of the input.", low=1),
        Key("sequences", "int", 4, "static", "Input sequences.", unit="samples", low=1),
        init_key(INITS, "glorot"),
        OFFSET,
        check=_check,
    ),
    analysis(
        "delay_memory",
        "How well a linear readout of noisy states recovers a scalar input of some steps ago.",
        "trainables.analyses.glorot_growth:DelayMemory",
        ("delay_memory",),
        _WIDTH,
        Key("max_delay", "int", 50, "static", "Largest delay.", unit="time steps", low=1),
        Key("fit_steps", "int", 15_000, "static", "States the readout is fitted on.",
            unit="time steps", low=2),
        Key("held_steps", "int", 4_500, "static", "States it is judged on.", unit="time steps",
            low=2),
        Key("state_noise", "float", 0.1, "traced",
            "White noise on the states, in units of their root mean square.", low=0,
            open_low=True),
        replace(init_key(SCALED, "rescaled"), doc="Of the state matrix; see the models."),
        OFFSET,
        check=_check,
    ),
)  # fmt: skip

_BY = "Layer, 0 nearest the input."
GROWTH_PROBES = (
    Probe(
        name="radii",
        doc="Spectral radius of each matrix drawn, by init, beside what is known of it.",
        columns=(
            Column("init", "string", "As in the models; rescaled from width 164 on."),
            Column("draw", "int32", "Number of the matrix; the inits share them."),
            Column("radius", "float64", "Largest |eigenvalue|."),
            Column("outside", "int32", "Eigenvalues outside the unit circle."),
            Column("table_mean", "float64", "Mean radius measured for this width; NaN: unknown."),
            Column("table_sd", "float64", "Standard deviation likewise."),
            Column("edge_mean", "float64", "Mean of the edge law of complex Ginibre matrices."),
        ),
    ),
    Probe(
        name="divergence",
        doc="One linear layer over time: mean pooling, cross-entropy of ten random classes.",
        columns=(
            Column("t", "int32", "Time step, 0 first.", "time steps"),
            Column("state_norm", "float64", "Root mean square of |h_t| over units and sequences; "
                   "white inputs drive each unit with variance 1."),
            Column("grad_norm", "float64", "|dL/dh_t|.", "loss per unit of h"),
        ),
    ),
    Probe(
        name="overflow",
        doc="Where the numbers of `divergence` leave float32: a row a trial.",
        columns=(
            Column("radius", "float64", "Largest |eigenvalue| of the layer."),
            Column("outside", "int32", "Eigenvalues outside the unit circle."),
            Column("overflow_step", "int32",
                   "First step with a state that is not finite; -1: none.", "time steps"),
            Column("square_step", "int32", "First step whose sum of squares, which a norm takes, "
                   "is not finite; -1: none.", "time steps"),
            Column("expected_step", "float64", "88.7 / ln radius, where radius^t is float32's "
                   "largest number; NaN below 1.", "time steps"),
            Column("loss", "float64", "Cross-entropy."),
            Column("grad_a", "float64",
                   "Norm of the loss's gradient by the state matrix, or by its eigenvalues."),
            Column("grad_b", "float64", "By the input matrix."),
            Column("grad_c", "float64", "By the readout."),
        ),
    ),
    Probe(
        name="delay_memory",
        doc="Linear decoding of the input of d steps ago from noisy states.",
        columns=(
            Column("delay", "int32", "d.", "time steps"),
            Column("r2", "float64", "Share of the input's variance that is explained, held out."),
            Column("radius", "float64", "Largest |eigenvalue| of the state matrix."),
        ),
    ),
)  # fmt: skip
