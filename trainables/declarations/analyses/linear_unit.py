"""Declarations of analyses of docs/specs/zucchet2024.md, 5: stages that train no network."""

from __future__ import annotations

from dataclasses import replace

from trainables.declarations.analyses.base import analysis
from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Column, Probe
from trainables.declarations.models.residual import DEEP_RECURRENT
from trainables.declarations.tasks.sequence_file import INPUT_FILE, input_dataset, input_problems

DEEP = {key.name: key for key in DEEP_RECURRENT.keys}
WIDTH = Key("signal_width", "int", 64, "static", "Units of a layer, and features of its input.",
             low=1)  # fmt: skip
STEPS = Key("signal_steps", "int", 512, "static", "Time steps simulated.", unit="time steps",
             low=2)  # fmt: skip
BATCH = Key("signal_batch", "int", 8, "static", "Sequences.", unit="samples", low=1)
POINTS = Key("map_points", "int", 40, "static", "Moduli of a map; twice as many phases.", low=2)
PHASE_FORM = Key("phase_form", "str", "polar", "static",
                 "theta is w (polar), exp w (exp), or w scaled by the modulus so that its "
                 "curvature at the optimum is 1 (opt).",
                 choices=("polar", "exp", "opt"))  # fmt: skip
_DRAWS = Key("draws", "int", 40, "static", "Systems drawn.", low=1)
_DRAW_SEED = Key("draw_seed", "int", 0, "static", "Draws the systems, on the host.", low=0,
                 high=2**31 - 1)  # fmt: skip
_COMPAT = Key("compat_coupling", "bool", False, "static",
              "The published S: (1 - rho) for (1 - rho^2), right at rho 0 and 1.")  # fmt: skip


SIGNAL_STAGES = (
    analysis(
        "scalar_signals",
        "Energy of one linear unit's state and of its derivative, in closed form and simulated.",
        "trainables.analyses.linear_unit:ScalarSignals",
        ("scalar_signals",),
        replace(STEPS, default=2000),
        Key("signal_samples", "int", 2000, "static", "Sequences.", unit="samples", low=2),
    ),
    analysis(
        "landscape",
        "One complex unit learns another from a quarter turn away; sign descent or Adam.",
        "trainables.analyses.linear_unit:Landscape",
        ("landscape",),
        PHASE_FORM,
        Key("landscape_rule", "str", "adam", "static",
            "sign: descent by the gradient's sign, which the published program's Adam comes to, as "
            "it drops its averages at each step; adam: Adam.", choices=("sign", "adam")),
        Key("landscape_steps", "int", 50_000, "static", "Steps.", unit="steps", low=1),
        Key("landscape_lr", "float", 1e-3, "traced", "Learning rate.", low=0),
    ),
    analysis(
        "unit_loss",
        "Loss of one real unit that learns another, and its curvature at the optimum.",
        "trainables.analyses.hessians:UnitLoss",
        ("unit_loss", "unit_curvature"),
        POINTS,
    ),
    analysis(
        "coupling",
        "Size of S(l, l0, rho), the coupling of two eigenvalues' derivatives, over the unit disk.",
        "trainables.analyses.hessians:CouplingMap",
        ("coupling",),
        POINTS,
        _COMPAT,
    ),
    analysis(
        "diagonal_hessian",
        "Spectra of the Hessian of a diagonal system whose eigenvalues lie in a sector of a ring.",
        "trainables.analyses.hessians:DiagonalHessian",
        ("diagonal_hessian", "hessian_matrix"),
        Key("sector", "float", 3.1415927, "static", "Largest phase theta0.", unit="rad", low=0,
            open_low=True, high=3.1415927),
        Key("hessian_units", "int", 10, "static", "Units.", low=2),
        Key("input_rho", "float", 0.99, "static", "Correlation of inputs one step apart.", low=0,
            high=1),
        _DRAWS,
        _DRAW_SEED,
        _COMPAT,
        version=2,
    ),
    analysis(
        "optimal_hessian",
        "Hessian at zero loss of a student with the teacher's own system, by its coordinates.",
        "trainables.analyses.hessians:OptimalHessian",
        ("optimal_hessian", "hessian_matrix", "hessian_vectors"),
        Key("coordinates", "str", "rnn", "static",
            "Of a dense RNN, a complex diagonal layer, an LRU, or an S4-like layer with a Delta "
            "of .01 for each state.", choices=("rnn", "complex", "lru", "s4")),
        Key("hessian_steps", "int", 300, "static", "Time steps T.", unit="time steps", low=2),
        _DRAWS,
        _DRAW_SEED,
        version=2,
    ),
    analysis(
        "deep_signals",
        "Outputs and gradients of each block of a deep recurrent network at initialisation.",
        "trainables.analyses.deep_signals:DeepSignals",
        ("deep_signals",),
        DEEP["deep_cell"],
        DEEP["norm"],
        DEEP["memory"],
        DEEP["scale_x"],
        DEEP["scale_h"],
        Key("signal_depth", "int", 4, "static", "Blocks.", low=1),
        WIDTH,
        STEPS,
        BATCH,
        Key("compat_target", "bool", False, "static",
            "The target of an output is the last input and not the next, as published."),
        INPUT_FILE,
        check=input_problems,
        dataset=input_dataset,
    ),
    analysis(
        "gated_signals",
        "A GRU at initialisation: the Jacobian of its states, and leaky units against theory.",
        "trainables.analyses.deep_signals:GatedSignals",
        ("gated_jacobian", "gated_signals"),
        Key("memory_min", "float", 1.0, "traced", "Smallest memory T of the update gates.",
            unit="time steps", low=0, open_low=True),
        Key("memory_max", "float", 1.0, "traced", "Largest one.", unit="time steps", low=0,
            open_low=True),
        DEEP["scale_x"],
        DEEP["scale_h"],
        Key("jacobian_steps", "int", 16, "static", "Steps of the Jacobian.", unit="time steps",
            low=1),
        WIDTH,
        STEPS,
        BATCH,
        INPUT_FILE,
        check=input_problems,
        dataset=input_dataset,
    ),
)  # fmt: skip

