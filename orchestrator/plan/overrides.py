"""`--set key=value`: overrides and re-grids typed on a command line.

A key is set once, under one of its names; several values stand side by side. A recording key has
one value for a trial, since it makes none. What the space or its smoke variant sets and a trial no
longer reads, once the user has chosen other parts, is left out; what the user typed and no trial
reads is refused.

`null` or `none` for a key that takes no null leaves it open: the space's or the key's default.
Where `none` is one of the key's own values, as of lru_gamma or pooling, it is that value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from search_spaces.expansion import MAX_CONFIGS
from trainables.declarations import SELECTORS, Registry, Resolver, nearest
from trainables.declarations.core.keys import shown
from trainables.declarations.core.presets import meant

_INT = "(-?[0-9]{1,18})"
_RANGE = re.compile(rf"range\({_INT}(?:,{_INT})?(?:,{_INT})?\)")

Overrides = Sequence[str] | Mapping[str, Any]


def read_overrides(given: Overrides, registry: Registry) -> tuple[dict[str, list[Any]], list[str]]:
    """key -> values, of all that could be read, and what is wrong with the rest: every entry that
    is no `key=value`, names an unknown key or gives no value.

    `lr=0.1`, `lr=0.1,0.01` and `seed=range(4)` on a command line; in Python also a mapping of
    values or lists.
    """
    keys = registry.all_keys() | registry.prefixed_keys()
    typed = not isinstance(given, Mapping)
    pairs = [_pair(text) for text in given] if typed else list(given.items())
    found: dict[str, list[Any]] = {}
    written: dict[str, str] = {}
    problems: list[str] = []
    for name, value in pairs:
        if typed and value is None:
            problems.append(f"--set {name!r} is not key=value")
            continue
        canonical = registry.canonical_name(name)
        if canonical not in (*SELECTORS, *keys, *registry.presets):
            problems.append(f"unknown key {name!r}{nearest(name, registry.known_names())}")
            continue
        text = f"{name}={value if typed else shown(value)}"
        if canonical in written:
            records = canonical in keys and not keys[canonical].hashed
            problems.append(_twice(canonical, written[canonical], text, typed and not records))
            continue
        written[canonical] = text
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
        declared = registry.declarations(canonical) if canonical in keys else []
        if declared and not any(key.nullable for key in declared):
            own = [v for key in declared for v in (key.default, *key.choices, *key.named)]
            values = [... if v is None or (_is_null(v) and v not in own) else v for v in values]
        values = [meant(name, v) for v in values]
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
    configs: Sequence[dict[str, Any]],
    names: Collection[str],
    resolver: Resolver,
    typed: Collection[str] = (),
    before: Callable[[], Iterable[Mapping[str, Any]]] = tuple,
) -> Iterable[dict[str, Any]]:
    """`configs` without the overrides (`names`) that concern others of them only: a key goes to the
    trials that read it. One that none reads stays, to be refused by name.

    Args:
      typed: those of the overrides that the user gave.
      before: the configs without these. A key that is not the user's and is read there, not here,
        goes too: the user has chosen other parts.
    """
    if not names:
        return configs
    reads = [resolver.reads(config) for config in configs]
    leave = {name for found in set(reads) for name in found or () if name in names}
    if typed and any(
        found is not None and n not in found and n not in typed and n not in SELECTORS
        for config, found in zip(configs, reads, strict=True)
        for n in config
    ):
        read_before = {resolver.reads(config) for config in before()}
        leave |= {n for found in read_before for n in found or () if n not in typed}
    return (
        config
        if found is None or leave <= found
        else {n: v for n, v in config.items() if n not in leave or n in found}
        for config, found in zip(configs, reads, strict=True)
    )


def _twice(key: str, first: str, second: str, listed: bool) -> str:
    """Says that two entries set one key; `listed`: whether a list of values would be read."""
    names, values = zip(*(text.split("=", 1) for text in (first, second)), strict=True)
    if {*names} != {key}:
        return f"{first} and {second} set the same key, {key}; give one of them"
    several = f", or several values as {key}={','.join(values)}"
    plain = listed and not any("(" in value for value in values)
    return f"{first} and {second} set the same key; give one of them{several if plain else ''}"


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
