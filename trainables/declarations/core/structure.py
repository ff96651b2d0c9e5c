"""What trials made of the same parts share: their keys, sorted by what each changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from trainables.declarations.core.keys import REQUIRED, Key, Scalar
from trainables.declarations.core.parts import Config, Part, Probe, Stage
from trainables.declarations.core.rate_keys import rate_problems

SELECTORS = ("stage", "model", "task", "optimizer")
SELECTOR_DEFAULTS = {"stage": "train", "optimizer": "sgd"}
PREFIXES = ("model", "task", "optimizer")
"""Roles whose keys have the role in front, as model.max_phase, where another of these roles
declares a key of that name differently."""
MOST_REMEMBERED = 100_000
"""Values of keys met before; a sampled key has a new one in every trial."""


class Structure:
    """The parts of a trial and of the stage it starts from, and the keys they declare.

    Attributes:
      parts: role -> part of the trial.
      keys: every declared key by name, those of the parent's parts included, in order of name.
      own, above: names of the keys that the trial's own parts declare, and its parent's.
      stage: the trial's own.
      renamed: role -> {name that the part declares: name in a config}, of keys with a prefix.
      complete: whether every part that the stage reads is there.
      accepted: (key, type, value) as given -> the value in the key's type; for `Resolver` to fill.
      texts: (key, value) -> canonical JSON of the two, for `Trial.id` to fill.
      programs: values of `statics` -> the program's hash, as `Trial.program` finds them.
      version_texts: structures of a trial's ancestors -> canonical JSON of all versions, for
        `Trial.id` to fill.
    """

    def __init__(self, parts: dict[str, Part], above: Mapping[str, Part] | None = None):
        """
        Args:
          parts: of the trial, by role.
          above: of its parent.
        """
        self.parts = parts
        self.renamed = _renamed(parts)
        own = _by_name(parts, self.renamed)
        parent = _by_name(above or {}, _renamed(above or {}))
        self.own, self.above = frozenset(own), frozenset(parent)
        self.keys: dict[str, Key] = dict(sorted({**parent, **own}.items()))
        self.accepted: dict[tuple[str, type, Any], Scalar] = {}
        self.texts: dict[tuple[str, Scalar], str] = {}
        self.programs: dict[tuple[Scalar, ...], str] = {}
        self.version_texts: dict[tuple[Structure, ...], str] = {}
        stage = parts["stage"]
        assert isinstance(stage, Stage)
        self.stage = stage
        self.complete = len(parts) == 2 + len(stage.reads)

    @cached_property
    def checks(self) -> list[Callable[[Config], list[str]]]:
        """What its parts and probes refuse, and what the rate of its optimizer cannot be."""
        found = [self._seeing(r, part.check) for r, part in self.parts.items() if part.check]
        for role, part in self.parts.items():
            probes = (probe for probe in part.probes if isinstance(probe, Probe))
            found += [self._seeing(role, probe.check) for probe in probes if probe.check]
        found = list(dict.fromkeys(found))
        if optimizer := self.parts.get("optimizer"):
            found.append(self._seeing("optimizer", partial(rate_problems, optimizer.keys)))
        return found

    def _seeing(
        self, role: str, check: Callable[[Config], list[str]]
    ) -> Callable[[Config], list[str]]:
        return (lambda config: check(self.seen_by(role, config))) if self.renamed else check

    def seen_by(self, role: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Values by key with those of the part's own keys under the names that it declares; as they
        are where none has a prefix."""
        names = self.renamed.get(role)
        if not names:
            return values
        given = {f"{own}_given": f"{name}_given" for own, name in names.items()}
        both = {**names, **given}
        return {**values, **{own: values[name] for own, name in both.items() if name in values}}

    def name_of(self, role: str, key: str) -> str:
        """A key's name in a config, given the part that declares it."""
        return self.renamed.get(role, {}).get(key, key)

    @cached_property
    def probes(self) -> dict[str, Probe]:
        """Tables that its parts may fill, by name."""
        of_parts = (probe for part in self.parts.values() for probe in part.probes)
        return {probe.name: probe for probe in of_parts if isinstance(probe, Probe)}

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """As declared."""
        return {n: key.default for n, key in self.keys.items() if key.default is not REQUIRED}

    @cached_property
    def base(self) -> tuple[dict[str, Scalar], frozenset[str]]:
        """A config of selectors and defaults; and the keys whose value it only keeps a place for:
        required, computed from the others, or of a default that is not accepted."""
        config: dict[str, Scalar] = {r: p.name for r, p in self.parts.items() if r in SELECTORS}
        open_ = set()
        for name, key in self.keys.items():
            config[name] = None
            try:
                if key.default is REQUIRED or is_computed(key, key.default):
                    open_.add(name)
                else:
                    config[name] = key.coerce(key.default, {})
            except ValueError:
                open_.add(name)
        return config, frozenset(open_)

    @cached_property
    def clashes(self) -> list[str]:
        """Keys that two of the parts declare differently, so that one value cannot serve both, and
        that cannot have a prefix."""
        found = []
        seen: dict[str, tuple[Part, Key]] = {}
        for role, part in self.parts.items():
            for key in part.keys:
                if key.name in self.renamed.get(role, ()):
                    continue
                other, declared = seen.setdefault(key.name, (part, key))
                if declared != key:
                    found.append(
                        f"{other.role} {other.name} and {part.role} {part.name} both declare the "
                        f"key {key.name}, differently; rename one"
                    )
        return found

    @cached_property
    def hashed(self) -> tuple[tuple[str, Any], ...]:
        """(name, default) of what is part of a trial's identity where it is not the default, in
        order of name."""
        # Of the selectors' defaults only the optimizer's is left out.
        found = {role: REQUIRED for role in self.parts if role in SELECTORS}
        if "optimizer" in found:
            found["optimizer"] = SELECTOR_DEFAULTS["optimizer"]
        found |= {name: key.default for name, key in self.keys.items() if key.hashed}
        return tuple(sorted(found.items()))

    @cached_property
    def readable(self) -> frozenset[str]:
        """Names that a config may have: keys and selectors."""
        return frozenset(self.keys).union(SELECTORS)

    def of_kind(self, kind: str) -> tuple[str, ...]:
        """Names of the trial's own keys of a kind."""
        return self._kinds.get(kind, ())

    @cached_property
    def _kinds(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for name, key in self.keys.items():
            if name in self.own:
                found[key.kind] = (*found.get(key.kind, ()), name)
        return found

    @cached_property
    def statics(self) -> tuple[str, ...]:
        """Names of what fixes the compiled epoch: selectors and static keys."""
        return (*(r for r in self.parts if r in SELECTORS), *self.of_kind("static"))

    @cached_property
    def optional(self) -> tuple[str, ...]:
        """Names of the trial's own traced keys of which the program knows whether they are null."""
        return tuple(name for name in self.of_kind("traced") if self.keys[name].null_is_static)

    @cached_property
    def later(self) -> dict[str, Scalar]:
        """Names of statics that stores of before do not know -> the value at which the hash of a
        program leaves them out."""
        found = {name: key.default for name, key in self.keys.items() if key.added}
        return found | {f"{name}_given": False for name in self.optional}

    @cached_property
    def versions(self) -> dict[str, int | str]:
        """Version of each of the trial's own parts, by role:name."""
        return {f"{role}:{part.name}": part.version or 0 for role, part in self.parts.items()}


def _renamed(parts: Mapping[str, Part]) -> dict[str, dict[str, str]]:
    """role -> {name that its part declares: name in a config}."""
    declared: dict[str, dict[str, Key]] = {}
    for role, part in parts.items():
        for key in part.keys:
            declared.setdefault(key.name, {})[role] = key
    found: dict[str, dict[str, str]] = {}
    for name, owners in declared.items():
        if differ(owners.values()) and owners.keys() <= set(PREFIXES):
            for role in owners:
                found.setdefault(role, {})[name] = f"{role}.{name}"
    return found


def differ(keys: Iterable[Key]) -> bool:
    """Whether these declarations of one name are not all the same."""
    first, *others = keys
    return any(key != first for key in others)


def prefixed(role: str, key: Key) -> Key:
    """A key as it is named where another role has one of its name."""
    aliases = tuple(f"{role}.{alias}" for alias in key.aliases)
    return replace(key, name=f"{role}.{key.name}", aliases=aliases)


def _by_name(parts: Mapping[str, Part], renamed: Mapping[str, Mapping[str, str]]) -> dict[str, Key]:
    """Keys of the parts by their names in a config."""
    found: dict[str, Key] = {}
    for role, part in parts.items():
        for key in part.keys:
            own = prefixed(role, key) if key.name in renamed.get(role, ()) else key
            found[own.name] = own
    return found


def is_computed(key: Key, value: Any) -> bool:
    """Whether a value is a name for a function of the config, as "1/sqrt(L)"."""
    return isinstance(value, str) and callable(key.named.get(value))
