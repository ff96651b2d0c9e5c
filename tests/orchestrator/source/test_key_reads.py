"""Which strings a function's code has, with what it refers to."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import pytest

from orchestrator.source.key_reads import strings_read

NAME = "named"
SEVERAL = ("first", "second")
TABLE = {"one": abs, "other": lambda config: config["in_table"]}


def helper(config: Mapping[str, Any]) -> Any:
    return config["helped"]


class Base:
    def __init__(self, config: Mapping[str, Any]):
        self.size = config.get("inherited", 1)


class Net(Base):
    def __call__(self, config: Mapping[str, Any]) -> Any:
        return config["called"]

    @property
    def wide(self) -> Any:
        return helper({"in_property": 1})


class Loose:
    def __init__(self, depth: int, units: int = 3):
        self.depth, self.units = depth, units


def keyed(config: Mapping[str, Any]) -> Any:
    return config["direct"], config[NAME], [config[n] for n in SEVERAL], helper(config)


def nested(config: Mapping[str, Any]) -> Any:
    def inner() -> Any:
        return config["inner"]

    return inner


def made(depth: str) -> Callable[..., Any]:
    return lambda config: config[depth]


def unpacking(config: Mapping[str, Any]) -> Any:
    return Loose(**config)


def wrapped(config: Mapping[str, Any]) -> Any:
    return config["wrapped"]


@pytest.mark.parametrize(
    ("root", "read", "unread"),
    [
        (keyed, {"direct", "named", "first", "second", "helped"}, {"called", "inherited"}),
        (nested, {"inner"}, {"direct"}),
        (
            lambda config: Net({**config}),
            {"inherited", "called", "in_property", "helped"},
            {"direct"},
        ),
        (Net, {"inherited", "called"}, {"direct"}),
        (functools.partial(helper, TABLE), {"helped", "one", "in_table"}, {"direct"}),
        (made("deep"), {"deep"}, {"direct"}),
        (unpacking, {"depth", "units"}, {"direct"}),
        (lambda config: Loose(1), set(), {"depth", "units"}),
        (jax.jit(wrapped), {"wrapped"}, set()),
        (Net({}).__call__, {"called", "inherited"}, set()),
        (jax.nn.relu, set(), {"direct"}),
    ],
)
def test_the_strings_of_a_function_and_of_what_it_refers_to(
    root: Any, read: set[str], unread: set[str]
) -> None:
    found = strings_read(root)
    assert read <= found
    assert unread.isdisjoint(found)
