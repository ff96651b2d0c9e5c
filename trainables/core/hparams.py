"""A trial's config as its program reads it: constants, and arrays of one lane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from trainables.declarations import Key, Optimizer, Scalar, Trial
from trainables.declarations.core.parts import loaded
from trainables.declarations.optim.sgd import SGD

_NAMED = "trainables.optim.named_schedules:named_schedule"
_WARMED = "trainables.optim.named_schedules:Warmed"


def optimizer_of(trial: Trial) -> Optimizer:
    """The trial's optimizer; plain SGD for a stage that chooses none."""
    part = trial.parts.get("optimizer", SGD)
    assert isinstance(part, Optimizer)
    return part


def schedule_of(trial: Trial) -> Any:
    """The schedule of the trial's learning rate (`trainables.optim.schedules`): the one that
    `lr_schedule` names, else the optimizer's own, after a warm-up where there is one."""
    part, config = optimizer_of(trial), constants(trial)
    named = config.get("lr_schedule", "auto")
    if named == "auto" and not config.get("lr_warmup_given"):
        return loaded(part.schedule)(config)
    groups = dict(part.groups)
    inner = loaded(part.schedule)(config) if named == "auto" else loaded(_NAMED)(config, groups)
    return loaded(_WARMED)(inner, groups)


def _renamed(trial: Trial) -> dict[str, tuple[Key, Scalar]]:
    """Optimizer keys the stage gives by `rename`, and defaults of those nobody gives."""
    optimizer = optimizer_of(trial)
    rename = trial.stage.rename or {}
    found = {}
    for key in optimizer.keys:
        if key.name in rename:
            source = rename[key.name]
            value = trial.config.get(source, source) if isinstance(source, str) else source
            found[key.name] = (key, value)
        elif trial.structure.name_of("optimizer", key.name) not in trial.structure.own:
            found[key.name] = (key, key.default)
    return found


def constants(trial: Trial) -> dict[str, Scalar]:
    """Static values by key, the same for all trials of a program; the optimizer's keys by the names
    that it declares."""
    extra = {n: v for n, (key, v) in _renamed(trial).items() if key.kind == "static"}
    return {**trial.structure.seen_by("optimizer", trial.statics), **extra}


def init_constants(trial: Trial) -> dict[str, Scalar]:
    """Values of the model's init keys, or of a stage's that has no model: constants of the
    initialisation program only."""
    part = trial.model if "model" in trial.parts else trial.stage
    config = trial.config_of(part.role)
    return {k.name: config[k.name] for k in part.keys if k.kind == "init"}


def _number(key: Key, value: Scalar) -> np.ndarray:
    if key.type == "str":
        raise ValueError(f"{key.name} is a string and cannot be traced; declare it static or init")
    # null is passed as NaN, and every rule that reads such a key treats NaN as "off".
    if key.type == "float" or key.nullable:
        return np.asarray(np.nan if value is None else value, np.float32)
    return np.asarray(value, bool if key.type == "bool" else np.int32)


def lane_values(trial: Trial) -> dict[str, np.ndarray]:
    """Traced values by key, as scalars: float32, int32 or bool; the optimizer's keys by the names
    that it declares.

    Raises:
      ValueError: a traced key holds a string.
    """
    values = {name: _number(trial.keys[name], v) for name, v in trial.traced().items()}
    for name, (key, value) in _renamed(trial).items():
        if key.kind == "traced":
            values[name] = _number(key, value)
    values = dict(trial.structure.seen_by("optimizer", values))
    if "optimizer" in trial.parts:
        steps = trial.sizes.steps if "task" in trial.parts else 1
        config = trial.config_of("optimizer")
        values |= schedule_of(trial).derived(config, values, trial.epochs, steps)
    return values | {name: np.asarray(number, np.int32) for name, number in trial.length.items()}


def stack_lanes(lanes: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Scalars of each lane -> arrays (width,) by key."""
    return {name: np.stack([lane[name] for lane in lanes]) for name in lanes[0]}


def build_config(trial: Trial, traced: Mapping[str, jax.Array]) -> dict[str, Any]:
    """What a model's `build` reads: constants, init constants, and traced arrays."""
    found = {**constants(trial), **traced}
    return {**trial.structure.seen_by("model", found), **init_constants(trial)}
