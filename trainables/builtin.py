"""Built-in parts by name: where the functions behind the declarations of `trainables.spec` are.

They are imported when first used, so that a part may be built from modules that read this one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

from trainables.spec import Part
from trainables.spec.recurrent import RECURRENT
from trainables.spec.sequence import SEQUENCE
from trainables.spec.tasks_sequences import SEQUENCE_IMAGES
from trainables.spec.torch_models import TORCH_MODELS

_PLACES: dict[tuple[str, str], str] = {
    ("model", "vanilla_rnn"): "models.vanilla_rnn",
    ("model", "residual_rnn"): "models.residual_rnn",
    ("model", "ffn"): "feedforward.ffn",
    **{("model", model.name): "nets.recurrent_net" for model in RECURRENT},
    ("model", "lru_stack"): "lru_stack.lru_stack",
    ("model", "lru"): "linear_nets.lru",
    ("model", "linear_rnn"): "linear_nets.linear_rnn",
    ("model", "s4"): "linear_nets.s4",
    ("model", "deep_recurrent"): "deep_nets.deep_recurrent",
    **{("model", model.name): "torch_nets.torch_net" for model in TORCH_MODELS},
    **{("model", model.name): "sequence_nets.sequence_net" for model in SEQUENCE},
    ("optimizer", "sgd"): "optimizers.sgd",
    ("optimizer", "adam"): "optimizers.adam",
    ("optimizer", "adamw"): "optimizers.adamw",
    ("optimizer", "adamw_groups"): "optimizers.adamw_groups",
    ("optimizer", "adabelief"): "optimizers.adabelief",
    ("optimizer", "adabelief_optax"): "optimizers.adabelief_optax",
    ("optimizer", "torch_adam"): "optimizers.adam",
    ("task", "gaussian"): "tasks.GaussianTask",
    ("task", "sl_mnist"): "spikes.LatencyTask",
    ("task", "heidelberg"): "spikes.BinnedTask",
    ("task", "spikes"): "spikes.DrawnTask",
    ("task", "wordptb"): "text.StreamTask",
    **{("task", task.name): "sequences.ImageTask" for task in SEQUENCE_IMAGES},
    ("task", "listops"): "sequences.ListOpsTask",
    ("task", "imdb"): "sequences.ReviewTask",
    ("task", "copy"): "sequences.CopyTask",
    ("task", "teacher_student"): "teacher.TeacherStudent",
    ("task", "sine"): "synthetic_tasks.SineTask",
    ("task", "temporal_order"): "synthetic_tasks.TemporalOrderTask",
    ("task", "word_lm"): "language.LanguageTask",
    ("stage", "train"): "training.Training",
    ("stage", "warmup"): "training.Training",
    ("stage", "lsc"): "lsc.engine",
    ("stage", "pascal"): "analyses.Pascal",
    ("stage", "binomial"): "analyses.Binomial",
    ("stage", "covariance"): "covariances.Covariance",
    ("stage", "decay"): "covariances.Decay",
    ("stage", "scalar_signals"): "signals.ScalarSignals",
    ("stage", "landscape"): "signals.Landscape",
    ("stage", "unit_loss"): "curvature.UnitLoss",
    ("stage", "coupling"): "curvature.CouplingMap",
    ("stage", "diagonal_hessian"): "curvature.DiagonalHessian",
    ("stage", "optimal_hessian"): "curvature.OptimalHessian",
    ("stage", "deep_signals"): "deep_signals.DeepSignals",
    ("stage", "gated_signals"): "deep_signals.GatedSignals",
    ("stage", "chaos_scan"): "chaotic_lstm.Scan",
    ("stage", "chaos_cost"): "chaotic_lstm.CostLine",
    ("stage", "chaos_length"): "chaotic_lstm.CostLength",
    ("stage", "chaos_plane"): "chaotic_lstm.CostPlane",
    ("stage", "radii"): "growth.Radii",
    ("stage", "divergence"): "growth.Divergence",
    ("stage", "delay_memory"): "growth.DelayMemory",
    ("probe", "timeline"): "timeline.timeline",
    ("probe", "radius"): "lsc.radius",
    ("probe", "effective_lr"): "effective_lr.effective_lr",
    ("probe", "sharpness"): "sharpness.sharpness",
    ("probe", "moduli"): "linear_nets.moduli",
    ("probe", "orbits"): "orbits.orbits",
    ("probe", "attractors"): "orbits.attractors_probe",
    ("probe", "contraction"): "orbits.contraction",
    ("probe", "smoothness"): "smoothness.smoothness",
    ("probe", "spectrum"): "spectrum.spectrum",
    ("probe", "eigenvalues"): "spectrum.eigenvalues",
}
"""(role, name) -> module.function below `trainables`. A probe is built from a network and a trial,
a stage's engine from a trial, its task's functions and one lane's values. A task is a class with
`of(trial)`, its functions, and `data(trial, arrays)`; images and users' arrays need none here."""


@cache
def built_in(role: str, name: str) -> Callable[..., Any] | None:
    """The built-in function of that name, or None."""
    place = _PLACES.get((role, name))
    if place is None:
        return None
    module, function = place.split(".")
    return getattr(importlib.import_module(f"trainables.{module}"), function)


def build_of(part: Part) -> Callable[..., Any]:
    """The part's own `build`, or the built-in one of its name.

    Raises:
      ValueError: neither exists.
    """
    found = part.build or built_in(part.role, part.name)
    if found is None:
        raise ValueError(f"{part.role} {part.name} declares no build function; give it one")
    return found
