"""A trial: one fully resolved config, and its identity."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from trainables.declarations.core.data_tree import derived_sizes
from trainables.declarations.core.keys import MOST_INT, Key, Scalar, shown
from trainables.declarations.core.parts import (
    Metric,
    Model,
    Optimizer,
    Part,
    PartError,
    Probe,
    Sizes,
    Stage,
    Task,
)
from trainables.declarations.core.step_keys import uneven
from trainables.declarations.core.structure import MOST_REMEMBERED, Structure

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


_LEAST = {
    "seq_len": 1, "features": 1, "classes": 1, "n_train": 1, "n_val": 0, "n_test": 0,
    "batch_size": 1,
}  # fmt: skip
"""Smallest sizes a task may declare."""


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
    return _hex(_canonical(value), length)


def _hex(text: str, length: int = 16) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _is_count(value: Any) -> bool:
    return hasattr(value, "__index__") and 0 <= value <= MOST_INT  # NumPy's integers too


def _returned(part: Part, function: str, wanted: str, found: Any) -> str:
    return f"{function} of {part.role} {part.name} must return {wanted}; got {shown(found)}"


def refusals(
    check: Callable[[Mapping[str, Any]], list[str]], config: Mapping[str, Any]
) -> list[str]:
    """What a part's check says of a config."""
    found = check(config)
    if not isinstance(found, (list, tuple)) or not all(isinstance(text, str) for text in found):
        return [f"a check of the study's must return a list of sentences; got {shown(found)}"]
    return list(found)


