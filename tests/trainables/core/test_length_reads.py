"""What counts as reading how long a trial is."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import jax
import optax
import pytest

from tests.support.small_trials import SMALL
from trainables.core.length_reads import LengthReads
from trainables.declarations import Key, Loop, Model, Objective, Optimizer, builtin_registry
from trainables.declarations.training.length_readers import declared_readers, traced_parts
from trainables.packs.pack import Pack


def all_of(**config: Any) -> dict[str, Any]:
    return config


READING: dict[str, Callable[[Any], Any]] = {
    "item": lambda c: c["epochs"],
    "get": lambda c: c.get("total_steps", 3),
    "itemgetter": operator.itemgetter("depth", "epochs"),
    "format_map": "{epochs}".format_map,
    "pop": lambda c: c.pop("epochs"),
    "passed on": lambda c: all_of(**c),
    "unpacked": lambda c: {**c},
    "copied": dict,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "updated": {}.update,
    "united": lambda c: {} | c,
    "values": lambda c: list(c.values()),
    "items": lambda c: list(c.items()),
    "iterated": lambda c: list(reversed(c)),
    "printed": str,
    "tree": lambda c: jax.tree.map(lambda leaf: leaf, c),
    "compared": lambda c: c == {},
}
BLIND: dict[str, Callable[[Any], Any]] = {
    "another key": lambda c: (c["depth"], c.get("width"), c.get("none", 1)),
    "the steps of an epoch": lambda c: c["steps_per_epoch"],
    "whether it is there": lambda c: ("epochs" in c, len(c)),
}
CONFIG = {"depth": 2, "width": 3, "epochs": 4, "steps_per_epoch": 5, "total_steps": 20}


@pytest.mark.parametrize("how", [*READING, *BLIND])
def test_whatever_goes_through_a_config_reads_the_length(how: str) -> None:
    reads = LengthReads(builtin_registry().resolve(SMALL))
    config = reads.watched(Model(name="mine", build=all_of), CONFIG)
    assert isinstance(config, dict)
    {**READING, **BLIND}[how](config)
    assert reads.readers == ({"model mine"} if how in READING else set())


def test_without_a_length_in_it_nobody_reads_it_and_our_own_parts_never_do() -> None:
    reads = LengthReads(builtin_registry().resolve(SMALL))
    all_of(**reads.watched(Model(name="mine", build=all_of), {"depth": 2}))
    all_of(**reads.watched(Model(name="ours", build="trainables.models.rnn:Rnn"), CONFIG))
    assert reads.readers == set()


def rule(config: Any, hparams: Any) -> optax.GradientTransformation:
    # Read when an update is traced, long after the function has returned.
    return optax.stateless(lambda u, _: jax.tree.map(lambda g: -g / hparams["total_steps"], u))


def step(state: Any, batch: Any, key: Any, config: Any) -> Any:
    w = state["params"]["w"]
    return {"params": {"w": w * 0.9}}, {"loss": w * w / config["epochs"]}


def loss(tree: Any, batch: Any, key: Any, config: Any) -> Any:
    return (tree["w"] * config.get("total_steps", 1)) ** 2


def start(key: Any, config: Any) -> Any:
    return {"w": jax.random.normal(key)}


def test_tracing_tells_which_part_read_it() -> None:
    known = builtin_registry()
    lr = Key("lr", "float", 0.1, "traced", low=0)
    known.add(
        Optimizer(name="mine", build=rule, version=1),
        Optimizer(name="blind", build=lambda c, h: optax.sgd(h["lr"]), keys=(lr,), version=1),
        Objective(name="bowl", init=start, loss=loss, steps=2, version=1),
        Objective(name="flat", init=start, loss=lambda t, b, k, c: t["w"] ** 2, steps=2, version=1),
        Loop(
            name="loop",
            version=1,
            reads=(),
            step=step,
            init=lambda key, config: {"params": start(key, config)},
        ),
    )
    found = {}
    for name, config in {
        "optimizer": {"objective": "flat", "optimizer": "mine"},
        "none": {"objective": "flat", "optimizer": "blind"},
        # Whose learning rate does not change, though the total is among its values.
        "task": {"objective": "bowl", "optimizer": "adam"},
        "loop": {"stage": "loop"},
        "ours": {"objective": "flat", "optimizer": "adam", "lr_end": 0.001},
    }.items():
        pack = Pack([known.resolve({**config, "epochs": 3})], {})
        pack.init()
        pack.compile()
        found[name] = pack.length_readers(0)
    assert found == {
        "optimizer": ["optimizer mine"],
        "none": [],
        "task": ["task bowl"],
        "loop": ["stage loop"],
        "ours": ["optimizer adam with lr_end=0.001"],
    }


def test_declarations_tell_it_of_what_is_given_the_whole_trial() -> None:
    known = builtin_registry()
    known.add(Optimizer(name="mine", build=rule, version=1))
    ours = known.resolve({**SMALL, "optimizer": "adam"})
    assert declared_readers(ours) == traced_parts(ours) == []
    theirs = known.resolve({**SMALL, "optimizer": "mine"})
    assert (declared_readers(theirs), traced_parts(theirs)) == ([], ["optimizer mine"])
    warmed = known.resolve({**SMALL, "optimizer": "adamw_groups"})
    assert declared_readers(warmed) == ["optimizer adamw_groups with lr_end=1e-07"]
