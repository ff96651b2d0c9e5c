"""What the JSON of a launched space must look like for the rest of `results` to trust it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyarrow import fs as pafs

from results.store import files
from results.store.paths import Paths

Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    # JSON can spell half of a character (a lone surrogate), which nothing can print or store.
    return isinstance(value, str) and (
        value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)
    )


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _list_of(item: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(item, value))


def _dict_of(item: Check) -> Check:
    return lambda value: (
        isinstance(value, dict) and all(map(_text, value)) and all(map(item, value.values()))
    )


_texts = _list_of(_text)


def _word(value: Any) -> bool:
    return value is None or _text(value) or _texts(value)


def _column(value: Any) -> bool:
    return _dict_of(_text)(value) and {"name", "type"} <= value.keys()


def _probe(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _text(value.get("doc", ""))
        and _list_of(_column)(value.get("columns", []))
    )


_FIELDS: dict[str, Check] = {
    **dict.fromkeys(("space", "study", "title", "paper", "feeds", "launched", "loss_unit"), _text),
    **dict.fromkeys(("ours", "smoke"), _flag),
    **dict.fromkeys(("stages", "trials", "targets", "swept", "figures"), _texts),
    "parents": _dict_of(_text),
    "select": _dict_of(_word),
    "chance_loss": _number,
    **dict.fromkeys(("keys", "code"), _dict_of(_dict_of(_text))),
    "probes": _dict_of(_probe),
}
"""Fields that are read somewhere; each may be null or absent, but for `trials`."""


def fault(space: Any) -> str | None:
    """Why `space` cannot be the JSON of a space; None if it can."""
    if not isinstance(space, Mapping):
        return "it is no JSON object"
    if space.get("trials") is None:
        return "it names no trials"
    wrong = [n for n, fits in _FIELDS.items() if space.get(n) is not None and not fits(space[n])]
    return f"its {', '.join(wrong)} cannot be read" if wrong else None


def read_spaces(
    fs: pafs.FileSystem, paths: Paths, odd: dict[str, str]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Every space launched into a store, by `study/space`, and a sentence on each file that is
    left out; what stands in a file's place is added to `odd`."""
    found: dict[str, dict[str, Any]] = {}
    warnings: list[str] = []
    for info in files.listing(fs, paths.spaces, True, odd):
        if not info.path.endswith(".json"):
            continue
        name = info.path[len(paths.spaces) + 1 : -len(".json")]
        try:
            space = files.read_json(fs, info.path)
            problem = fault(space)
            if problem:
                raise ValueError(problem)
            found[name] = space
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            warnings.append(
                f"{info.path} is left out ({error}); launch {name} again to write it anew."
            )
    return found, warnings
