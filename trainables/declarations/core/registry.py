"""Every part by role and name: the built-in ones, and those of users' studies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trainables.declarations.core.keys import Key
from trainables.declarations.core.parts import Model, Objective, Part, Probe, Stage
from trainables.declarations.core.presets import Preset
from trainables.declarations.core.resolving import Resolver
from trainables.declarations.core.structure import SELECTORS
from trainables.declarations.core.trial import Trial


@dataclass
class Registry:
    """Every part by role and name: the built-in ones, and those of users' studies."""

    parts: dict[tuple[str, str], Part] = field(default_factory=dict)
    probes: dict[str, Probe] = field(default_factory=dict)
    presets: dict[str, Preset] = field(default_factory=dict)
    _offered: set[str] = field(default_factory=set, repr=False)
    _known: tuple[tuple[int, ...], Resolver] = field(
        default_factory=lambda: ((), Resolver({}, {})), repr=False
    )

    def add(self, *parts: Part) -> None:
        """Adds parts, each with the keys of its probes.

        Raises:
          ValueError: a name already taken by another part, an unknown probe, a key declared twice,
            or one that is another key's alias, which would change what configs written with that
            alias mean.
        """
        for part in _unfolded(parts):
            part = self._with_probes(part)
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

    def add_probes(self, *probes: Probe) -> None:
        """Adds probes. Those of every model are offered by the models and loops that are there
        already, and by those that come later.

        Raises:
          ValueError: a name already taken by another probe; otherwise as for `add`.
        """
        for probe in probes:
            self._known_probe(probe)
            if probe.measure is not None and probe.every_model is None:
                self._offered.add(probe.name)
        for place, part in self.parts.items():
            if _fills_any(part):
                found = self._with_probes(part)
                self._refuse_ambiguous(found)
                self.parts[place] = found

    def _with_probes(self, part: Part) -> Part:
        """`part` with its probes in full, and with those of their keys that it does not declare."""
        unknown = [p for p in part.probes if isinstance(p, str) and p not in self.probes]
        if unknown:
            raise ValueError(
                f"{part.role} {part.name} names the unknown probe {unknown[0]}; known: "
                f"{', '.join(sorted(self.probes))}"
            )
        named = [
            self.probes[p] if isinstance(p, str) else self._known_probe(p) for p in part.probes
        ]
        if _fills_any(part):
            named += [p for p in self.probes.values() if p.every_model or p.name in self._offered]
        probes = {probe.name: probe for probe in named}
        keys = {key.name: key for probe in probes.values() for key in probe.keys}
        own = {key.name for key in part.keys}
        found = (*part.keys, *(key for name, key in keys.items() if name not in own))
        return replace(part, keys=found, probes=tuple(probes.values()))

    def _known_probe(self, probe: Probe) -> Probe:
        """`probe`, which is added where it is new."""
        if self.probes.setdefault(probe.name, probe) != probe:
            raise ValueError(f"a probe named {probe.name} exists already; choose another name")
        return probe

    def _refuse_ambiguous(self, part: Part) -> None:
        owners = self.resolver().spellings
        for key in part.keys:
            preset = self.presets.get(key.name)
            if preset is not None and not preset.shared:
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
        return Registry(dict(self.parts), dict(self.probes), dict(self.presets), set(self._offered))

    def find(self, role: str, name: str) -> Part | None:
        """The part of that name or alias."""
        return self.resolver().find(role, name)

    def all_keys(self) -> dict[str, Key]:
        """Every declared key by name (the first declaration where several parts share a name)."""
        keys: dict[str, Key] = {}
        for part in self.parts.values():
            for key in part.keys:
                keys.setdefault(key.name, key)
        for part in self.parts.values():
            for key in part.undeclared or ():
                keys.setdefault(key.name, key)
        return keys

    def canonical_name(self, name: str) -> str:
        """The key, selector or preset that `name` is an alias of, or `name` itself."""
        return self.resolver().spellings.get(name, name)

    def known_names(self) -> list[str]:
        """Every word that may name something in a config, aliases included."""
        return list(self.resolver().spellings)

    def declarations(self, name: str) -> list[Key]:
        """Every declaration of the key `name`: parts may give it other ranges and defaults."""
        role, _, plain = name.partition(".") if name in self.prefixed_keys() else ("", "", name)
        owners = (part for (r, _), part in self.parts.items() if role in ("", r))
        keys = (k for part in owners for k in (*part.keys, *(part.undeclared or ())))
        return [key for key in keys if key.name == plain]

    def prefixed_keys(self) -> dict[str, Key]:
        """Keys by names such as model.max_phase, which a trial has where its model and its task
        declare the key differently."""
        return self.resolver().prefixed

    def resolver(self) -> Resolver:
        """What reads configs by the parts there are now. For many configs: ask once."""
        state = tuple(map(id, (*self.parts.values(), *self.presets.values())))
        if state != self._known[0]:
            self._known = state, Resolver(dict(self.parts), dict(self.presets))
        return self._known[1]

    def resolve(self, raw: Mapping[str, Any]) -> Trial:
        """`Resolver.resolve`, of a single config."""
        return self.resolver().resolve(raw)


def _unfolded(parts: Iterable[Part]) -> Iterator[Part]:
    """`parts` with each objective as the model and the task that it stands for."""
    for part in parts:
        yield from part.parts() if isinstance(part, Objective) else (part,)


def _fills_any(part: Part) -> bool:
    """Whether a part has weights to measure: a model, or a stage that makes its own."""
    return isinstance(part, Model) or (isinstance(part, Stage) and part.own_weights)
