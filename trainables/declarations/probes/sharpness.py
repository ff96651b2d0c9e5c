"""Curvature of the loss."""

from __future__ import annotations

import re

from trainables.declarations.core.parts import Column, Config, Probe
from trainables.declarations.core.presets import Meaning, Preset
from trainables.declarations.probes.base import cadence

SHARPNESS = Probe(
    name="sharpness",
    build="trainables.probes.sharpness:sharpness",
    keys=(cadence("sharpness", "the largest Hessian eigenvalue"),),
    doc="Curvature of the loss at the current weights, on a fixed probe batch.",
    columns=(
        Column("top_eigenvalue", "float64", "Of the Hessian, by 50 power iterations from the "
               "vector of ones, on at most 32 samples.", "loss/param^2"),
        Column("directional", "float64", "g'Hg / |g|^2 along the gradient g of the whole batch.",
               "loss/param^2"),
    ),
)  # fmt: skip


def _published_cadence(value: object, config: Config) -> Meaning:
    every = int(str(value)) if re.fullmatch(r"-?[0-9]{1,9}", str(value)) else value
    return Meaning({} if every == -1 else {"sharpness_every": every})


COMPUTE_HESSIAN = Preset(
    name="compute_hessian",
    read=_published_cadence,
    decides=frozenset({"sharpness_every"}),
    doc="As the program of zucchet2024 writes sharpness_every; -1: never.",
)
