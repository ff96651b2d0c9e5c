"""Eigenvalues of linear recurrences, their moduli and radii."""

from __future__ import annotations

from trainables.declarations.core.parts import Column, Probe
from trainables.declarations.probes.base import cadence

_LAYER = Column("layer", "int32", "Layer, 0 nearest the input.")

MODULI = Probe(
    name="moduli",
    build="trainables.probes.eigenvalues:moduli",
    keys=(cadence("moduli", "the moduli of all eigenvalues"),),
    doc="Moduli of the eigenvalues of a linear recurrence, at the current weights.",
    columns=(
        Column("unit", "int32", "Rank of the eigenvalue, 0 the largest modulus; for a matrix of "
               "several blocks over all of them."),
        Column("modulus", "float64", "|eigenvalue| of the step from a state to the next."),
    ),
)  # fmt: skip

SPECTRUM = Probe(
    name="spectrum",
    build="trainables.probes.eigenvalues:spectrum",
    keys=(cadence("spectrum", "spectral radius and state norm of each layer"),),
    doc="Recurrences of a deep linear recurrent network at the current weights.",
    columns=(
        _LAYER,
        Column("radius", "float64", "Largest |eigenvalue|."),
        Column("mean_modulus", "float64", "Mean |eigenvalue|."),
        Column("outside", "int32", "Eigenvalues outside the unit circle."),
        Column("state_norm", "float64", "Root mean square over the probe batch of |h_T|."),
    ),
)

EIGENVALUES = Probe(
    name="eigenvalues",
    build="trainables.probes.eigenvalues:eigenvalues",
    keys=(cadence("eigenvalues", "all eigenvalues"),),
    doc="Eigenvalues of a deep linear recurrent network, now and at initialisation.",
    columns=(
        _LAYER,
        Column("unit", "int32", "Unit; of a dense matrix the number of its eigenvalue, in no "
               "order."),
        Column("re", "float64", "Real part."),
        Column("im", "float64", "Imaginary part."),
        Column("first_re", "float64", "Real part at initialisation."),
        Column("first_im", "float64", "Imaginary part at initialisation."),
    ),
)  # fmt: skip
