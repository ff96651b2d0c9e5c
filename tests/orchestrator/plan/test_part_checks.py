"""Keys and functions that are not what a part needs, each said by name."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.plan.part_checks import part_problems
from trainables.declarations import Key, Model, Objective, Optimizer, Sizes, Task

K: Any = Key
T: Any = Task
J: Any = Objective
P: Any = Optimizer
TYPES = "int, float, str, bool"
KINDS = "static, init, traced, host, recording"
INT = " (did you mean int?)"
STRINGS = "has choices, which only a string has"


def nothing(*given: Any) -> Any:
    return None


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (K("k", "integer"), f"the type of KEY must be one of {TYPES}; got 'integer'{INT}"),
        (K("k", int), f"the type of KEY must be one of {TYPES}; got <class 'int'>"),
        (K("k", "int", 1, "dynamic"), f"the kind of KEY must be one of {KINDS}; got 'dynamic'"),
        (K("k", "int", 2.5), "the default of KEY must be an integer; got 2.5"),
        (K("k", "int", 0, low=1), "the default of KEY must be an integer >= 1; got 0"),
        (K("k", "float", "a"), "the default of KEY must be a number; got 'a'"),
        (K("k", "float", None), "the default of KEY must be a number; got null"),
        (K("k", "str", "c", choices=("a", "b")), "the default of KEY must be one of a, b; got 'c'"),
        (K("k", "int", 1, choices=("1",)), f"KEY {STRINGS}; an int has low and high"),
        (K("k", "bool", True, choices=("a",)), f"KEY {STRINGS}; its type is bool"),
        (K("k", "str", "a", choices="ab"), "choices of KEY must be a tuple of strings; got 'ab'"),
        (K("k", "str", "a", choices=(1,)), "choices of KEY must be strings; got (1,)"),
        (K("k", "int", 1, low="a"), "low of KEY must be a number; got 'a'"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named(key: Any, says: str) -> None:
    found = part_problems(Model(name="net", keys=(key,)))
    assert found == [says.replace("KEY", "the key k of model net")]


def test_a_string_cannot_be_traced() -> None:
    (found,) = part_problems(Model(name="net", keys=(Key("k", "str", "a", "traced"),)))
    assert found.endswith("is a string and cannot be traced; declare it static or init")


@pytest.mark.parametrize(
    "key",
    [
        Key("k", "int"),
        Key("k", "float", 1),
        Key("k", "float", None, nullable=True),
        Key("k", "float", "1/sqrt(L)", named={"1/sqrt(L)": lambda config: config["depth"] ** -0.5}),
        Key("k", "str", "a", choices=("a", "b")),
        Key("k", "bool", False, "recording"),
    ],
)
def test_a_right_key_is_not(key: Key) -> None:
    assert part_problems(Model(name="net", keys=(key,))) == []


SIZES = Sizes(n_train=8, batch_size=4)
OR = "must be a function of the config or"


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (T(name="t", build=nothing), ""),
        (T(name="t", build=nothing, sizes=SIZES, batch_size=3), ""),
        (T(name="t", build=nothing, batch_size=lambda config: 3), ""),
        (T(name="t", build=lambda config, arrays: {}, dataset=lambda config: "digits"), ""),
        (T(name="t", build=lambda config, arrays: {}), "build of task t is called with config;"),
        (T(name="t", sizes=3), f"sizes of task t {OR} a Sizes; got 3"),
        (T(name="t", batch_size="a"), f"batch_size of task t {OR} an integer; got 'a'"),
        (T(name="t", loss=lambda outputs: 0), "loss of task t is called with outputs, batch,"),
        (T(name="t", metrics=3), "metrics of task t must be a function; got 3"),
        (T(name="t", augment=lambda batch: 0), "augment of task t is called with key, batch;"),
        (J(name="o", init=nothing, loss=nothing, data=nothing), ""),
        (J(name="o", init=nothing, loss=lambda t, b, c: 0), "loss of objective o is called with"),
        (J(name="o", init=lambda key: 0, loss=nothing), "init of objective o is called with key, "),
        (J(name="o", init=nothing, loss=nothing, data=lambda: 0), "data of objective o is called"),
        (P(name="p", build=lambda config: 0), "build of optimizer p is called with config, hp"),
    ],
)  # fmt: skip
def test_a_function_that_takes_others_is_named(part: Any, says: str) -> None:
    found = part_problems(part)
    assert len(found) == (1 if says else 0)
    assert all(one.startswith(says) for one in found)
