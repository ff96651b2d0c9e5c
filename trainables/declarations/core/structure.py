"""What trials made of the same parts share: their keys, sorted by what each changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

from trainables.declarations.core.keys import REQUIRED, Key, Scalar
from trainables.declarations.core.parts import Config, Part, Probe, Stage
from trainables.declarations.core.rate_keys import rate_problems

SELECTORS = ("stage", "model", "task", "optimizer")
SELECTOR_DEFAULTS = {"stage": "train", "optimizer": "sgd"}
MOST_REMEMBERED = 100_000
"""Values of keys met before; a sampled key has a new one in every trial."""


class Structure:
    """The parts of a trial and of the stage it starts from, and the keys they declare.

    Attributes:
      parts: role -> part of the trial.
      keys: every declared key by name, those of the parent's parts included, in order of name.
      own, above: names of the keys that the trial's own parts declare, and its parent's.
      stage: the trial's own.
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
        own = {key.name: key for part in parts.values() for key in part.keys}
        parent = {key.name: key for part in (above or {}).values() for key in part.keys}
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
        declared = (*self.parts.values(), *self.probes.values())
        found = list(dict.fromkeys(part.check for part in declared if part.check))
        optimizer = self.parts.get("optimizer")
        return [*found, partial(rate_problems, optimizer.keys)] if optimizer else found

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
        """Keys that two of the parts declare differently, so that one value cannot serve both."""
        found = []
        seen: dict[str, tuple[Part, Key]] = {}
        for part in self.parts.values():
            for key in part.keys:
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


def is_computed(key: Key, value: Any) -> bool:
    """Whether a value is a name for a function of the config, as "1/sqrt(L)"."""
    return isinstance(value, str) and callable(key.named.get(value))