_ENERGY = "mean over samples"
SIGNAL_PROBES = (
    Probe(
        name="scalar_signals",
        doc="One unit h_t = lambda h_{t-1} + x_t, inputs of variance 1 and correlation rho.",
        columns=(
            Column("lambda", "float64", "Eigenvalue."),
            Column("rho", "float64", "Correlation of inputs one step apart."),
            Column("energy", "float64", "E[h^2], closed form."),
            Column("sensitivity", "float64", "E[(dh/dlambda)^2], closed form."),
            Column("normalised_energy", "float64", "(1 - lambda^2) E[h^2]."),
            Column("normalised_sensitivity", "float64",
                   "(1 - lambda^2)(lambda ln lambda)^2 E[(dh/dlambda)^2]."),
            Column("measured_energy", "float64", f"h^2 at the last step, {_ENERGY}; NaN where the "
                   "simulation is shorter than 20 memories."),
            Column("measured_sensitivity", "float64", f"(dh/dlambda)^2 likewise, {_ENERGY}."),
        ),
    ),
    Probe(
        name="landscape",
        doc="Training of one complex unit that learns another: at some 400 steps.",
        columns=(
            Column("step", "int32", "Updates before.", "steps"),
            Column("loss", "float64", "Half the mean squared error for white inputs."),
            Column("modulus", "float64", "|lambda|."),
            Column("phase", "float64", "arg lambda, not taken modulo 2 pi.", "rad"),
            Column("first_below", "int32", "First step of all whose loss is below .01; -1: none."),
        ),
    ),
    Probe(
        name="unit_loss",
        doc="Half the mean squared distance of two real units of white inputs.",
        columns=(
            Column("target", "float64", "Eigenvalue to learn."),
            Column("student", "float64", "Eigenvalue of the student."),
            Column("loss", "float64", "Of both units as they are."),
            Column("normalised_loss", "float64", "Of both times sqrt(1 - lambda^2)."),
        ),
    ),
    Probe(
        name="unit_curvature",
        doc="Second derivative at the optimum, phase pi/100.",
        columns=(
            Column("target", "float64", "Modulus to learn."),
            Column("form", "string", "raw_nu, raw_theta: of the loss by modulus and phase. Others: "
                   "of the normalised loss; nu, theta: likewise; nu_exp, theta_exp: by logarithms; "
                   "nu_opt, theta_opt: by what makes it 1."),
            Column("curvature", "float64", "Second derivative."),
        ),
    ),
    Probe(
        name="coupling",
        doc="|S(l, l0, rho)| = |E[dh_1/dl dh_2/dl0]|, l0 = .99 exp(i pi/4).",
        columns=(
            Column("modulus", "float64", "|l|."),
            Column("phase", "float64", "arg l.", "rad"),
            Column("rho", "float64", "Correlation of inputs one step apart."),
            Column("size", "float64", "|S|."),
        ),
    ),
    Probe(
        name="diagonal_hessian",
        doc="Hessian by Re and Im of the eigenvalues of a diagonal system, at the optimum.",
        columns=(
            Column("draw", "int32", "Number of the system."),
            Column("top", "float64", "Largest eigenvalue."),
            Column("condition", "float64", "Condition number."),
            Column("off_diagonal", "float64", "Share of squared entries between different units."),
        ),
    ),
    Probe(
        name="optimal_hessian",
        doc="Eigenvalues of the population Hessian at zero loss, the largest first.",
        columns=(
            Column("draw", "int32", "Number of the system."),
            Column("rank", "int32", "Rank of the eigenvalue, 0 the largest."),
            Column("eigenvalue", "float64", "Eigenvalue."),
            Column("participation", "float64", "1 / sum v_i^4 of its unit eigenvector v: how many "
                   "parameters it is spread over.", "parameters"),
        ),
    ),
    Probe(
        name="hessian_matrix",
        doc="The Hessian of the first system drawn, entry by entry.",
        columns=(
            Column("parameter", "int32", "Parameter."),
            Column("other", "int32", "The other parameter."),
            Column("block", "string", "What the first is part of, as A or Re lambda."),
            Column("other_block", "string", "What the other is part of."),
            Column("value", "float64", "Second derivative of the loss by both."),
        ),
    ),
    Probe(
        name="hessian_vectors",
        doc="First eigenvectors of the Hessian of the first system drawn.",
        columns=(
            Column("rank", "int32", "Rank of the eigenvalue, 0 the largest."),
            Column("eigenvalue", "float64", "Eigenvalue."),
            Column("parameter", "int32", "Parameter."),
            Column("block", "string", "What it is part of, as A or Re lambda."),
            Column("value", "float64", "Entry of the unit eigenvector."),
        ),
    ),
    Probe(
        name="deep_signals",
        doc="Each block of a deep recurrent network at initialisation.",
        columns=(
            Column("layer", "int32", "Block, 0 nearest the input."),
            Column("energy", "float64", "Mean square of the block's output."),
            Column("modulus_gradient", "float64", "Mean squared gradient by nu, or Re lambda."),
            Column("phase_gradient", "float64", "Mean squared gradient by theta, or Im lambda."),
            Column("eigenvalue_gradient", "float64", "Of both together; NaN for a GRU."),
            Column("other_gradient", "float64", "Mean squared gradient by all other parameters."),
        ),
    ),
    Probe(
        name="gated_jacobian",
        doc="d h_t / d h_0 of a GRU at initialisation.",
        columns=(
            Column("t", "int32", "Steps.", "time steps"),
            Column("diagonal", "float64", "Mean entry on the diagonal."),
            Column("off_diagonal", "float64", "Root mean square entry off the diagonal."),
            Column("off_largest", "float64", "Largest |entry| off the diagonal."),
        ),
    ),
    Probe(
        name="gated_signals",
        doc="Leaky units h_t = l h_{t-1} + (1 - l) x_t, l = 1 - 1/T, of word-like inputs.",
        columns=(
            Column("memory", "float64", "T.", "time steps"),
            Column("energy", "float64", "E[h^2], closed form."),
            Column("sensitivity", "float64", "E[(dh/db_z)^2], closed form."),
            Column("measured_energy", "float64", "h^2 at the last step, mean over units."),
            Column("measured_sensitivity", "float64", "(dh/db_z)^2 likewise."),
        ),
    ),
)  # fmt: skip
