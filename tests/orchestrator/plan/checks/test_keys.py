"""Keys that are not what a trial needs, each said by name."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.plan.checks.parts import part_problems
from trainables.declarations import Key, Model

K: Any = Key
TYPES = "int, float, str, bool"
KINDS = "static, init, traced, host, recording"
INT = " (did you mean int?)"
STRINGS = "has choices, which only a string has"


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
