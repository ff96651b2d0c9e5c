"""What a trial may be: keys, parts, versions, schemas. Plain Python, imports nothing but itself."""

from trainables.declarations.analyses.chaotic_lstm import CHAOS_PROBES, CHAOS_STAGES
from trainables.declarations.analyses.glorot_growth import GROWTH_PROBES, GROWTH_STAGES
from trainables.declarations.analyses.linear_unit import SIGNAL_PROBES, SIGNAL_STAGES
from trainables.declarations.analyses.recurrent_grid import ANALYSES, ANALYSIS_PROBES
from trainables.declarations.comments import COMMENTS, canonical_comments, parse_comments
from trainables.declarations.core.base import BASE
from trainables.declarations.core.keys import REQUIRED, Key, Kind, Scalar
from trainables.declarations.core.macros import FULL_PASS, PRETRAIN_EPOCHS, Macro, Meaning
from trainables.declarations.core.parts import (
    Column,
    Config,
    Model,
    Optimizer,
    Part,
    Probe,
    Sizes,
    Stage,
    Task,
    Tensor,
)
from trainables.declarations.core.registry import Registry, versioned_by_content
from trainables.declarations.core.resolving import Resolver
from trainables.declarations.core.structure import SELECTORS
from trainables.declarations.core.trial import ConfigError, Trial, digest, nearest
from trainables.declarations.models import MODELS
from trainables.declarations.optim import OPTIMIZERS
from trainables.declarations.probes.tables import PROBES
from trainables.declarations.tasks import TASKS
from trainables.declarations.training.epoch import STAGES


def builtin_registry() -> Registry:
    """A fresh registry of the built-in parts, probes and macros."""
    probes = (*PROBES, *ANALYSIS_PROBES, *SIGNAL_PROBES, *CHAOS_PROBES, *GROWTH_PROBES)
    registry = Registry(
        probes={probe.name: probe for probe in probes},
        macros={macro.name: macro for macro in (COMMENTS, FULL_PASS, PRETRAIN_EPOCHS)},
    )
    stages = (*STAGES, *ANALYSES, *SIGNAL_STAGES, *CHAOS_STAGES, *GROWTH_STAGES)
    registry.add(BASE, *stages, *MODELS, *TASKS, *OPTIMIZERS)
    return registry


__all__ = [
    "REQUIRED", "SELECTORS", "Column", "Config", "ConfigError", "Key", "Kind", "Macro", "Meaning",
    "Model", "Optimizer", "Part", "Probe", "Registry", "Resolver", "Scalar", "Sizes", "Stage",
    "Task", "Tensor", "Trial", "builtin_registry", "canonical_comments", "digest", "nearest",
    "parse_comments", "versioned_by_content",
]  # fmt: skip
