"""What of a study's parts is not of its type, or cannot be called as it will be."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from trainables.declarations import HostTrainable, Key, Metric, Part
from trainables.declarations.core.keys import shown

_CONFIG = ("config",)
_TAKE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("check", "variants", "sizes", "dataset", "chance_loss"), _CONFIG),
    **dict.fromkeys(("loss_terms", "parent"), _CONFIG),
    "rows": ("config", "sizes"),
    "gate": ("config", "row"),
}
"""Functions that a part may declare beside `build`, and what each is given."""
_NEVER_NONE = ("sizes", "dataset", "chance_loss", "loss_terms")
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
        found += _call_problems(f"build of {what}", part.build, _BUILD[part.role], named)
    if isinstance(part, HostTrainable):
        found += _host_problems(part)
    if not isinstance(part.version, int | str | None):
        found.append(f"version of {what} must be an integer or a string; got {shown(part.version)}")
    if not isinstance(part.keys, (tuple, list)):
        return [*found, f"keys of {what} must be a tuple of Key objects; got {shown(part.keys)}"]
    for key in part.keys:
        found += _key_problems(key, what)
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
    wrong = [one for one in part.metric_columns if not isinstance(one, Metric)]
    if wrong:
        found.append(f"metric_columns of {what} must be Metric objects; got {shown(wrong[0])}")
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
    return [
        f"{limit} of the key {key.name} of {what} must be a number; got {shown(value)}"
        for limit, value in (("low", key.low), ("high", key.high))
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)))
    ]
