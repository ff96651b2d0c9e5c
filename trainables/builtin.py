"""Built-in parts by name: where the functions behind the declarations of `trainables.declarations`
are.

They are imported when first used, so that a part may be built from modules that read this one.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

from trainables.declarations import Part
from trainables.declarations.models.residual import SEQUENCE
from trainables.declarations.models.rnn import RECURRENT
from trainables.declarations.models.rnn_torch_init import TORCH_MODELS
from trainables.declarations.tasks.long_sequences import SEQUENCE_IMAGES

_PLACES: dict[tuple[str, str], str] = {
    ("model", "vanilla_rnn"): "models.elman_stack.vanilla_rnn",
    ("model", "residual_rnn"): "models.elman_stack.residual_rnn",
    ("model", "ffn"): "models.feedforward.ffn",
    **{("model", model.name): "models.rnn.recurrent_net" for model in RECURRENT},
    ("model", "lru_stack"): "models.residual.lru_stack",
    ("model", "lru"): "models.linear_rnn.lru",
    ("model", "linear_rnn"): "models.linear_rnn.linear_rnn",
    ("model", "s4"): "models.linear_rnn.s4",
    ("model", "deep_recurrent"): "models.residual.deep_recurrent",
    **{("model", model.name): "models.rnn_torch_init.torch_net" for model in TORCH_MODELS},
    **{("model", model.name): "models.residual.sequence_net" for model in SEQUENCE},
    ("optimizer", "sgd"): "optim.sgd.sgd",
    ("optimizer", "adam"): "optim.adam.adam",
    ("optimizer", "adamw"): "optim.adam.adamw",
    ("optimizer", "adamw_groups"): "optim.adam.adamw_groups",
    ("optimizer", "adabelief"): "optim.adabelief.adabelief",
    ("optimizer", "adabelief_optax"): "optim.adabelief.adabelief_optax",
    ("optimizer", "torch_adam"): "optim.adam.adam",
    ("task", "gaussian"): "tasks.base.GaussianTask",
    ("task", "sl_mnist"): "tasks.spikes.LatencyTask",
    ("task", "heidelberg"): "tasks.spikes.BinnedTask",
    ("task", "spikes"): "tasks.spikes.DrawnTask",
    ("task", "wordptb"): "tasks.language.StreamTask",
    **{("task", task.name): "tasks.long_sequences.ImageTask" for task in SEQUENCE_IMAGES},
    ("task", "listops"): "tasks.long_sequences.ListOpsTask",
    ("task", "imdb"): "tasks.long_sequences.ReviewTask",
    ("task", "copy"): "tasks.long_sequences.CopyTask",
    ("task", "teacher_student"): "tasks.teacher_student.TeacherStudent",
    ("task", "sine"): "tasks.synthetic.SineTask",
    ("task", "temporal_order"): "tasks.synthetic.TemporalOrderTask",
    ("task", "word_lm"): "tasks.language.ChunkTask",
    ("stage", "train"): "training.epoch.Training",
    ("stage", "warmup"): "training.epoch.Training",
    ("stage", "lsc"): "lsc.engine.engine",
    ("stage", "pascal"): "analyses.recurrent_grid.Pascal",
    ("stage", "binomial"): "analyses.recurrent_grid.Binomial",
    ("stage", "covariance"): "analyses.radius_covariance.Covariance",
    ("stage", "decay"): "analyses.radius_covariance.Decay",
    ("stage", "scalar_signals"): "analyses.linear_unit.ScalarSignals",
    ("stage", "landscape"): "analyses.linear_unit.Landscape",
    ("stage", "unit_loss"): "analyses.hessians.UnitLoss",
    ("stage", "coupling"): "analyses.hessians.CouplingMap",
    ("stage", "diagonal_hessian"): "analyses.hessians.DiagonalHessian",
    ("stage", "optimal_hessian"): "analyses.hessians.OptimalHessian",
    ("stage", "deep_signals"): "analyses.deep_signals.DeepSignals",
    ("stage", "gated_signals"): "analyses.deep_signals.GatedSignals",
    ("stage", "chaos_scan"): "analyses.chaotic_lstm.Scan",
    ("stage", "chaos_cost"): "analyses.chaotic_lstm.CostLine",
    ("stage", "chaos_length"): "analyses.chaotic_lstm.CostLength",
    ("stage", "chaos_plane"): "analyses.chaotic_lstm.CostPlane",
    ("stage", "radii"): "analyses.glorot_growth.Radii",
    ("stage", "divergence"): "analyses.glorot_growth.Divergence",
    ("stage", "delay_memory"): "analyses.glorot_growth.DelayMemory",
    ("probe", "timeline"): "probes.timeline.timeline",
    ("probe", "radius"): "probes.radius.radius",
    ("probe", "effective_lr"): "probes.effective_lr.effective_lr",
    ("probe", "sharpness"): "probes.sharpness.sharpness",
    ("probe", "moduli"): "probes.eigenvalues.moduli",
    ("probe", "orbits"): "probes.orbits.orbits",
    ("probe", "attractors"): "probes.orbits.attractors_probe",
    ("probe", "contraction"): "probes.orbits.contraction",
    ("probe", "smoothness"): "probes.smoothness.smoothness",
    ("probe", "spectrum"): "probes.eigenvalues.spectrum",
    ("probe", "eigenvalues"): "probes.eigenvalues.eigenvalues",
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
    module, _, function = place.rpartition(".")
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
