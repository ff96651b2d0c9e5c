"""A config becomes a trial: parts chosen, every key checked, one identity."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from trainables.spec.keys import REQUIRED, Key, Scalar
from trainables.spec.parts import Model, Part, Probe, Sizes, Stage, Task

SELECTORS = ("stage", "model", "task", "optimizer")
_SELECTOR_DEFAULTS = {"stage": "train", "optimizer": "sgd"}


class ConfigError(ValueError):
    """Everything wrong with a config (or several), one sentence each in `problems`."""

    def __init__(self, problems: Iterable[str]):
        self.problems = list(dict.fromkeys(problems))
        super().__init__("; ".join(self.problems))


def nearest(word: str, known: Iterable[str]) -> str:
    """' (did you mean X?)' for the closest known word, or ''."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def digest(value: Any, length: int = 16) -> str:
    """Hex digest of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@dataclass(frozen=True)
class Trial:
    """One fully resolved config: the unit of identity, storage and query."""

    config: dict[str, Scalar]
    parts: dict[str, Part]
    parent: Trial | None = None
    keys: dict[str, Key] = field(default_factory=dict)
    own_keys: frozenset[str] = frozenset()

    @property
    def stage(self) -> Stage:
        part = self.parts["stage"]
        assert isinstance(part, Stage)
        return part

    @property
    def model(self) -> Model:
        part = self.parts["model"]
        assert isinstance(part, Model)
        return part

    @property
    def task(self) -> Task:
        part = self.parts["task"]
        assert isinstance(part, Task)
        return part

    @property
    def sizes(self) -> Sizes:
        return self.task.sizes(self.config)

    @property
    def epochs(self) -> int:
        """Epochs the stage runs; 0 for an analysis."""
        key = self.stage.epochs_key
        return int(self.config[key] or 0) if key else 0

    @property
    def ancestors(self) -> list[Trial]:
        """The trials it starts from, the first stage first."""
        return [*self.parent.ancestors, self.parent] if self.parent else []

    @cached_property
    def versions(self) -> dict[str, int | str]:
        """Version of each part, by role:name, the parent's included."""
        own = {f"{role}:{part.name}": part.version or 0 for role, part in self.parts.items()}
        return {**(self.parent.versions if self.parent else {}), **own}

    @cached_property
    def _identity(self) -> dict[str, Scalar]:
        return {
            name: value
            for name, value in self.config.items()
            if name in ("stage", "model", "task")
            or (
                name not in SELECTORS
                and self.keys[name].hashed
                and value != self.keys[name].default
            )
            or (name == "optimizer" and value != _SELECTOR_DEFAULTS["optimizer"])
        }

    @cached_property
    def id(self) -> str:
        """16 hex digits: hashed keys away from their default, and the parts' versions."""
        return digest({"config": self._identity, "versions": self.versions})

    @cached_property
    def config_id(self) -> str:
        """The id without versions: equal for the same config under an older version."""
        return digest({"config": self._identity})

    @cached_property
    def statics(self) -> dict[str, Scalar]:
        """What fixes the compiled epoch: the static keys of the trial's own parts."""
        return {
            name: value
            for name, value in self.config.items()
            if name in SELECTORS or (name in self.own_keys and self.keys[name].kind == "static")
        }

    @cached_property
    def program(self) -> str:
        """Hash of the compiled program: equal for all trials that can share a pack."""
        own = {f"{role}:{part.name}": part.version or 0 for role, part in self.parts.items()}
        return digest({"statics": self.statics, "versions": own}, 12)

    def traced(self) -> dict[str, Scalar]:
        """The values that are arrays inside the program (own keys, traced kind)."""
        return self._of_kind("traced")

    def _of_kind(self, kind: str) -> dict[str, Scalar]:
        return {
            n: v for n, v in self.config.items() if n in self.own_keys and self.keys[n].kind == kind
        }


