"""`--set key=value`."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import RequestError
from orchestrator.overrides import parse_overrides, read_overrides
from trainables.spec import Registry, builtin_registry


@pytest.fixture(scope="module")
def registry() -> Registry:
    return builtin_registry()


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("lr=0.1", "lr", [0.1]),
        ("lr = 0.1 , 1e-2", "lr", [0.1, 0.01]),
        ("seed=range(3)", "seed", [0, 1, 2]),
        ("seed=range(2, 8, 3)", "seed", [2, 5]),
        ("seed=range(3,0,-1)", "seed", [3, 2, 1]),
        ("depth=5,10", "depth", [5, 10]),
        ("clip_norm=null,0.5", "clip_norm", [None, 0.5]),
        ("clip_norm=", "clip_norm", [None]),
        ("alpha=1/sqrt(L),1", "residual_scale", ["1/sqrt(L)", 1]),
        ("num_layers=3", "depth", [3]),
        ("model=VanillaRNN,residual_rnn", "model", ["vanilla_rnn", "residual_rnn"]),
        ("optimizer=Adam", "optimizer", ["adam"]),
        ("stage=warmup", "stage", ["warmup"]),
        ("model=resnet", "model", ["resnet"]),
        ("keep_weights=every:2", "keep_weights", ["every:2"]),
    ],
)
def test_what_a_command_line_may_say(
    registry: Registry, text: str, key: str, values: list[Any]
) -> None:
    assert parse_overrides([text], registry) == {key: values}


def test_several_and_the_last_of_one_key_counts(registry: Registry) -> None:
    found = parse_overrides(["lr=1", "seed=range(2)", "learning_rate=2"], registry)
    assert found == {"lr": [2], "seed": [0, 1]}


def test_python_gives_a_mapping_of_values_or_lists(registry: Registry) -> None:
    given = {"lr": 0.1, "seed": range(2), "L": (3, 4), "clip_norm": None, "model": "VanillaRNN"}
    assert parse_overrides(given, registry) == {
        "lr": [0.1], "seed": [0, 1], "depth": [3, 4], "clip_norm": [None], "model": ["vanilla_rnn"]
    }  # fmt: skip


def test_every_wrong_entry_is_told(registry: Registry) -> None:
    wrong = ["depht=3", "lr", "=3", "seed=range(0)", "seed=range(1,5,0)", "lr=0.1"]
    found, problems = read_overrides(wrong, registry)
    assert found == {"lr": [0.1]}
    assert problems == [
        "unknown key 'depht' (did you mean depth?)",
        "--set 'lr' is not key=value",
        "--set '=3' is not key=value",
        "seed=range(0) gives no value; a range needs its end above its start",
        "seed=range(1,5,0) gives no value; a range needs its end above its start",
    ]
    with pytest.raises(RequestError) as caught:
        parse_overrides(wrong, registry)
    assert caught.value.problems == problems
    with pytest.raises(RequestError, match="gives no value"):
        parse_overrides({"seed": []}, registry)
