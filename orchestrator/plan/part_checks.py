"""What of a study's parts is not of its type, or cannot be called as it will be."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_args

from trainables.declarations import REQUIRED, Key, Kind, Part, Sizes, Task, nearest
from trainables.declarations.core.keys import shown
from trainables.declarations.core.structure import is_computed

_CONFIG = ("config",)
_TAKE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("check", "variants", "dataset", "chance_loss"), _CONFIG),
    **dict.fromkeys(("loss_terms", "parent", "data"), _CONFIG),
    "rows": ("config", "sizes"),
    "gate": ("config", "row"),
    "loss": ("outputs", "batch", "config"),
    "metrics": ("outputs", "batch", "config"),
    "augment": ("key", "batch"),
    "init": ("key", "config"),
}
"""Functions that a part may declare beside `build`, and what each is given."""
_OBJECTIVE = {"loss": ("tree", "batch", "key", "config")}
_OR_VALUE: dict[str, tuple[type, ...]] = {
    "sizes": (Sizes,),
    "batch_size": (int,),
    "steps": (int,),
}
"""What may be given as it is, in place of a function of the config."""
_NEVER_NONE = ("dataset", "chance_loss", "loss_terms", "init")
_TYPES = ("int", "float", "str", "bool")
_KINDS = get_args(Kind)
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
    takes = {**_TAKE, **(_OBJECTIVE if part.role == "objective" else {})}
    for name, kinds in _OR_VALUE.items():
        value = getattr(part, name, None)
        if callable(value):
            found += _call_problems(f"{name} of {what}", value, _CONFIG)
        elif value is not None and (isinstance(value, bool) or not isinstance(value, kinds)):
            found.append(
                f"{name} of {what} must be a function of the config or "
                f"{'an integer' if kinds == (int,) else 'a Sizes'}; got {shown(value)}"
            )
    for name, given in takes.items():
        value = getattr(part, name, None)
        if callable(value):
            found += _call_problems(f"{name} of {what}", value, given)
        elif value is not None or (name in _NEVER_NONE and hasattr(part, name)):
            found.append(f"{name} of {what} must be a function; got {shown(value)}")
    if callable(part.build) and part.role in _BUILD:
        named = ("cell",) if getattr(part, "cell", None) else ()
        given = _BUILD[part.role]
        if isinstance(part, Task) and part.dataset is not Task.dataset:
            given = ("config", "arrays")
        found += _call_problems(f"build of {what}", part.build, given, named)
    if not isinstance(part.version, int | str | None):
        found.append(f"version of {what} must be an integer or a string; got {shown(part.version)}")
    if not isinstance(part.keys, (tuple, list)):
        return [*found, f"keys of {what} must be a tuple of Key objects; got {shown(part.keys)}"]
    for key in part.keys:
        found += _key_problems(key, what)
    return found


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


def _key_problems(key: Any, what: str) -> list[str]:
    if not isinstance(key, Key):
        return [f"keys of {what} must be Key objects; got {shown(key)}"]
    if not isinstance(key.name, str):
        return [f"the name of a key of {what} must be a string; got {shown(key.name)}"]
    name = f"the key {key.name} of {what}"
    found = [
        f"{limit} of {name} must be a number; got {shown(value)}"
        for limit, value in (("low", key.low), ("high", key.high))
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)))
    ]
    found += [
        f"the {field} of {name} must be one of {', '.join(known)}; got {shown(value)}"
        + (nearest(value, known) if isinstance(value, str) else "")
        for field, value, known in (("type", key.type, _TYPES), ("kind", key.kind, _KINDS))
        if value not in known
    ]
    return found or _value_problems(key, name)


def _value_problems(key: Key, name: str) -> list[str]:
    """What does not go together in a key of a known type and kind."""
    choices: Any = key.choices
    if isinstance(choices, str) or not isinstance(choices, (tuple, list)):
        return [f"choices of {name} must be a tuple of strings; got {shown(choices)}"]
    if choices and key.type != "str":
        return [
            f"{name} has choices, which only a string has; an {key.type} has low and high"
            if key.type == "int"
            else f"{name} has choices, which only a string has; its type is {key.type}"
        ]
    if not all(isinstance(choice, str) for choice in choices):
        return [f"choices of {name} must be strings; got {shown(choices)}"]
    if key.kind == "traced" and key.type == "str":
        return [f"{name} is a string and cannot be traced; declare it static or init"]
    if key.default is REQUIRED or is_computed(key, key.default):
        return []
    try:
        key.coerce(key.default, {})
    except (ValueError, TypeError, KeyError) as error:
        said = str(error).removeprefix(f"{key.name} ")
        return [f"the default of {name} {said}"]
    return []
