"""How a config becomes a trial: parts chosen, every key checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trainables.declarations.core.keys import REQUIRED, Key, Scalar, shown
from trainables.declarations.core.parts import Part, Stage
from trainables.declarations.core.presets import SELECTOR_ALIASES, Preset, meant, unfold
from trainables.declarations.core.structure import (
    MOST_REMEMBERED,
    PREFIXES,
    SELECTOR_DEFAULTS,
    SELECTORS,
    Structure,
    differ,
    is_computed,
    prefixed,
)
from trainables.declarations.core.trial import ConfigError, Trial, nearest, refusals


class Resolver:
    """Reads configs by given parts. What configs of the same parts share is worked out once.

    Attributes:
      spellings: every word that may name something in a config -> what it means.
      prefixed: keys by names with a role in front, of those that may need one.
    """

    def __init__(self, parts: Mapping[tuple[str, str], Part], presets: Mapping[str, Preset]):
        """
        Args:
          parts: by role and name.
          presets: by name.
        """
        self._all, self._presets = parts, presets
        keys = [key for part in parts.values() for key in part.keys]
        undeclared = [key for part in parts.values() if part.undeclared for key in part.undeclared]
        self._declared = {key.name for key in (*keys, *undeclared)}
        self._undeclared = frozenset(key.name for key in undeclared)
        self.spellings: dict[str, str] = dict(SELECTOR_ALIASES)
        self.spellings |= {alias: key.name for key in keys for alias in key.aliases}
        self.spellings |= {n: n for n in (*SELECTORS, *presets, *(key.name for key in keys))}
        self.spellings |= {key.name: key.name for key in undeclared}
        self.prefixed = _prefixed_keys(parts)
        self.spellings |= {a: k.name for k in self.prefixed.values() for a in (k.name, *k.aliases)}
        self._chosen: dict[tuple[Any, ...], tuple[Structure | None, list[str]]] = {}
        self._children: dict[tuple[Structure, Structure], Structure] = {}
        self._canonical: set[tuple[str, ...]] = set()

    def canonical_name(self, name: str) -> str:
        """The key, selector or preset that `name` is an alias of, or `name` itself."""
        return self.spellings.get(name, name)

    def find(self, role: str, name: str) -> Part | None:
        """The part of that name or alias."""
        if (role, name) in self._all:
            return self._all[role, name]
        return next((p for (r, _), p in self._all.items() if r == role and name in p.aliases), None)

    def unfold(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """`given` with its presets read as the keys they stand for; as it is where `resolve` would
        find fault with one."""
        if self._presets.keys().isdisjoint(given):
            return dict(given)
        found, problems = unfold(given, self._presets, self.canonical_name)
        return dict(given) if problems else found

    def reads(self, given: Mapping[str, Any]) -> frozenset[str] | None:
        """Keys that the parts of a config (canonical names) and of its parents declare; None where
        one of the parts is unknown."""
        found: frozenset[str] = frozenset()
        stage: Any = given.get("stage", SELECTOR_DEFAULTS["stage"])
        if stage == given.get("pretrain"):
            stage = SELECTOR_DEFAULTS["stage"]
        while stage is not None:
            structure, _ = self._structure(given, stage)
            if structure is None or not structure.complete:
                return None
            found = found | structure.own if found else structure.own
            stage = structure.stage.parent({**structure.defaults, **given})
        return found

    def resolve(self, raw: Mapping[str, Any]) -> Trial:
        """A full, checked trial from a partial config.

        `stage` equal to `pretrain` asks for the pretraining of that training: what only the
        training reads is checked and then left out.

        Raises:
          ConfigError: with every problem found, not only the first.
        """
        given, problems = self._canonically(raw)
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

    def _canonically(self, raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """`raw` by canonical names, presets read as what they stand for; and the problems met."""
        names = tuple(raw)
        if names in self._canonical:
            return dict(raw), []
        problems: list[str] = []
        given: dict[str, Any] = {}
        for name, value in raw.items():
            canonical, value = self.spellings.get(name, name), meant(name, value)
            if canonical in given and given[canonical] != value:
                problems.append(f"{name} and another spelling of {canonical} are both set")
            given[canonical] = value
        if not self._presets.keys().isdisjoint(given):
            given, found = unfold(given, self._presets, self.canonical_name)
            problems += found
            left = self._presets.keys() - self._declared
            given = {n: v for n, v in given.items() if n not in left}
        elif names == tuple(given) and len(self._canonical) < MOST_REMEMBERED:
            self._canonical.add(names)
        return given, problems

    def _structure(
        self, given: Mapping[str, Any], stage: Any
    ) -> tuple[Structure | None, list[str]]:
        """Of the parts a config chooses, None without a stage; and the problems met."""
        # A key that no part declares is one of the trial's only where its config gives it.
        choice = (stage, self._undeclared.intersection(given), *map(given.get, SELECTORS[1:]))
        try:
            known = self._chosen.get(choice)
        except TypeError:  # a list, or another value that is no name
            return self._choose(given, stage)
        if known is None:
            known = self._chosen[choice] = self._choose(given, stage)
        return known

    def _choose(
        self, given: Mapping[str, Any], stage_name: Any
    ) -> tuple[Structure | None, list[str]]:
        stage = self.find("stage", stage_name) if isinstance(stage_name, str) else None
        if not isinstance(stage, Stage):
            return None, [self._unknown("stage", stage_name)]
        parts: dict[str, Part] = {"base": self._all["base", "trial"], "stage": stage}
        problems = []
        for role in stage.reads:
            name = given.get(role, SELECTOR_DEFAULTS.get(role))
            part = self.find(role, name) if isinstance(name, str) else None
            if name is None:
                known = ", ".join(self._names(role))
                problems.append(f"{role} is missing; choose one of {known}")
            elif part is None:
                problems.append(self._unknown(role, name))
            else:
                parts[role] = part
        return Structure(self._with_undeclared(parts, given)), problems

    def _with_undeclared(self, parts: dict[str, Part], given: Mapping[str, Any]) -> dict[str, Part]:
        """Parts with those of the keys of a config that they read and none of them declares."""
        if self._undeclared.isdisjoint(given):
            return parts
        declared = {key.name for part in parts.values() for key in part.keys}
        wanted = self._undeclared.intersection(given) - declared
        found = {}
        for role, part in parts.items():
            more = tuple(key for key in part.undeclared or () if key.name in wanted)
            found[role] = replace(part, keys=(*part.keys, *more)) if more else part
        return found

    def _names(self, role: str) -> list[str]:
        return sorted(name for r, name in self._all if r == role)

    def _unknown(self, role: str, name: Any) -> str:
        names = self._names(role)
        near = nearest(name, names) if isinstance(name, str) else ""
        return f"unknown {role} {shown(name)}{near}; known: {', '.join(names)}"

    def _resolve(
        self, given: Mapping[str, Any], problems: list[str], projected: bool = False
    ) -> Trial | None:
        structure, met = self._structure(given, given.get("stage", SELECTOR_DEFAULTS["stage"]))
        problems += met
        if structure is None:
            return None
        problems += structure.clashes
        parent_name = structure.stage.parent({**structure.defaults, **given})
        if parent_name is not None:
            above, met = self._structure(given, parent_name)
            problems += met
            if above is None:
                return None
            pair = structure, above
            if pair not in self._children:
                self._children[pair] = Structure(structure.parts, above.parts)
            structure = self._children[pair]
        config, found = _checked(given, structure)
        problems += found
        if not projected and structure.complete:
            problems += _unknown_keys(given, structure)
        parent = None
        if parent_name is not None:
            read = structure.above
            projection = {n: v for n, v in given.items() if n in read or n in SELECTORS}
            parent = self._resolve({**projection, "stage": parent_name}, problems, projected=True)
        if found or problems:
            return None
        for check in structure.checks:
            problems += refusals(check, config)
        return Trial(config, structure, parent)


def _prefixed_keys(parts: Mapping[tuple[str, str], Part]) -> dict[str, Key]:
    """Keys that parts of several of the roles `PREFIXES` declare, differently, by prefixed name:
    the first declaration of each role, with the aliases of all."""
    owners: dict[str, list[tuple[str, Key]]] = {}
    for (role, _), part in parts.items():
        for key in part.keys if role in PREFIXES else ():
            owners.setdefault(key.name, []).append((role, key))
    found: dict[str, Key] = {}
    for pairs in owners.values():
        if len({role for role, _ in pairs}) > 1 and differ(key for _, key in pairs):
            for own in (prefixed(role, key) for role, key in pairs):
                first = found.setdefault(own.name, own)
                aliases = tuple(dict.fromkeys((*first.aliases, *own.aliases)))
                found[own.name] = replace(first, aliases=aliases)
    return found


def _prefix_problem(name: str, structure: Structure) -> str | None:
    """What is wrong with a name whose prefix is missing or is too much; None with others."""
    owners = [r for r, names in structure.renamed.items() if name in names]
    if owners:
        who = " and ".join(f"{role} {structure.parts[role].name}" for role in owners)
        remedy = " or ".join(f"{role}.{name}" for role in owners)
        return f"{who} both declare the key {name}, differently; set {remedy}"
    role, _, plain = name.partition(".")
    if role in PREFIXES and plain in structure.keys:
        return f"{name}: the parts of this trial have one key {plain} only; set {plain}"
    return None


def _unknown_keys(given: Mapping[str, Any], structure: Structure) -> list[str]:
    if structure.readable.issuperset(given):
        return []
    keys = structure.keys
    unknown = [name for name in given if name not in structure.readable]
    found = [problem for name in unknown if (problem := _prefix_problem(name, structure))]
    unknown = [name for name in unknown if _prefix_problem(name, structure) is None]
    known = list(keys) + [a for k in keys.values() for a in k.aliases]
    where = ", ".join(f"{r} {p.name}" for r, p in structure.parts.items() if r != "base")
    found += [f"unknown key {n!r}{nearest(n, known)}; not read by {where}" for n in unknown]
    return found


def _checked(given: Mapping[str, Any], structure: Structure) -> tuple[dict[str, Scalar], list[str]]:
    """All keys at their given or default values, canonical by type; and the problems met."""
    base, open_ = structure.base
    keys, config, accepted = structure.keys, base.copy(), structure.accepted
    problems: list[str] = []
    late = []
    for name in sorted(open_.union(given)) if open_ else sorted(given):
        key = keys.get(name)
        if key is None:
            continue
        value = given.get(name, key.default)
        mark = name, type(value), value
        try:
            known = accepted.get(mark, REQUIRED)
            if known is not REQUIRED:
                config[name] = known
                continue
        except TypeError:  # a list, or another value that no key takes
            mark = None
        # Named values ("1/sqrt(L)") are functions of the others, so they come second.
        if is_computed(key, value):
            late.append((name, key, value))
            del config[name]
        elif value is REQUIRED:
            problems.append(f"{name} is missing; it must be {key.describe()}")
        else:
            try:
                config[name] = key.coerce(value, {})
            except ValueError as error:
                problems.append(str(error))
            else:
                if mark and len(accepted) < MOST_REMEMBERED:
                    accepted[mark] = config[name]
    for name, key, value in late:
        try:
            config[name] = key.coerce(value, config)
        except ValueError as error:
            problems.append(str(error))
        except (TypeError, KeyError):
            if not problems:  # else what it is computed from is wrong, and told already
                problems.append(f"{name}={shown(value)} cannot be computed from this config")
    return config, problems
