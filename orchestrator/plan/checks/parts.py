"""What of a study's parts is not of its type, or cannot be called as it will be."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from orchestrator.plan.checks.keys import key_problems
from orchestrator.plan.checks.metrics import metric_problems
from results.schema import KEYS, OWNER, TYPES, is_view
from trainables.declarations import (
    Column,
    HostTrainable,
    Key,
    Loop,
    Objective,
    Part,
    Probe,
    Sizes,
    Task,
)
from trainables.declarations.core.keys import shown

_CONFIG = ("config",)
"""What a function is given."""
_TAKE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("check", "variants", "dataset", "chance_loss"), _CONFIG),
    **dict.fromkeys(("loss_terms", "parent"), _CONFIG),
    "rows": ("config", "sizes"),
    "gate": ("config", "row"),
}
_STEP = ("state", "batch", "key", "config")
_LOOP = {
    "init": ("key", "config"),
    "step": _STEP,
    "evaluate": _STEP,
    "restart": ("state", "params", "config"),
}
"""Functions of a `Loop`, which may also be places."""
_MEASURED = ("model", "batch", "config")
_OURS = {"shown", *(column.name for column in (*KEYS, *OWNER))}
"""Columns that no probe may declare."""
_TYPES = tuple(name for name in TYPES if name not in ("timestamp", "map"))
_NEVER_NONE = ("dataset", "chance_loss", "loss_terms")
_JUDGED = ("outputs", "batch", "config")
_MAY: dict[str, dict[str, tuple[str, ...]]] = {
    "task": {"loss": _JUDGED, "metrics": _JUDGED, "augment": ("key", "batch")},
    "objective": {"data": _CONFIG},
}
"""Functions that a part may leave out, by role."""
_MUST = {"objective": {"init": ("key", "config"), "loss": ("tree", "batch", "key", "config")}}
_BUILD = {
    "model": ("config", "sizes", "rngs"),
    "task": _CONFIG,
    "optimizer": ("config", "hparams"),
}


def part_problems(part: Part) -> list[str]:
    """Says what is wrong with a part: a sentence for each fault."""
    if not isinstance(part.name, str):
        return [f"the name of a {part.role} must be a string; got {shown(part.name)}"]
    what = f"{part.role} {part.name}"
    found = []
    for name, given in _TAKE.items():
        value = getattr(part, name, None)
        if callable(value):
            found += _call_problems(f"{name} of {what}", value, given)
        elif value is not None or (name in _NEVER_NONE and hasattr(part, name)):
            found.append(f"{name} of {what} must be a function; got {shown(value)}")
    if callable(part.build) and part.role in _BUILD:
        named = ("cell",) if getattr(part, "cell", None) else ()
        found += _call_problems(f"build of {what}", part.build, _given_to_build(part), named)
    for name, given in (_MAY.get(part.role, {}) | _MUST.get(part.role, {})).items():
        value = getattr(part, name)
        if callable(value):
            found += _call_problems(f"{name} of {what}", value, given)
        elif value is not None or name in _MUST.get(part.role, {}):
            found.append(f"{name} of {what} must be a function; got {shown(value)}")
    found += metric_problems(part)
    found += _data_problems(part, what) if isinstance(part, (Task, Objective)) else []
    for name, given in _LOOP.items() if isinstance(part, Loop) else ():
        value = getattr(part, name)
        if callable(value):
            found += _call_problems(f"{name} of {what}", value, given)
        elif not isinstance(value, str) and (value is not None or name in ("init", "step")):
            found.append(f"{name} of {what} must be a function; got {shown(value)}")
    for probe in part.probes if isinstance(part.probes, (tuple, list)) else ():
        found += probe_problems(probe) if isinstance(probe, Probe) else []
    found += metric_problems(part)
    if isinstance(part, HostTrainable):
        found += _host_problems(part)
    if not isinstance(part.version, int | str | None):
        found.append(f"version of {what} must be an integer or a string; got {shown(part.version)}")
    if not isinstance(part.keys, (tuple, list)):
        return [*found, f"keys of {what} must be a tuple of Key objects; got {shown(part.keys)}"]
    for key in part.keys:
        found += key_problems(key, what)
    return found


def _host_problems(part: HostTrainable) -> list[str]:
    what, found = f"host trainable {part.name}", []
    if callable(part.run):
        found += _call_problems(f"run of {what}", part.run, ("config", "report"))
    elif not isinstance(part.run, str):
        found.append(
            f"run of {what} must be a function of config and report; got {shown(part.run)}"
        )
    if part.build or part.reads:
        found.append(f"{what} reads no model, task or optimizer; leave build and reads out")
    if part.parent is not HostTrainable.parent:
        found.append(f"{what} starts from no other stage's weights; leave parent out")
    return found


def _given_to_build(part: Part) -> tuple[str, ...]:
    if isinstance(part, Task) and part.dataset is not Task.dataset:
        return ("config", "arrays")
    return _BUILD[part.role]


def _data_problems(part: Task | Objective, what: str) -> list[str]:
    """What is wrong with the numbers that a task declares of its data."""
    found = []
    if not isinstance(part.sizes, Sizes | None):
        if not callable(part.sizes):
            found.append(f"sizes of {what} must be a Sizes or a function; got {shown(part.sizes)}")
        else:
            found += _call_problems(f"sizes of {what}", part.sizes, _CONFIG)
    for name, value in (("batch_size", part.batch_size), ("steps", part.steps)):
        if callable(value):
            found += _call_problems(f"{name} of {what}", value, _CONFIG)
        elif value is None and name == "steps":
            continue
        elif type(value) is not int or value < 1:
            found.append(
                f"{name} of {what} must be a whole number of at least 1, or a function; got "
                f"{shown(value)}"
            )
    return found


def probe_problems(probe: Probe) -> list[str]:
    """Says what is wrong with a probe: a sentence for each fault."""
    if not isinstance(probe.name, str) or not probe.name.isidentifier():
        return [f"the name of a probe must be a word of letters, digits and _; got {probe.name!r}"]
    what = f"probe {probe.name}"
    found = []
    if is_view(probe.name):
        found.append(f"a probe cannot be called {probe.name}: a view has that name")
    if probe.measure is not None and probe.build is not None:
        found.append(f"{what} declares both measure and build; give it one of them")
    for name, value, given in (
        ("measure", probe.measure, _MEASURED),
        ("build", probe.build, ("engine", "trial")),
        ("check", probe.check, _CONFIG),
        ("rows", probe.rows, _CONFIG),
    ):
        if callable(value):
            found += _call_problems(f"{name} of {what}", value, given)
    if not isinstance(probe.rows, int | None) and not callable(probe.rows):
        found.append(
            f"rows of {what} must be a number or a function of the config; got {shown(probe.rows)}"
        )
    columns = probe.columns
    if not isinstance(columns, (tuple, list)) or not all(isinstance(c, Column) for c in columns):
        return [*found, f"columns of {what} must be a tuple of Column objects"]
    if not columns:
        found.append(f"{what} declares no column")
    names = [column.name for column in columns]
    for column in columns:
        if not isinstance(column.name, str) or not column.name.isidentifier():
            found.append(f"the name of a column of {what} must be a word; got {column.name!r}")
        elif column.name.lower() in _OURS:
            found.append(f"column {column.name} of {what} is the store's own; call it otherwise")
        elif names.count(column.name) > 1:
            found.append(f"{what} declares column {column.name} twice")
        if column.type not in _TYPES:
            found.append(
                f"column {column.name} of {what} has the unknown type {column.type!r}; choose one "
                f"of {', '.join(_TYPES)}"
            )
    for key in probe.keys if isinstance(probe.keys, (tuple, list)) else ():
        found += key_problems(key, what)
        if isinstance(key, Key) and key.kind != "recording":
            found.append(
                f"the key {key.name} of {what} must be of kind recording; it is {key.kind}"
            )
    return list(dict.fromkeys(found))


def _call_problems(
    what: str, function: Callable[..., Any], given: tuple[str, ...], named: tuple[str, ...] = ()
) -> list[str]:
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # of a builtin, which does not say
        return []
    try:
        signature.bind(*given, **dict.fromkeys(named))
    except TypeError as error:
        name = getattr(function, "__name__", shown(function))
        return [
            f"{what} is called with {', '.join((*given, *named))}; {name} takes others: {error}"
        ]
    return []
