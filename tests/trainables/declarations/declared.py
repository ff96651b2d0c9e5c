"""What the built-in parts declare, as text: `declared.txt`, one line for each part, key and trial.

python -m tests.trainables.declarations.declared        writes it anew
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.small_trials import tensors_of
from trainables.declarations import (
    ConfigError,
    Key,
    Part,
    Registry,
    Stage,
    Trial,
    builtin_registry,
    digest,
)

FILE = Path(__file__).with_name("declared.txt")
_TOLD = ("name", "type", "kind", "default", "doc")
_NOT_SAID = ("name", "keys", "doc", "build", "cell", "runtime", "schedule")
_PARTNERS = ("vanilla_rnn", "ffn", "lstm", "lru_stack", "deep_lru")


def lines() -> list[str]:
    """The file's content."""
    registry = builtin_registry()
    return [*_parts(registry), *_probes(registry), *_presets(registry), *_trials(registry)]


def _parts(registry: Registry) -> Iterator[str]:
    for (role, name), part in sorted(registry.parts.items()):
        yield f"{role} {name}{_fields(part, _NOT_SAID)}"
        yield from sorted(f"    {_key(key)}" for key in part.keys)


def _key(key: Key) -> str:
    return f"{key.name} {key.type} {key.kind} {key.default!r}{_fields(key, _TOLD)}"


def _fields(of: Part | Key, without: tuple[str, ...]) -> str:
    """The fields that are not at their default; of a function only that it is there."""
    found = ""
    for field in dataclasses.fields(of):
        value = getattr(of, field.name)
        if field.name == "probes" and value:
            value = tuple(probe.name for probe in value)
        elif field.name == "metric_columns" and value:
            value = tuple(f"{each.name} {each.unit} {each.mode}" for each in value)
        elif field.name == "named" and value:
            value = {name: "..." if callable(v) else v for name, v in value.items()}
        elif field.name in without or value == field.default or field.name == "named":
            continue
        found += f" {field.name}={'...' if callable(value) else repr(value)}"
    return found


def _probes(registry: Registry) -> Iterator[str]:
    for name, probe in sorted(registry.probes.items()):
        columns = (f"{c.name}:{c.type}{f' in {c.unit}' if c.unit else ''}" for c in probe.columns)
        yield f"probe {name} {', '.join(columns)}"


def _presets(registry: Registry) -> Iterator[str]:
    for name, preset in sorted(registry.presets.items()):
        yield f"preset {name} shared={preset.shared} {' '.join(sorted(preset.decides))}"


def _trials(registry: Registry) -> Iterator[str]:
    """A trial of each part at its defaults, beside others that go with it."""
    for role in ("model", "task", "optimizer", "stage"):
        for name in registry.names(role):
            found = first_trial(registry, role, name)
            yield f"{role} {name}: {_trial(found) if found else 'goes with none of the others'}"


def first_trial(registry: Registry, role: str, name: str) -> Trial | None:
    """The first trial of a part that its partners allow, of those worth trying."""
    models = [name] if role == "model" else [*_PARTNERS, *registry.names("model")]
    tasks = [name] if role == "task" else ["gaussian", *registry.names("task")]
    for task in tasks:
        for model in models:
            config: dict[str, Any] = {"model": model, "task": task}
            if role == "stage":
                part = registry.parts[role, name]
                assert isinstance(part, Stage)
                config = {word: config[word] for word in part.reads if word in config}
            try:
                return registry.resolve({**config, role: name})
            except ConfigError:
                continue
    return None


def _trial(trial: Trial) -> str:
    chosen = [f"{role}={part.name}" for role, part in trial.parts.items() if role != "base"]
    words = [*chosen, trial.id, trial.config_id, trial.program, f"epochs={trial.epochs}"]
    if "task" in trial.parts:
        chance = trial.chance_loss
        words += [f"dataset={trial.dataset}", f"chance={chance and round(chance, 9)}"]
        sizes = dataclasses.asdict(trial.sizes)
        words += [f"{n}={v}" for n, v in sizes.items() if (n, v) != ("split", "pool")]
        words.append(f"steps={trial.sizes.steps}")
    if "task" in trial.parts and "model" in trial.parts:
        words.append(f"tensors={digest(tensors_of(trial), 12)}")
    if trial.variants:
        words.append(f"variants={trial.variants}")
    return " ".join(words)


if __name__ == "__main__":
    FILE.write_text("\n".join(lines()) + "\n")