@dataclass(frozen=True)
class Trial:
    """One fully resolved config: the unit of identity, storage and query."""

    config: dict[str, Scalar]
    structure: Structure
    parent: Trial | None = None

    def __repr__(self) -> str:
        named = ", ".join(f"{r} {p.name}" for r, p in self.parts.items() if r != "base")
        return f"Trial({self.id}: {named})"

    @property
    def parts(self) -> dict[str, Part]:
        """Its parts by role."""
        return self.structure.parts

    @property
    def keys(self) -> dict[str, Key]:
        """Declarations of its keys, those that only its parent reads included."""
        return self.structure.keys

    @property
    def stage(self) -> Stage:
        return self.structure.stage

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

    def config_of(self, role: str) -> Mapping[str, Scalar]:
        """The config as the part of a role declares it: its keys without a prefix."""
        return self.structure.seen_by(role, self.config)

    def as_read_by(self, role: str) -> Trial:
        """The trial whose config is `config_of(role)`, for that part's code; itself where no key
        has a prefix."""
        if not self.structure.renamed:
            return self
        return replace(self, config=dict(self.config_of(role)))

    @property
    def sizes(self) -> Sizes:
        """Of its task.

        Raises:
          PartError: the task declares others than whole numbers, or too small ones.
        """
        declared = self.task.sizes
        if declared is None:
            found = derived_sizes(self.task, self.structure.seen_by("task", self.statics))
        else:
            found = declared(self.config_of("task")) if callable(declared) else declared
        if isinstance(found, Sizes):
            for name, least in _LEAST.items():
                value = getattr(found, name)
                if isinstance(value, bool) or not _is_count(value) or value < least:
                    raise PartError(
                        f"the sizes of task {self.task.name} have {name}={shown(value)}; it must "
                        f"be a whole number from {least} to {MOST_INT}"
                    )
            return found
        raise PartError(
            f"the sizes of task {self.task.name} are of type {type(found).__name__}; the function "
            "must return a Sizes"
        )

    @property
    def dataset(self) -> str | None:
        """Name of the data set it reads; None where a task makes its own, or there is none."""
        owner = self.task if "task" in self.parts else self.stage
        found = owner.dataset(self.config_of(owner.role))
        if not isinstance(found, str | None):
            raise ConfigError([_returned(owner, "dataset", "a name or None", found)])
        return found

    @property
    def chance_loss(self) -> float | None:
        """Loss of a uniform guess; None where the stage's loss is not the task's."""
        owner = self._loss_owner
        if owner is None:
            return None
        found = owner.chance_loss(self.config_of(owner.role))
        try:
            return None if found is None else float(found)
        except (TypeError, ValueError, OverflowError):
            wrong = _returned(owner, "chance_loss", "a number or None", found)
            raise ConfigError([wrong]) from None

    @property
    def _loss_owner(self) -> Any:
        """The part that says what the losses mean: the task, or a stage that has a loss;
        None where neither does."""
        if self.stage.task_loss:
            return self.parts.get("task")
        return self.stage if hasattr(self.stage, "chance_loss") else None

    @property
    def loss_terms(self) -> int | None:
        """Losses that a step's gradient sums; None where the stage's loss is not the task's."""
        owner = self._loss_owner
        return owner.loss_terms(self.config_of(owner.role)) if owner else None

    @property
    def loss_unit(self) -> str | None:
        """What its losses are in; None where the stage's loss is not the task's."""
        owner = self._loss_owner
        if isinstance(owner, Task):
            unit = owner.loss_unit
            unit = unit(self.config) if callable(unit) else unit
            return unit or (None if owner.loss else "nats")
        return owner.loss_unit if owner else None

    @property
    def misfits(self) -> list[str]:
        """What its stage, static keys and task cannot be together, as sentences."""
        if self.stage.own_weights and "task" in self.parts and self.task.stream:
            what = f"stage {self.stage.name} is a loop, which holds all data of its task"
            return [f"{what}, and task {self.task.name} streams; leave stream out of the task"]
        parts = int(self.config.get("accumulate") or 1)
        if parts == 1 or "task" not in self.parts:
            return []
        found = uneven(parts, self.sizes.batch_size)
        return [found] if found else []

    @property
    def metrics(self) -> dict[str, Metric]:
        """What its task, or a stage that has metrics, declares of its metrics, by column:
        the name as it is returned, and that with `val_` and `test_` in front. Empty where the
        stage's loss is not the task's."""
        declared: list[Metric] = list(getattr(self.stage, "metric_columns", ()))
        if "task" in self.parts and self.stage.task_loss:
            declared += self.task.metric_columns
        return {f"{of}{metric.name}": metric for metric in declared for of in ("", "val_", "test_")}

    @property
    def epochs(self) -> int:
        """Epochs the stage runs; an analysis is one, without training, and so is what nobody knows
        the length of."""
        key = self.stage.epochs_key
        epochs = self.config[key] if key else None
        return 1 if epochs is None else int(epochs)

    @property
    def probes(self) -> Mapping[str, Probe]:
        """Tables that its parts may fill, by name."""
        return self.structure.probes

    @cached_property
    def variants(self) -> dict[str, str]:
        """Names that papers have for it, by column of `trials`."""
        found: dict[str, str] = {}
        for role, part in self.parts.items():
            own = part.variants(self.config_of(role)) if part.variants else {}
            if not isinstance(own, Mapping) or not all(
                isinstance(text, str) for text in (*own, *own.values())
            ):
                raise ConfigError([_returned(part, "variants", "a dict of names", own)])
            found |= own
        return found

    @property
    def rows(self) -> tuple[int, int]:
        """Parameter tensors and layers of its model; (0, 0) where the model does not declare it."""
        if self.model.rows is None:
            return 0, 0
        found = self.model.rows(self.config_of("model"), self.sizes)
        if not isinstance(found, tuple) or len(found) != 2 or not all(map(_is_count, found)):
            raise ConfigError([_returned(self.model, "rows", "two integers", found)])
        return found

    @property
    def ancestors(self) -> list[Trial]:
        """The trials it starts from, the first stage first."""
        return [*self.parent.ancestors, self.parent] if self.parent else []

    @cached_property
    def versions(self) -> dict[str, int | str]:
        """Version of each part, by role:name, the parent's included."""
        own = self.structure.versions
        return {**self.parent.versions, **own} if self.parent else own

    def _identity(self) -> str:
        """Canonical JSON of the hashed keys that are not at their default."""
        config, texts, found = self.config, self.structure.texts, []
        for name, default in self.structure.hashed:
            value = config[name]
            if value != default:
                text = texts.get((name, value))
                if text is None:
                    text = _canonical({name: value})[1:-1]
                    if len(texts) < MOST_REMEMBERED:
                        texts[name, value] = text
                found.append(text)
        return f"{{{','.join(found)}}}"

    @cached_property
    def id(self) -> str:
        """16 hex digits: hashed keys away from their default, and the parts' versions."""
        known, above = self.structure.version_texts, tuple([t.structure for t in self.ancestors])
        if above not in known:
            known[above] = _canonical(self.versions)
        return _hex(f'{{"config":{self._identity()},"versions":{known[above]}}}')

    @cached_property
    def config_id(self) -> str:
        """The id without versions: equal for the same config under an older version."""
        return _hex(f'{{"config":{self._identity()}}}')

    @property
    def statics(self) -> dict[str, Scalar]:
        """What fixes the compiled epoch: the static keys of the trial's own parts, and which of
        the traced ones with `null_is_static` are given, as `<name>_given`."""
        found = {name: self.config[name] for name in self.structure.statics}
        for name in self.structure.optional:
            found[f"{name}_given"] = self.config[name] is not None
        return found

    @property
    def steps(self) -> int:
        """Optimizer steps of an epoch, of its task, or of a loop without one."""
        return (
            self.sizes.steps if "task" in self.parts else int(self.config["steps_per_epoch"] or 1)
        )

    @property
    def length(self) -> dict[str, int]:
        """`epochs`, `steps_per_epoch` and `total_steps` of a trial whose optimizer, or loop of its
        own, reads them; else nothing. Of an optimizer without a task only the epochs are known."""
        optimizer, loop = self.parts.get("optimizer"), self.stage.own_weights
        if not loop and not (isinstance(optimizer, Optimizer) and optimizer.reads_length):
            return {}
        if "task" not in self.parts and not loop:
            return {"epochs": self.epochs}
        steps = self.steps
        return {
            "epochs": self.epochs,
            "steps_per_epoch": steps,
            "total_steps": self.epochs * steps,
        }

    @cached_property
    def program(self) -> str:
        """Hash of the compiled program: equal for all trials that can share a pack."""
        known, length, structure = self.structure.programs, self.length, self.structure
        given = [self.config[name] is not None for name in structure.optional]
        values = *[self.config[name] for name in structure.statics], *given, *length.values()
        if values not in known:
            later = structure.later
            statics = {n: v for n, v in self.statics.items() if n not in later or v != later[n]}
            own = {"statics": statics, "versions": structure.versions}
            known[values] = digest(own | ({"length": length} if length else {}), 12)
        return known[values]

    def traced(self) -> dict[str, Scalar]:
        """The values that are arrays inside the program (own keys, traced kind)."""
        return {name: self.config[name] for name in self.structure.of_kind("traced")}

    def recordings(self) -> dict[str, Scalar]:
        """What is recorded along the way, and how often."""
        return {name: self.config[name] for name in self.structure.of_kind("recording")}
