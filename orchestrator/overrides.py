"""`--set key=value`: overrides and re-grids typed on a command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import RequestError
from trainables.spec import Registry, nearest
from trainables.spec.trial import SELECTORS

_RANGE = re.compile(r"range\((-?\d+)(?:,(-?\d+))?(?:,(-?\d+))?\)")


def parse_overrides(
    given: Sequence[str] | Mapping[str, Any], registry: Registry
) -> dict[str, list[Any]]:
    """key -> values. `lr=0.1`, `lr=0.1,0.01` and `seed=range(4)` on a command line; in Python also
    a mapping of values or lists.

    Raises:
      RequestError: every entry that is no `key=value` or names an unknown key.
    """
    keys = registry.all_keys()
    pairs = list(given.items()) if isinstance(given, Mapping) else [_pair(text) for text in given]
    found: dict[str, list[Any]] = {}
    problems: list[str] = []
    for name, value in pairs:
        if value is None and not isinstance(given, Mapping):
            problems.append(f"--set {name!r} is not key=value")
            continue
        canonical = registry.canonical_name(name)
        if canonical not in keys and canonical not in SELECTORS:
            known = [*keys, *SELECTORS, *(a for k in keys.values() for a in k.aliases)]
            problems.append(f"unknown key {name!r}{nearest(name, known)}")
            continue
        if not isinstance(value, str) or isinstance(given, Mapping):
            found[canonical] = list(value) if isinstance(value, (list, tuple, range)) else [value]
            continue
        texts = _split(value)
        found[canonical] = [
            t if canonical in SELECTORS or not isinstance(t, str) else keys[canonical].parse(t)
            for t in texts
        ]
    if problems:
        raise RequestError(problems)
    return found


def _pair(text: str) -> tuple[str, str | None]:
    name, sign, value = text.partition("=")
    return (name.strip(), value.strip()) if sign and name.strip() else (text, None)


def _split(text: str) -> list[Any]:
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if match:
        return list(range(*(int(n) for n in match.groups() if n is not None)))
    return [part.strip() for part in text.split(",")]
