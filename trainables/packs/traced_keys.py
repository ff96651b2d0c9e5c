"""Traced keys whose values Python needs: `if config["gain"] > 1`, `range(config["depth"])`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainables.core.hparams import lane_values
from trainables.declarations import Part, Trial
from trainables.declarations.core.structure import Structure
from trainables.tasks.base import make_data, make_task

_KINDS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)
_TEXT = re.compile("Tracer|Traced<|Shapes must be 1D sequences")
"""What plain TypeErrors say of a traced value: of a shape, or of a key of a dict."""


def needs_value(error: BaseException) -> bool:
    """Whether an exception says that Python needs a value that is traced."""
    said = isinstance(error, (TypeError, ValueError)) and _TEXT.search(str(error)) is not None
    return isinstance(error, _KINDS) or said


def keys_needed(
    trial: Trial, arrays: Mapping[str, np.ndarray], error: BaseException
) -> tuple[str, ...]:
    """The traced keys that would have to be static for a trial's program to be made: none where
    that would not help.

    Its program is traced again with one key after another as a Python value, as a static key is.

    Args:
      arrays: of the data set that its task names.
      error: which `needs_value`, raised as the program was made.
    """
    names = []
    for name in sorted(trial.structure.of_kind("traced"), key=lambda name: _rank(trial, name)):
        helps = _helps(trial, arrays, [name], error)
        if helps:
            return (name,)
        names += [name] if helps is not None else []
    if not _helps(trial, arrays, names, error):
        return ()
    for name in reversed(names):  # as few as will do: those of the user's own stay longest
        fewer = [one for one in names if one != name]
        if _helps(trial, arrays, fewer, error):
            names = fewer
    return tuple(names)


def _rank(trial: Trial, name: str) -> int:
    """First keys that nobody declares, then those of models and tasks."""
    if not trial.keys[name].declared:
        return 0
    roles = [role for role, part in trial.parts.items() if trial.keys[name] in part.keys]
    return 1 if {"model", "task"}.intersection(roles) else 2


def _helps(
    trial: Trial, arrays: Mapping[str, np.ndarray], names: Sequence[str], error: BaseException
) -> bool | None:
    """Whether the error is gone where it was once these keys are static; None where one of them
    cannot be."""
    try:
        _trace(_with_static(trial, names), arrays)
    except KeyError:  # of a key that the engine itself wants traced
        return None
    except Exception as other:
        return not needs_value(other) or _lines(other) != _lines(error)
    return True


def _lines(error: BaseException) -> list[tuple[str, int]]:
    return list(_frames(error))


def _frames(error: BaseException) -> Iterator[tuple[str, int]]:
    """Place of every frame outside of this project and JAX's own, which differ between the two."""
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not re.search(r"site-packages|[\\/]trainables[\\/]|[\\/]orchestrator[\\/]", file):
            yield file, trace.tb_lineno
        trace = trace.tb_next


def _with_static(trial: Trial, names: Sequence[str]) -> Trial:
    parts = {role: _part(part, names) for role, part in trial.parts.items()}
    above = trial.parent.parts if trial.parent else None
    return replace(trial, structure=Structure(parts, above))


def _part(part: Part, names: Sequence[str]) -> Part:
    if not any(key.name in names for key in part.keys):
        return part
    keys = (replace(key, kind="static") if key.name in names else key for key in part.keys)
    return replace(part, keys=tuple(keys))


def _trace(trial: Trial, arrays: Mapping[str, np.ndarray]) -> None:
    """Traces a trial's first state and its epoch. Raises whatever its code does."""
    values: Any = lane_values(trial)
    data = make_data(trial, arrays)
    engine = trial.stage.builder()(trial, make_task(trial, data), values)
    state = jax.eval_shape(lambda v: engine.init(trial, v), values)
    jax.eval_shape(engine.epoch, state, values, jnp.int32(0), data)
