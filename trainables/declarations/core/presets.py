"""Words of a config that stand for several keys, such as a paper's comment flags."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainables.declarations.core.parts import Config
from trainables.declarations.core.trial import ConfigError

SELECTOR_ALIASES = {"net": "model", "dataset": "task"}
"""The papers' words for what a selector chooses."""
_WORDS = {("net", "lru"): "bare_lru"}
"""(a paper's word for a selector, its value) -> our part, where ours of that name is another: of
herranz2023 the bare unit in layers, where model `lru` is zucchet2024's one-layer model."""


def meant(name: str, value: Any) -> Any:
    """A selector's value that was written under a paper's word for the selector, as ours."""
    return _WORDS.get((name, value), value) if isinstance(value, str) else value


def in_our_words(space: Any, name: str = "") -> Any:
    """A space's keys and forms with `meant` applied to each value of a selector's paper word.

    Args:
      name: the word that the values in `space` are given to.
    """
    if isinstance(space, Mapping):
        return {key: in_our_words(v, key if key in SELECTOR_ALIASES else name)
                for key, v in space.items()}  # fmt: skip
    if isinstance(space, list | tuple):
        return [in_our_words(value, name) for value in space]
    return meant(name, space)


@dataclass(frozen=True)
class Meaning:
    """What a preset's value says: `keys` it sets, and `defaults` that only fill keys left open."""

    keys: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Preset:
    """A word that is written like a key and read as other keys; never part of a resolved config.

    Attributes:
      name: as written in a config.
      read: (value, the config around it) -> what it says. Raises ConfigError, all problems at once.
      decides: every key it may set. Given on a command line it replaces these wherever a space sets
        them, so that one string describes a trial whatever the space's own choices.
      shared: also the name of a key; `read` then gives that key back for values that are the key's.
    """

    name: str
    read: Callable[[Any, Config], Meaning]
    decides: frozenset[str] = frozenset()
    shared: bool = False
    doc: str = ""


def unfold(
    given: Mapping[str, Any], presets: Mapping[str, Preset], rename: Callable[[str], str] = str
) -> tuple[dict[str, Any], list[str]]:
    """`given` (canonical names) with each preset replaced by the keys it stands for; the problems.

    A key set both ways must have the same value. A preset that cannot be read stays as it is.
    """
    found = {name: value for name, value in given.items() if name not in presets}
    problems: list[str] = []
    filled: dict[str, Any] = {}
    # In the registry's order: a later preset reads what earlier ones have said.
    for name in (name for name in presets if name in given):
        try:
            meaning = presets[name].read(given[name], found)
        except ConfigError as error:
            problems += error.problems
            found[name] = given[name]
            continue
        for key, value in meaning.keys.items():
            key = rename(key)
            if key in found and not _same(found[key], value):
                problems.append(
                    f"{name}={given[name]} says {key}={_text(value)}, but {key}="
                    f"{_text(found[key])} is set as well; give one of them"
                )
            found[key] = value  # what follows is judged as the preset has it, not told twice
        filled |= {rename(key): value for key, value in meaning.defaults.items()}
    return {**filled, **found}, problems


def _same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _text(value: Any) -> str:
    return "null" if value is None else str(value)


FULL_PASS = Preset(
    name="steps_per_epoch",
    read=lambda value, config: Meaning({} if value in (-1, "-1") else {"steps_per_epoch": value}),
    shared=True,
    doc="-1, as published commands write, is a pass over the whole training set: what an epoch is.",
)


def _pretrain_epochs(value: Any, config: Config) -> Meaning:
    if "lsc" not in (config.get("stage"), config.get("pretrain")):
        return Meaning()
    return Meaning({"lsc_epochs": int(value) if re.fullmatch("[0-9]{1,9}", str(value)) else value})


PRETRAIN_EPOCHS = Preset(
    name="pretrain_epochs",
    read=_pretrain_epochs,
    doc="lsc_epochs, of a trial that is pretrained; published commands give it to the others too.",
)


OBJECTIVE = Preset(
    name="objective",
    read=lambda value, config: Meaning({"model": value, "task": value}),
    decides=frozenset({"model", "task"}),
    doc="An objective of a study: a model and its task as two plain functions of JAX.",
)
