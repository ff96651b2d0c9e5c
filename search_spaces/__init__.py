"""What to run: one module per study, grids as plain data. Imports no Ray and no JAX.

A study's own module may be read, edited, or have a `param_space` handed to a Ray Tune `Tuner`.
"""

from __future__ import annotations

import importlib

from search_spaces.expansion import SpaceError, expand
from search_spaces.study import Space, Study

BUILTIN = ("vanishing", "herranz2023", "zucchet2024", "ribeiro2020", "bar2025")


def builtin_studies() -> dict[str, Study]:
    """The studies that come with gradsweep, by name."""
    modules = [importlib.import_module(f"search_spaces.{name}") for name in BUILTIN]
    return {module.STUDY.name: module.STUDY for module in modules}


__all__ = ["Space", "SpaceError", "Study", "builtin_studies", "expand"]
