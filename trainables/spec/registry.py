"""Every part by name; and how a config becomes a trial: parts chosen, every key checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trainables.spec.keys import REQUIRED, Key, Scalar, shown
from trainables.spec.macros import SELECTOR_ALIASES, Macro, unfold
from trainables.spec.parts import Part, Probe, Stage
from trainables.spec.trial import SELECTOR_DEFAULTS, SELECTORS, ConfigError, Trial, nearest


@dataclass
class Registry:
    """Every part by role and name: the built-in ones, and those of users' studies."""

    parts: dict[tuple[str, str], Part] = field(default_factory=dict)
    probes: dict[str, Probe] = field(default_factory=dict)
    macros: dict[str, Macro] = field(default_factory=dict)
    _spelled: tuple[tuple[int, ...], dict[str, str]] = field(default=((), {}), repr=False)

    def add(self, *parts: Part) -> None:
        """Adds parts.

        Raises:
          ValueError: a name already taken by another part, a key declared twice, or one that is
            another key's alias, which would change what configs written with that alias mean.
        """
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
            self._refuse_ambiguous(part)
            self.parts[part.role, part.name] = part

    def _refuse_ambiguous(self, part: Part) -> None:
        owners = self._spellings()
        for key in part.keys:
            macro = self.macros.get(key.name)
            if macro is not None and not macro.shared:
                raise ValueError(
                    f"{part.role} {part.name} declares {key.name}, which is read as other keys "
                    "already; use another name"
                )
            for word in (key.name, *key.aliases):
                owner = owners.get(word, key.name)
                if owner != key.name:
                    raise ValueError(
                        f"{part.role} {part.name} declares {word} for key {key.name}, but it "
                        f"already means the key {owner}; use {owner} or another name"
                    )

    def names(self, role: str) -> list[str]:
        return sorted(name for r, name in self.parts if r == role)

    def copy(self) -> Registry:
        return Registry(dict(self.parts), dict(self.probes), dict(self.macros))

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
        """The key, selector or macro that `name` is an alias of, or `name` itself."""
        return self._spellings().get(name, name)

    def known_names(self) -> list[str]:
        """Every word that may name something in a config, aliases included."""
        return list(self._spellings())

    def declarations(self, name: str) -> list[Key]:
        """Every declaration of the key `name`: parts may give it other ranges and defaults."""
        return [key for part in self.parts.values() for key in part.keys if key.name == name]

    def _spellings(self) -> dict[str, str]:
        """What every known word means. Kept until a part is added or replaced."""
        state = tuple(map(id, (*self.parts.values(), *self.macros.values())))
        if state != self._spelled[0]:
            keys = [key for part in self.parts.values() for key in part.keys]
            found = dict(SELECTOR_ALIASES)
            found |= {alias: key.name for key in keys for alias in key.aliases}
            found |= {name: name for name in (*SELECTORS, *self.macros, *(k.name for k in keys))}
            self._spelled = state, found
        return self._spelled[1]

    def unfold(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """`given` with its macros read as the keys they stand for; as it is where `resolve` would
        find fault with one."""
        found, problems = unfold(given, self.macros, self.canonical_name)
        return dict(given) if problems else found

    def reads(self, given: Mapping[str, Any]) -> set[str] | None:
        """Keys that the parts of a config (canonical names) and of its parents declare; None where
        one of the parts is unknown."""
        found: set[str] = set()
        stage: Any = given.get("stage", SELECTOR_DEFAULTS["stage"])
        if stage == given.get("pretrain"):
            stage = SELECTOR_DEFAULTS["stage"]
        while stage is not None:
            parts = self._parts(given, stage, [])
            if parts is None or len(parts) < 2 + len(_stage_of(parts).reads):
                return None
            keys = _keys_of(parts)
            found |= keys.keys()
            stage = _stage_of(parts).parent({**_defaults(keys), **given})
        return found

    def resolve(self, raw: Mapping[str, Any]) -> Trial:
        """A full, checked trial from a partial config.

        `stage` equal to `pretrain` asks for the pretraining of that training: what only the
        training reads is checked and then left out.

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
        given, found = unfold(given, self.macros, self.canonical_name)
        problems += found
        given = {n: v for n, v in given.items() if n not in self.macros or self.declarations(n)}
        before = given.get("stage")
        if before is not None and before == given.get("pretrain"):
            given["stage"] = SELECTOR_DEFAULTS["stage"]
            trial = self._resolve(given, problems)
            trial = trial.parent if trial else None
        else:
            trial = self._resolve(given, problems)
        if problems or trial is None:
            raise ConfigError(problems)
        return trial

    def _parts(
        self, given: Mapping[str, Any], stage_name: Any, problems: list[str]
    ) -> dict[str, Part] | None:
        parts: dict[str, Part] = {"base": self.parts["base", "trial"]}
        stage = self.find("stage", stage_name) if isinstance(stage_name, str) else None
        if not isinstance(stage, Stage):
            problems.append(self._unknown("stage", stage_name))
            return None
        parts["stage"] = stage
        for role in stage.reads:
            name = given.get(role, SELECTOR_DEFAULTS.get(role))
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
        near = nearest(name, names) if isinstance(name, str) else ""
        return f"unknown {role} {shown(name)}{near}; known: {', '.join(names)}"

    def _resolve(
        self, given: Mapping[str, Any], problems: list[str], projected: bool = False
    ) -> Trial | None:
        stage_name = given.get("stage", SELECTOR_DEFAULTS["stage"])
        parts = self._parts(given, stage_name, problems)
        if parts is None:
            return None
        own = _keys_of(parts)
        problems += _clashes(parts)
        keys = dict(own)
        stage = _stage_of(parts)
        parent_name = stage.parent({**_defaults(keys), **given})
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


def _stage_of(parts: Mapping[str, Part]) -> Stage:
    stage = parts["stage"]
    assert isinstance(stage, Stage)
    return stage


def _defaults(keys: Mapping[str, Key]) -> dict[str, Any]:
    return {name: key.default for name, key in keys.items() if key.default is not REQUIRED}


def _clashes(parts: Mapping[str, Part]) -> list[str]:
    """Keys that two of the parts declare differently, so that one value cannot serve both."""
    found = []
    seen: dict[str, tuple[Part, Key]] = {}
    for part in parts.values():
        for key in part.keys:
            other, declared = seen.setdefault(key.name, (part, key))
            if declared != key:
                found.append(
                    f"{other.role} {other.name} and {part.role} {part.name} both declare the key "
                    f"{key.name}, differently; rename one"
                )
    return found


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
            except (TypeError, KeyError):
                if not problems:  # else what it is computed from is wrong, and told already
                    problems.append(f"{name}={shown(value)} cannot be computed from this config")
    return config, problems


def versioned_by_content(part: Part, content: bytes) -> Part:
    """`part` with a version taken from the file that declares it, where it declares none."""
    if part.version is not None:
        return part
    return replace(part, version="file-" + hashlib.sha256(content).hexdigest()[:12])
