"""`--set key=value`: overrides and re-grids typed on a command line.

`null` or `none` for a key that takes no null leaves it open: the space's or the key's default.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from search_spaces.expansion import MAX_CONFIGS
from trainables.declarations import SELECTORS, Registry, Resolver, nearest
from trainables.declarations.core.keys import shown

_INT = "(-?[0-9]{1,18})"
_RANGE = re.compile(rf"range\({_INT}(?:,{_INT})?(?:,{_INT})?\)")

Overrides = Sequence[str] | Mapping[str, Any]


def read_overrides(given: Overrides, registry: Registry) -> tuple[dict[str, list[Any]], list[str]]:
    """key -> values, of all that could be read, and what is wrong with the rest: every entry that
    is no `key=value`, names an unknown key or gives no value.

    `lr=0.1`, `lr=0.1,0.01` and `seed=range(4)` on a command line; in Python also a mapping of
    values or lists.
    """
    keys = registry.all_keys()
    typed = not isinstance(given, Mapping)
    pairs = [_pair(text) for text in given] if typed else list(given.items())
    found: dict[str, list[Any]] = {}
    problems: list[str] = []
    for name, value in pairs:
        if typed and value is None:
            problems.append(f"--set {name!r} is not key=value")
            continue
        canonical = registry.canonical_name(name)
        if canonical not in (*SELECTORS, *keys, *registry.presets):
            problems.append(f"unknown key {name!r}{nearest(name, registry.known_names())}")
            continue
        if typed:
            values = _split(str(value))
        else:
            values = value if isinstance(value, (list, tuple, range)) else [value]
        if not values:
            problems.append(f"{name}={value} gives no value; a range needs its end above its start")
            continue
        if len(values) > MAX_CONFIGS:
            problems.append(f"{name}={shown(value)} gives over {MAX_CONFIGS} values; give fewer")
            continue
        values = list(values)
        if typed and canonical in keys:
            key = keys[canonical]
            values = [key.parse(v) if isinstance(v, str) else v for v in values]
        if canonical in keys and not any(k.nullable for k in registry.declarations(canonical)):
            values = [... if v is None or _is_null(v) else v for v in values]
        # A part by its name, not by an alias: conditions of a space compare with the name.
        parts = [registry.find(canonical, v) if isinstance(v, str) else None for v in values]
        found[canonical] = [p.name if p else v for p, v in zip(parts, values, strict=True)]
    return found, problems


def with_key(given: Overrides, key: str, value: Any) -> Overrides:
    """`given` and one key more; as it is for a value of None."""
    if value is None:
        return given
    return {**given, key: value} if isinstance(given, Mapping) else [*given, f"{key}={value}"]


def typed(given: Overrides) -> list[str]:
    """`given` as it is typed on a command line."""
    if not isinstance(given, Mapping):
        return list(given)
    several = {n: v if isinstance(v, (list, tuple, range)) else [v] for n, v in given.items()}
    return [f"{name}={','.join(map(_word, values))}" for name, values in several.items()]


def _word(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def where_read(
    configs: Sequence[dict[str, Any]], names: Collection[str], resolver: Resolver
) -> Iterable[dict[str, Any]]:
    """`configs` without the overrides (`names`) that concern others of them only: a key goes to the
    trials that read it. One that none reads stays, to be refused by name."""
    if not names:
        return configs
    reads = [resolver.reads(config) for config in configs]
    somewhere = {name for found in set(reads) for name in found or () if name in names}
    return (
        config
        if found is None or somewhere <= found
        else {n: v for n, v in config.items() if n not in somewhere or n in found}
        for config, found in zip(configs, reads, strict=True)
    )


def _is_null(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower() in ("null", "none")


def _pair(text: str) -> tuple[str, str | None]:
    name, sign, value = text.partition("=")
    return (name.strip(), value.strip()) if sign and name.strip() else (text, None)


def _split(text: str) -> Sequence[Any]:
    """Values joined by commas, or those of a range; none for a range without any."""
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if match is None:
        return [part.strip() for part in text.split(",")]
    numbers = [int(n) for n in match.groups() if n is not None]
    return [] if numbers[2:] == [0] else range(*numbers)
