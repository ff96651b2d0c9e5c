"""What a trial may be: keys, parts, versions, schemas. Plain Python, imports nothing but itself.

A part, probe or preset is declared once, as a constant of a module of this package or in a tuple of
such constants; `builtin_registry` finds it there.
"""

import importlib
import pkgutil
from functools import cache

from trainables.declarations.comments import canonical_comments, parse_comments
from trainables.declarations.core.keys import REQUIRED, Key, Kind, Scalar
from trainables.declarations.core.parts import (
    Column,
    Config,
    Metric,
    Model,
    Objective,
    Optimizer,
    Part,
    PartError,
    Probe,
    Sizes,
    Stage,
    Task,
)
from trainables.declarations.core.presets import Meaning, Preset
from trainables.declarations.core.registry import Registry
from trainables.declarations.core.resolving import Resolver
from trainables.declarations.core.structure import SELECTORS
from trainables.declarations.core.trial import ConfigError, Trial, digest, nearest
from trainables.declarations.training.host import HostTrainable
from trainables.declarations.training.loop import Loop

_ROLES = ("base", *SELECTORS)


@cache
def _declared() -> tuple[tuple[Preset, ...], tuple[Probe, ...], tuple[Part, ...]]:
    """Every preset, probe and part that a module below declares."""
    values: dict[int, object] = {}
    for module in pkgutil.walk_packages(__path__, f"{__name__}."):
        for value in vars(importlib.import_module(module.name)).values():
            values |= {id(v): v for v in (value if isinstance(value, tuple) else (value,))}
    found = values.values()
    parts = [value for value in found if isinstance(value, Part)]
    return (
        tuple(value for value in found if isinstance(value, Preset)),
        tuple(value for value in found if isinstance(value, Probe)),
        tuple(sorted(parts, key=lambda part: _ROLES.index(part.role))),
    )


def builtin_registry() -> Registry:
    """A fresh registry of the built-in parts, probes and presets."""
    presets, probes, parts = _declared()
    registry = Registry(presets={preset.name: preset for preset in presets})
    registry.add_probes(*probes)
    registry.add(*parts)
    return registry


__all__ = [
    "REQUIRED",
    "SELECTORS",
    "Column",
    "Config",
    "ConfigError",
    "HostTrainable",
    "Key",
    "Kind",
    "Loop",
    "Metric",
    "Preset",
    "Meaning",
    "Model",
    "Objective",
    "Optimizer",
    "Part",
    "PartError",
    "Probe",
    "Registry",
    "Resolver",
    "Scalar",
    "Sizes",
    "Stage",
    "Task",
    "Trial",
    "builtin_registry",
    "canonical_comments",
    "digest",
    "nearest",
    "parse_comments",
]
