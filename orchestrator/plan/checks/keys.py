"""What is wrong with a key that a part declares."""

from __future__ import annotations

from typing import Any, get_args

from trainables.declarations import REQUIRED, Key, Kind, nearest
from trainables.declarations.core.keys import shown
from trainables.declarations.core.structure import is_computed

_TYPES = ("int", "float", "str", "bool")
_KINDS = get_args(Kind)


def key_problems(key: Any, what: str) -> list[str]:
    """Says what is wrong with a key of `what`: a sentence for each fault."""
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
