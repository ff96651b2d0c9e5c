"""A trial: one fully resolved config, and its identity."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from trainables.spec.keys import Key, Scalar
from trainables.spec.parts import Model, Part, Sizes, Stage, Task

SELECTORS = ("stage", "model", "task", "optimizer")
SELECTOR_DEFAULTS = {"stage": "train", "optimizer": "sgd"}


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
    def dataset(self) -> str | None:
        """Name of the data set it reads; None where a task makes its own, or there is none."""
        if "task" not in self.parts or self.task.build:
            return None
        return self.task.dataset(self.config)

    @property
    def chance_loss(self) -> float | None:
        """Loss of a uniform guess; None where the stage's loss is not the task's."""
        if "task" not in self.parts or not self.stage.task_loss:
            return None
        return self.task.chance_loss(self.config)

    @property
    def epochs(self) -> int:
        """Epochs the stage runs; an analysis is one, without training."""
        key = self.stage.epochs_key
        return int(self.config[key] or 0) if key else 1

    @cached_property
    def probes(self) -> tuple[str, ...]:
        """Probe tables its parts may write."""
        return tuple(dict.fromkeys(name for part in self.parts.values() for name in part.probes))

    @cached_property
    def labels(self) -> dict[str, str]:
        """Names that papers have for it, by column of `trials`."""
        found: dict[str, str] = {}
        for part in self.parts.values():
            found |= part.labels(self.config) if part.labels else {}
        return found

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
            or (name == "optimizer" and value != SELECTOR_DEFAULTS["optimizer"])
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

    def observations(self) -> dict[str, Scalar]:
        """What is recorded along the way, and how often."""
        return self._of_kind("observation")

    def _of_kind(self, kind: str) -> dict[str, Scalar]:
        return {
            n: v for n, v in self.config.items() if n in self.own_keys and self.keys[n].kind == kind
        }
