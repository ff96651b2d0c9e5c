"""An optimizer of a user's knows how long it trains, and its programs depend on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import optax
import pytest

from tests.support.small_trials import SMALL, trial
from trainables.core.hparams import lane_values
from trainables.declarations import Key, Optimizer, Registry, Stage, Trial, builtin_registry
from trainables.packs.pack import Pack

LR = Key("lr", "float", 0.1, "traced")
seen: list[tuple[dict[str, Any], dict[str, Any]]] = []


def half_way(config: Any, hparams: Any) -> Any:
    """A rate that is 0 from the middle of the training on."""
    seen.append((dict(config), dict(hparams)))
    return optax.sgd(
        optax.piecewise_constant_schedule(hparams["lr"], {config["total_steps"] // 2: 0.0})
    )


def registry(**fields: Any) -> Registry:
    found = builtin_registry()
    found.add(Optimizer(name="half_way", keys=(LR,), build=half_way, version=1, **fields))
    return found


def of_user(epochs: int, **config: Any) -> Trial:
    return registry().resolve({**SMALL, "optimizer": "half_way", "epochs": epochs, **config})


def test_trials_of_other_lengths_are_other_programs() -> None:
    two, eight = of_user(2), of_user(8)
    assert two.length == {"epochs": 2, "steps_per_epoch": 4, "total_steps": 8}
    assert two.program != eight.program
    assert two.program == of_user(2, lr=0.5, seed=3).program
    assert two.program != of_user(2, steps_per_epoch=5).program


def test_programs_of_others_serve_all_lengths() -> None:
    for name in ("sgd", "adam", "adamw_groups"):
        short, long = (trial(optimizer=name, epochs=epochs) for epochs in (2, 8))
        assert short.length == long.length == {}
        assert short.program == long.program
    shared = registry(reads_length=False)
    short, long = (shared.resolve({**SMALL, "optimizer": "half_way", "epochs": e}) for e in (2, 8))
    assert short.program == long.program
    assert "epochs" not in lane_values(short)


def test_without_a_task_only_the_epochs_are_known() -> None:
    own = registry()
    own.add(Stage(name="alone", version=1, reads=("optimizer",), build=lambda *given: None,
                  keys=(Key("epochs", "int", 3, "host"),)))  # fmt: skip
    one = own.resolve({"stage": "alone", "optimizer": "half_way"})
    assert one.length == {"epochs": 3}
    assert lane_values(one)["epochs"] == 3


@pytest.mark.parametrize("epochs", [2, 4])
def test_a_schedule_ends_with_the_training(epochs: int) -> None:
    seen.clear()
    pack = Pack([of_user(epochs)], {})
    pack.init()
    moves = [float(pack.epoch(epoch).epochs["update_norm"][0]) for epoch in range(epochs)]
    assert all(move > 0 for move in moves[: epochs // 2])
    assert moves[epochs // 2 :] == [0.0] * (epochs // 2)
    config, hparams = seen[-1]
    want = {"epochs": epochs, "steps_per_epoch": 4, "total_steps": 4 * epochs}
    assert {name: config[name] for name in want} == want
    assert all(type(config[name]) is int for name in want)
    assert {str(hparams[name].dtype) for name in want} == {"int32"}
    values = lane_values(of_user(epochs))
    assert {name: int(np.asarray(values[name])) for name in want} == want
