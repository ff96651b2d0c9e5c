"""What a trial may be: keys, parts, versions, schemas. Plain Python, imports nothing but itself."""

from trainables.spec.analyses import ANALYSES, ANALYSIS_PROBES
from trainables.spec.base import BASE
from trainables.spec.chaos import CHAOS_PROBES, CHAOS_STAGES
from trainables.spec.comments import COMMENTS, canonical_comments, parse_comments
from trainables.spec.growth import GROWTH_PROBES, GROWTH_STAGES
from trainables.spec.keys import REQUIRED, Key, Kind, Scalar
from trainables.spec.macros import FULL_PASS, PRETRAIN_EPOCHS, Macro, Meaning
from trainables.spec.models import MODELS
from trainables.spec.optimizers import OPTIMIZERS
from trainables.spec.parts import (
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
from trainables.spec.probes import PROBES
from trainables.spec.registry import Registry, versioned_by_content
from trainables.spec.resolving import Resolver
from trainables.spec.signals import SIGNAL_PROBES, SIGNAL_STAGES
from trainables.spec.stages import STAGES
from trainables.spec.structure import SELECTORS
from trainables.spec.tasks import TASKS
from trainables.spec.trial import ConfigError, Trial, digest, nearest


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