@dataclass
class Registry:
    """Every part by role and name: the built-in ones, and those of users' studies."""

    parts: dict[tuple[str, str], Part] = field(default_factory=dict)
    probes: dict[str, Probe] = field(default_factory=dict)

    def add(self, *parts: Part) -> None:
        """Raises ValueError for a name already taken by another part or a key declared twice."""
        for part in parts:
            known = self.parts.get((part.role, part.name))
            if known is not None and known != part:
                raise ValueError(
                    f"a {part.role} named {part.name} exists already; choose another name"
                )
            names = [k.name for k in part.keys]
            twice = {n for n in names if names.count(n) > 1 or n in SELECTORS}
            if twice:
                raise ValueError(
                    f"{part.role} {part.name} declares {', '.join(sorted(twice))} twice"
                )
            self.parts[part.role, part.name] = part

    def names(self, role: str) -> list[str]:
        return sorted(name for r, name in self.parts if r == role)

    def copy(self) -> Registry:
        return Registry(dict(self.parts), dict(self.probes))

    def find(self, role: str, name: str) -> Part | None:
        """The part of that name or alias."""
        if (role, name) in self.parts:
            return self.parts[role, name]
        return next(
            (p for (r, _), p in self.parts.items() if r == role and name in p.aliases), None
        )

    def all_keys(self) -> dict[str, Key]:
        """Every declared key by name (the first declaration where several parts share a name)."""
        keys: dict[str, Key] = {}
        for part in self.parts.values():
            for key in part.keys:
                keys.setdefault(key.name, key)
        return keys

    def canonical_name(self, name: str) -> str:
        """The key that `name` is an alias of, or `name` itself."""
        keys = self.all_keys()
        if name in keys:
            return name
        return next((k.name for k in keys.values() if name in k.aliases), name)

    def resolve(self, raw: Mapping[str, Any]) -> Trial:
        """A full, checked trial from a partial config.

        Raises:
          ConfigError: with every problem found, not only the first.
        """
        problems: list[str] = []
        given: dict[str, Any] = {}
        for name, value in raw.items():
            canonical = self.canonical_name(name)
            if canonical in given and given[canonical] != value:
                problems.append(f"{name} and another spelling of {canonical} are both set")
            given[canonical] = value
        trial = self._resolve(given, problems)
        if problems or trial is None:
            raise ConfigError(problems)
        return trial

    def _parts(
        self, given: Mapping[str, Any], stage_name: str, problems: list[str]
    ) -> dict[str, Part] | None:
        parts: dict[str, Part] = {"base": self.parts["base", "trial"]}
        stage = self.find("stage", stage_name)
        if not isinstance(stage, Stage):
            problems.append(self._unknown("stage", stage_name))
            return None
        parts["stage"] = stage
        for role in stage.reads:
            name = given.get(role, _SELECTOR_DEFAULTS.get(role))
            part = self.find(role, name) if isinstance(name, str) else None
            if name is None:
                problems.append(f"{role} is missing; choose one of {', '.join(self.names(role))}")
            elif part is None:
                problems.append(self._unknown(role, name))
            else:
                parts[role] = part
        return parts

    def _unknown(self, role: str, name: Any) -> str:
        names = self.names(role)
        return f"unknown {role} {name!r}{nearest(str(name), names)}; known: {', '.join(names)}"

    def _resolve(
        self, given: Mapping[str, Any], problems: list[str], projected: bool = False
    ) -> Trial | None:
        stage_name = given.get("stage", _SELECTOR_DEFAULTS["stage"])
        parts = self._parts(given, stage_name, problems)
        if parts is None:
            return None
        own = _keys_of(parts)
        keys = dict(own)
        stage = parts["stage"]
        assert isinstance(stage, Stage)
        filled = {**{n: k.default for n, k in keys.items() if k.default is not REQUIRED}, **given}
        parent_name = stage.parent(filled)
        parent_keys: set[str] = set()
        if parent_name is not None:
            parent_parts = self._parts(given, parent_name, problems)
            if parent_parts is None:
                return None
            declared = _keys_of(parent_parts)
            parent_keys = set(declared)
            keys = {**declared, **keys}
        config, found = _checked(given, keys, parts)
        problems += found
        unknown = [n for n in given if n not in keys and n not in SELECTORS]
        if not projected and len(parts) == 2 + len(stage.reads):
            known = list(keys) + [a for k in keys.values() for a in k.aliases]
            for name in unknown:
                where = ", ".join(f"{r} {p.name}" for r, p in parts.items() if r != "base")
                problems.append(f"unknown key {name!r}{nearest(name, known)}; not read by {where}")
        parent = None
        if parent_name is not None:
            projection = {n: v for n, v in given.items() if n in parent_keys or n in SELECTORS}
            parent = self._resolve({**projection, "stage": parent_name}, problems, projected=True)
        if found or problems:
            return None
        for part in parts.values():
            problems += part.check(config) if part.check else []
        return Trial(config, parts, parent, keys, frozenset(own))


def _keys_of(parts: Mapping[str, Part]) -> dict[str, Key]:
    return {key.name: key for part in parts.values() for key in part.keys}


def _checked(
    given: Mapping[str, Any], keys: Mapping[str, Key], parts: Mapping[str, Part]
) -> tuple[dict[str, Scalar], list[str]]:
    """All keys at their given or default values, canonical by type; and the problems met."""
    config: dict[str, Scalar] = {r: p.name for r, p in parts.items() if r in SELECTORS}
    problems: list[str] = []
    plain = {n: given.get(n, k.default) for n, k in keys.items()}
    # Named values ("1/sqrt(L)") are functions of the others, so they come second.
    for late in (False, True):
        for name, key in sorted(keys.items()):
            value = plain[name]
            if (isinstance(value, str) and callable(key.named.get(value))) is not late:
                continue
            if value is REQUIRED:
                problems.append(f"{name} is missing; it must be {key.describe()}")
                continue
            try:
                config[name] = key.coerce(value, config if late else plain)
            except ValueError as error:
                problems.append(str(error))
            except (TypeError, KeyError, ZeroDivisionError):
                problems.append(f"{name}={value!r} cannot be computed from this config")
    return config, problems


def versioned_by_content(part: Part, content: bytes) -> Part:
    """`part` with a version taken from the file that declares it, where it declares none."""
    if part.version is not None:
        return part
    return replace(part, version="file-" + hashlib.sha256(content).hexdigest()[:12])
