"""Parts and probes in a registry: whose keys a trial has, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from trainables.declarations import (
    Column,
    ConfigError,
    Key,
    Model,
    Probe,
    Registry,
    builtin_registry,
)
from trainables.declarations.probes.base import cadence, covers, is_due

SCALE = Probe(
    "scale",
    (Column("value", "float64", "Size."),),
    keys=(cadence("scale", "sizes"), Key("scale_steps", "int", 3, "recording", low=1)),
    check=lambda config: ["scale_steps is odd"] if config["scale_steps"] % 2 else [],
)
MINE = Model(name="mine", version=1, build=lambda *_: None, probes=(SCALE, "timeline"))
TRIAL = {"model": "mine", "task": "gaussian"}


def test_a_model_has_the_keys_and_checks_of_its_probes() -> None:
    registry = builtin_registry()
    registry.add(MINE)
    assert registry.probes["scale"] == SCALE
    one = registry.resolve({**TRIAL, "scale_every": 2, "scale_steps": 4})
    assert set(one.probes) >= {"scale", "timeline"}
    assert (one.config["scale_every"], one.config["timeline_every"]) == (2, 0)
    assert one.id == registry.resolve({**TRIAL, "scale_steps": 2}).id  # a recording is no identity
    with pytest.raises(ConfigError, match="scale_steps is odd"):
        registry.resolve(TRIAL)
    with pytest.raises(ConfigError, match="unknown key 'scale_every'"):
        registry.resolve({"model": "ffn", "task": "gaussian", "scale_every": 1})


@pytest.mark.parametrize("first", ["probe", "model"])
def test_a_probe_of_every_model_is_offered_by_those_before_and_after(first: str) -> None:
    registry = builtin_registry()
    everywhere = replace(SCALE, every_model=True, check=None)
    plain = replace(MINE, probes=())
    if first == "model":
        registry.add(plain)
    registry.add_probes(everywhere)
    registry.add(plain)
    for model in ("mine", "ffn", "lru"):
        assert "scale" in registry.resolve({**TRIAL, "model": model, "scale_every": 1}).probes


def test_a_part_s_own_key_stands_beside_its_probe_s() -> None:
    registry = builtin_registry()
    registry.add(replace(MINE, keys=(Key("scale_steps", "int", 8, "recording"),)))
    assert registry.resolve(TRIAL).config["scale_steps"] == 8


@pytest.mark.parametrize(
    ("part", "complaint"),
    [
        (replace(MINE, probes=("scael",)), "names the unknown probe scael; known: activations"),
        (replace(MINE, probes=(Probe("timeline", ()),)), "a probe named timeline exists already"),
    ],
)
def test_probes_that_are_unknown_or_taken_are_refused(part: Model, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        builtin_registry().add(part)


def test_a_registry_s_copy_is_its_own() -> None:
    registry: Registry = builtin_registry()
    registry.copy().add(MINE)
    assert "scale" not in registry.probes
    assert ("model", "mine") not in registry.parts


@pytest.mark.parametrize("every", [None, 0, 1, 3])
@pytest.mark.parametrize("recorded", [None, 0, 1, 2, 3, 6])
def test_a_cadence_covers_another_if_it_is_due_whenever_that_is(
    every: int | None, recorded: int | None
) -> None:
    """Over thirteen epochs, which no two of these cadences fill alike by chance."""
    asked, had = (
        {epoch for epoch in range(13) if is_due(k, epoch, epoch == 12)} for k in (every, recorded)
    )
    assert covers(recorded, every) == (asked <= had)
