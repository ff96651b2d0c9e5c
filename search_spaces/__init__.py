"""What to run: one module per study, grids as plain data. Imports no Ray and no JAX.

A study's own module may be read, edited, or have a `param_space` handed to a Ray Tune `Tuner`.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys

try:
    from search_spaces.expansion import SpaceError, expand
    from search_spaces.study import Space, Study
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("trainables."):
        raise
    raise ImportError(
        f"{sys.modules['trainables'].__file__} hides gradsweep's package 'trainables'; rename it, "
        "or start Python in another folder."
    ) from None


def builtin_studies() -> dict[str, Study]:
    """The studies that come with gradsweep, by name: the `STUDY` of each module of this package."""
    names = (module.name for module in pkgutil.iter_modules(__path__, f"{__name__}."))
    found = (getattr(importlib.import_module(name), "STUDY", None) for name in names)
    return {study.name: study for study in found if study is not None}


__all__ = ["Space", "SpaceError", "Study", "builtin_studies", "expand"]
