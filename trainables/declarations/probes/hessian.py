"""The first eigenvectors of the loss's Hessian."""

from __future__ import annotations

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Column, Config, Probe
from trainables.declarations.core.presets import Meaning, Preset
from trainables.declarations.probes.base import cadence

_TOP = 5
"""Eigenvalues that are recorded where nothing says how many."""


def top_of(config: Config) -> int:
    """How many eigenvalues a trial records."""
    return int(config["hessian_top"] or _TOP)


HESSIAN = Probe(
    name="hessian",
    build="trainables.probes.hessian:hessian",
    keys=(
        cadence("hessian", "the first eigenvalues of the loss's Hessian"),
        Key("hessian_top", "int", None, "recording",
            "Eigenvalues of the loss's Hessian that are recorded, the largest in size, each with "
            "its eigenvector's share in every tensor. Given by itself it records them at the first "
            f"and last epoch; null: {_TOP}, where hessian_every says when.",
            low=1, high=1000, nullable=True),
    ),
    doc="Eigenvalues of the Hessian of the loss on a fixed probe batch, largest in size first, and "
    "where their eigenvectors lie.",
    columns=(
        Column("rank", "int32", "0: the largest in size."),
        Column("eigenvalue", "float64", "Eigenvalue, by Lanczos.", "loss/param^2"),
        Column("residual", "float64", "|H v - eigenvalue v| of the unit vector v that was found.",
               "loss/param^2"),
        Column("participation", "float64", "1 / sum v_i^4: how many weights it is spread over.",
               "weights"),
        Column("layer", "int32", "Layer, as in layers."),
        Column("layer_name", "string", "Name of the layer."),
        Column("tensor", "string", "Parameter tensor."),
        Column("share", "float64", "Sum of v_i^2 over the tensor; over all tensors it is 1."),
    ),
    rows=top_of,
)  # fmt: skip

# One word asks for it: `hessian_top=5`.
HESSIAN_TOP = Preset(
    name="hessian_top",
    read=lambda value, config: Meaning(
        {"hessian_top": value}, {} if value is None else {"hessian_every": 0}
    ),
    shared=True,
    doc="Records the first eigenvalues of the loss's Hessian, and hessian_every=0 with them.",
)
