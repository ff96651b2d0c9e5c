"""Which parts of a trial read how long it is, as far as declarations say it.

A trial of which a part does has other numbers from its first step on than a shorter one, and cannot
go on from it. Of a user's functions that get a config, tracing them says it
(`trainables.core.length_reads`).
"""

from __future__ import annotations

from typing import Any

from trainables.declarations.core.parts import Optimizer
from trainables.declarations.core.trial import Trial
from trainables.declarations.optim.schedules import NAMED_TO_THE_END, TO_THE_END
from trainables.declarations.training.host import HostTrainable
from trainables.declarations.training.loop import Loop

_CODE = (
    "build",
    "cell",
    "init",
    "step",
    "evaluate",
    "restart",
    "loss",
    "metrics",
    "measure",
    "run",
)
"""Fields of declarations that are functions of a config, or name some."""


def is_users(part: Any) -> bool:
    """Whether any function of a part or probe that gets a config is a user's rather than ours."""
    return any(not _ours(code) for code in (getattr(part, name, None) for name in _CODE))


def _ours(code: Any) -> bool:
    return code is None or (isinstance(code, str) and code.startswith("trainables."))


def declared_readers(trial: Trial) -> list[str]:
    """Parts that read the trial's length whatever is traced, each in words."""
    found = []
    stage, optimizer = trial.stage, trial.parts.get("optimizer")
    if isinstance(stage, HostTrainable) or not (isinstance(stage, Loop) or _ours(stage.build)):
        found.append(f"stage {stage.name}, which is given the whole trial,")
    elif stage.epochs_key in trial.structure.statics:  # which data may be made of
        found.append(f"stage {stage.name}, whose {stage.epochs_key} is a static key,")
    if isinstance(optimizer, Optimizer):
        found += _of_schedule(trial, optimizer)
    if "task" in trial.parts and not _ours(trial.task.runtime):
        found.append(f"task {trial.task.name}, whose runtime is given the whole trial,")
    return found + [
        f"probe {name}, which is given the whole trial,"
        for name, probe in trial.probes.items()
        if not _ours(probe.build) and trial.config.get(f"{name}_every", 0) is not None
    ]


def _of_schedule(trial: Trial, optimizer: Optimizer) -> list[str]:
    named = trial.config.get("lr_schedule", "auto")
    if named != "auto":
        reads = named in NAMED_TO_THE_END
        return [f"optimizer {optimizer.name} with lr_schedule={named}"] if reads else []
    if optimizer.schedule not in TO_THE_END:
        return [f"the schedule of optimizer {optimizer.name}"]
    key = TO_THE_END[str(optimizer.schedule)]
    source = (trial.stage.rename or {}).get(key, key) if key else None
    value = trial.config.get(source, source) if isinstance(source, str) else source
    return [] if value is None else [f"optimizer {optimizer.name} with {key}={value:g}"]


def traced_parts(trial: Trial) -> list[str]:
    """Parts of a user's of which only tracing tells whether they read the length."""
    parts = [part for role, part in trial.parts.items() if role != "base" and is_users(part)]
    probes = [name for name, probe in trial.probes.items() if is_users(probe)]
    return [f"{part.role} {part.name}" for part in parts] + [f"probe {name}" for name in probes]
