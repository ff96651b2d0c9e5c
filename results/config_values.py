"""Values of a config as a person reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_FEWEST = 4
"""Significant digits of a number that has many, as one drawn at random has."""
_FEW = 8
"""A number of at most this many digits is shown in full."""
_ALL = 17
_NOISE = 1e-15
"""Relative error of a sum or product: 0.1 + 0.2 reads 0.3 unless 0.3 stands beside it."""


def value_text(value: Any) -> str:
    """A config's value by itself: 0.99999 is not 1."""
    return value_texts([value])[0]


def value_texts(values: Sequence[Any]) -> list[str]:
    """Values of one key, each in the shortest form that tells it from the others and looks like no
    rounder number than it is. Numbers of up to 8 digits are in full; null is `null`."""
    floats = {v for v in values if isinstance(v, float) and math.isfinite(v)}
    known = {v: _short(v) for v in floats if _digits(v) <= _FEW}
    for digits in range(_FEWEST, _ALL):
        if len(known) == len(floats):
            break
        rounded: dict[float, list[float]] = {}
        for value in floats:
            rounded.setdefault(float(f"{value:.{digits}g}"), []).append(value)
        for near, alike in rounded.items():
            value = alike[0]
            honest = _digits(near) == digits or math.isclose(near, value, rel_tol=_NOISE)
            if len(alike) == 1 and honest:
                known.setdefault(value, _short(near))
    return [_text(value, known) for value in values]


def pairs_text(config: Mapping[str, Any]) -> str:
    """`lr=0.1 width=8`."""
    return pairs_texts([config])[0]


def pairs_texts(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """`lr=0.1 width=8` of each config, each value distinct from the key's others."""
    words: list[dict[str, str]] = [dict.fromkeys(config, "") for config in configs]
    for name in dict.fromkeys(name for config in configs for name in config):
        owners = [i for i, config in enumerate(configs) if name in config]
        texts = value_texts([configs[i][name] for i in owners])
        for i, text in zip(owners, texts, strict=True):
            words[i][name] = text
    return [" ".join(f"{name}={text}" for name, text in own.items()) for own in words]


def _text(value: Any, known: dict[float, str]) -> str:
    if isinstance(value, float):
        return known.get(value) or _short(value)
    return "null" if value is None else str(value)


def _short(value: float) -> str:
    return f"{value:.{max(6, _digits(value))}g}"


def _digits(value: float) -> int:
    """Significant ones, of the shortest decimal that is this number."""
    mantissa = repr(float(value)).lstrip("-").split("e")[0].replace(".", "")
    return len(mantissa.strip("0")) or 1
