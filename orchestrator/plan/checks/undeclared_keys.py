"""Keys that a study's functions read and no `Key` declares: their type is that of the values that
the study's spaces give them.

A float is traced, all else static. A float that the data or the sizes of a task are made of is
static too, since all lanes of a program share them, and one that may be null.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.source.key_reads import strings_read
from orchestrator.user_code import guarded
from results.config_values import value_text
from search_spaces import Space, SpaceError, Study, expand
from trainables.declarations import REQUIRED, SELECTORS, Key, Part, Registry
from trainables.declarations.core.keys import as_plain

_PER_LANE = {
    "task": {"loss", "metrics", "augment", "chance_loss", "loss_terms", "check", "variants"},
    "objective": {"init", "loss", "chance_loss", "check", "variants"},
}
"""Functions of a task that are given one lane's values; all others make what lanes share."""
_ONE = {"uniform": 0.5, "loguniform": 0.5, "randint": 1}
"""A value of the type that a form of `search_spaces.expansion` draws."""


def with_undeclared(study: Study, registry: Registry, parts: list[Part]) -> list[Part]:
    """`parts` with the keys that their functions read and that they do not declare.

    Args:
      registry: of all parts known before.
      parts: of the study, with their code named as the study finds it.

    Raises:
      RequestError: values of several types for one key; a key read by a name that means another.
    """
    if not parts:
        return []
    names = registry.resolver().spellings
    own = {
        word: key.name for part in parts for key in part.keys for word in (key.name, *key.aliases)
    }
    values = _values(study)
    reads = {id(part): _read(part, values.keys()) for part in parts}
    found: dict[str, Key] = {}
    problems: list[str] = []
    for name in values:
        readers = [part for part in parts if name in reads[id(part)]]
        if not readers or name in SELECTORS or name in registry.presets:
            continue
        meant = own.get(name) or names.get(name, name)
        if meant in SELECTORS:
            continue
        if meant != name:
            problems += [
                f"{part.role} {part.name} reads {name!r}, which is another spelling of the key "
                f"{meant}, as it is called in a config; read {meant!r}"
                for part in readers
                if meant not in reads[id(part)] and not any(k.name == meant for k in part.keys)
            ]
            continue
        if all(any(key.name == name for key in part.keys) for part in readers):
            continue
        shared = any(name in _read(part, [name], shared=True) for part in readers)
        doc = "Read by " + " and ".join(f"{part.role} {part.name}" for part in readers) + "."
        try:
            found[name] = _key(name, values[name], shared, doc)
        except ValueError as error:
            if name not in names:  # else a part beside them may declare it
                problems.append(str(error))
    if problems:
        raise RequestError([f"study {study.name}: {problem}" for problem in problems])
    return [
        replace(
            part,
            undeclared=tuple(
                found[name]
                for name in sorted(found.keys() & reads[id(part)])
                if not any(key.name == name for key in part.keys)
            ),
        )
        if part.undeclared is None
        else part
        for part in parts
    ]


def _key(name: str, values: list[Any], shared: bool, doc: str) -> Key:
    """A key of the type of these values.

    Raises:
      ValueError: they are of several types.
    """
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        kinds = {float}
    word = next(iter(kinds)).__name__ if len(kinds) == 1 else ""
    if word not in ("int", "float", "str", "bool"):
        raise ValueError(
            f"no Key declares {name}, and its values are of no one type "
            f"({', '.join(map(value_text, values[:4]))}); declare Key({name!r}, ...) with its type"
        )
    nullable = None in values
    traced = word == "float" and not shared and not nullable
    kind = "traced" if traced else "static"
    return Key(name, word, REQUIRED, kind, doc, nullable=nullable, declared=False)


def _read(part: Part, names: Any, shared: bool = False) -> frozenset[str]:
    """Those of `names` that the part's functions read; `shared`: only functions whose result all
    lanes share."""
    per_lane = _PER_LANE.get(part.role)
    if shared and per_lane is None:
        return frozenset()
    code = [
        _loaded(getattr(part, field.name))
        for field in fields(part)
        if field.name not in ("keys", "probes", "undeclared")
        and not (shared and per_lane and field.name in per_lane)
    ]
    return strings_read(*filter(callable, code)).intersection(names)


def _loaded(value: Any) -> Any:
    """The function that a string names, where it can be had."""
    if not isinstance(value, str) or ":" not in value:
        return value
    module, _, name = value.partition(":")
    if module.partition(".")[0] in ("trainables", "orchestrator"):  # ours read their own keys
        return None
    try:
        with guarded():
            return getattr(importlib.import_module(module), name)
    except Exception:  # what is wrong with it is said where the part is made
        return None


def _values(study: Study) -> dict[str, list[Any]]:
    """Key, as it is written -> the values that the study's spaces give it."""
    found: dict[str, list[Any]] = {}
    for space in study.spaces.values():
        forms = [space.param_space, *(form["then"] for form in space.defaults)]
        for name, value in (pair for form in forms for pair in _leaves(form)):
            known = found.setdefault(name, [])
            known += [v for v in _of(space, name, value) if v is not ...]
        for name, value in space.smoke.items():
            several = value if isinstance(value, list) else [value]
            found.setdefault(name, []).extend(map(as_plain, several))
    return {name: values for name, values in found.items() if values}


def _leaves(form: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in form.items():
        inner = value if isinstance(value, Mapping) else {}
        if isinstance(inner.get("zip"), Mapping):
            yield from ((n, {"grid_search": v}) for n, v in inner["zip"].items())
        elif "when" in inner:
            for branch in ("then", "else"):
                if isinstance(inner.get(branch), Mapping):
                    yield from _leaves(inner[branch])
        else:
            yield name, value


def _of(space: Space, name: str, value: Any) -> list[Any]:
    """The values of a key, or some of the type that it is drawn in."""
    if isinstance(value, Mapping):
        form, given = next(iter(value.items()), ("", ()))
        if form in _ONE:
            return [_ONE[form]]
        several = form in ("grid_search", "choice") and isinstance(given, (list, tuple, range))
        return [as_plain(v) for v in given] if several else []
    if hasattr(value, "categories"):  # Ray Tune's choice
        return [as_plain(v) for v in value.categories]
    if hasattr(value, "sample"):
        return _drawn(space, name)
    return [as_plain(value)]


def _drawn(space: Space, name: str) -> list[Any]:
    """A value of a domain of Ray Tune's, or of a function of other keys."""
    plain = {
        n: {"grid_search": list(v["grid_search"])[:1]} if "grid_search" in v else v
        for n, v in ((n, v) for n, v in space.param_space.items() if isinstance(v, Mapping))
        if not {"zip", "when"} & v.keys()
    }
    plain |= {n: v for n, v in space.param_space.items() if not isinstance(v, Mapping)}
    try:
        (config,) = expand(plain, samples=1)
    except (SpaceError, ValueError):  # which the plan says
        return []
    return [config[name]] if name in config else []
