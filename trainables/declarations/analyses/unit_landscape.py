"""Declarations of analyses of the loss around one unit's optimum (docs/specs/zucchet2024.md, 5.2
and 5.3)."""

from __future__ import annotations

from dataclasses import replace

from trainables.declarations.analyses.base import analysis
from trainables.declarations.analyses.linear_unit import PHASE_FORM, POINTS
from trainables.declarations.core.parts import Column, Probe

LANDSCAPE_STAGES = (
    analysis(
        "landscape_map",
        "Loss of a complex unit that learns another, over modulus and the parameter of the phase.",
        "trainables.analyses.unit_landscape:LandscapeMap",
        ("landscape_map",),
        PHASE_FORM,
        POINTS,
    ),
    analysis(
        "unit_lines",
        "Loss and curvature along modulus and phase, away from the optimum, in three forms.",
        "trainables.analyses.unit_landscape:UnitLines",
        ("unit_lines",),
        replace(POINTS, doc="Half the number of points on a line."),
    ),
)

LANDSCAPE_PROBES = (
    Probe(
        name="landscape_map",
        doc="Half the mean squared distance of two complex units of white inputs.",
        columns=(
            Column("coordinate", "float64", "w_theta, the parameter of the phase."),
            Column("modulus", "float64", "|lambda|."),
            Column("phase", "float64", "arg lambda, not taken modulo 2 pi.", "rad"),
            Column("loss", "float64", "Of both units as they are."),
            Column("target_modulus", "float64", "|lambda| to learn."),
            Column("target_phase", "float64", "arg lambda to learn.", "rad"),
        ),
    ),
    Probe(
        name="unit_lines",
        doc="Loss of two normalised units along one parameter of the student, the other at its "
        "optimum, phase pi/100.",
        columns=(
            Column("target", "float64", "Modulus to learn."),
            Column("form", "string", "polar: w is nu or theta itself; exp: nu = exp(-exp w), theta "
                   "= exp w; opt: nu = tanh w, and theta is w times (1 - nu^2) / (nu sqrt(1 + "
                   "nu^2))."),
            Column("direction", "string", "nu or theta."),
            Column("shift", "float64", "w less its value at the optimum."),
            Column("value", "float64", "nu, or theta."),
            Column("loss", "float64", "1 - gamma gamma* Re[1 / (1 - lambda conj lambda*)]."),
            Column("curvature", "float64", "Second derivative of the loss by w."),
        ),
    ),
)  # fmt: skip
