"""One key: what it accepts, what a command line may say, and what it answers to the rest."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

from trainables.declarations import Key
from trainables.declarations.core.keys import shown

LR = Key("lr", "float", 0.01, low=0)
DEPTH = Key("depth", "int", 20, low=1, high=10_000)
COUNT = Key("count", "int", 1, low=1)
WIDE = Key("wide", "int", 1, high=2**40)
RATE = Key("rate", "float", 0.0, low=0, high=1, open_high=True)
CLIP = Key("clip", "float", None, low=0, open_low=True, nullable=True)
KIND = Key("kind", "str", "a", choices=("a", "b"))
NEAR = Key("near", "float", 0.5, high=0.9999999)
SEED = Key("seed", "int", 0, low=0, high=2**31 - 1)
FLAG = Key("flag", "bool", False)
SCALE = Key(
    "scale", "float", 1.0, named={"one": 1.0, "1/sqrt(L)": lambda c: 1 / math.sqrt(c["depth"])}
)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (LR, 1, 1.0),
        (LR, np.float32(0.1), 0.1),
        (LR, np.float16(0.1), 0.1),
        (LR, np.longdouble(0.1), 0.1),
        (LR, np.array(0.1, np.float32), 0.1),
        (LR, np.array(0.1), 0.1),
        (LR, jnp.float32(0.1), 0.1),
        (LR, jnp.bfloat16(0.1), 0.1),
        (LR, np.float32(1e-30), 1e-30),
        (LR, np.float64(np.float32(0.1)), 0.10000000149011612),
        (LR, Fraction(1, 10), 0.1),
        (LR, Decimal("0.1"), 0.1),
        (DEPTH, np.float32(3), 3),
        (DEPTH, Decimal(3), 3),
        (KIND, np.str_("b"), "b"),
        (LR, np.int64(2), 2.0),
        (LR, -0.0, 0.0),
        (DEPTH, 3.0, 3),
        (DEPTH, np.int32(3), 3),
        (DEPTH, 10_000, 10_000),
        (COUNT, 2**31 - 1, 2**31 - 1),
        (WIDE, 2**40, 2**40),
        (RATE, 0, 0.0),
        (CLIP, None, None),
        (KIND, "b", "b"),
        (FLAG, True, True),
        (FLAG, np.bool_(True), True),
        (SCALE, "one", 1.0),
        (SCALE, "1/sqrt(L)", 0.5),
    ],
)
def test_a_value_becomes_one_of_the_declared_type(
    key: Key, value: object, expected: object
) -> None:
    found = key.coerce(value, {"depth": 4})
    assert found == expected
    assert type(found) is type(expected)
    assert not (isinstance(found, float) and found == 0 and math.copysign(1, found) < 0)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        (LR, math.nan, "lr must be a number >= 0; got nan"),
        (COUNT, 1e12, "count must be an integer >= 1, at most 2147483647; got 1000000000000.0"),
        (COUNT, 2**31, "count must be an integer >= 1, at most 2147483647; got 2147483648"),
        (COUNT, -(2**31), "count must be an integer >= 1, at most 2147483647; got -2147483648"),
        pytest.param(
            COUNT,
            10**5000,
            "count must be an integer >= 1, at most 2147483647; got a value of",
            id="huge",
        ),
        (COUNT, math.inf, "count must be an integer >= 1, at most 2147483647; got inf"),
        (COUNT, math.nan, "count must be an integer >= 1; got nan"),
        (WIDE, 2**40 + 1, "wide must be an integer <= 1.09951e+12; got 1099511627777"),
        (LR, math.inf, "got inf"),
        (LR, -1e-9, "lr must be a number >= 0; got -1e-09"),
        (LR, True, "got True"),
        (LR, "fast", "lr must be a number >= 0; got 'fast'"),
        (LR, [0.1], "got [0.1]"),
        (LR, np.array([0.1, 0.2]), "got array([0.1, 0.2])"),
        (LR, np.complex64(1), "got np.complex64(1+0j)"),
        (LR, Decimal("NaN"), "got Decimal('NaN')"),
        (LR, Fraction(10**400), "got Fraction(1000"),
        (NEAR, 1, "near must be a number <= 0.9999999; got 1"),
        (SEED, -1, "seed must be an integer >= 0 and <= 2147483647; got -1"),
        (LR, {"grid_search": [1]}, "got {'grid_search': [1]}"),
        (LR, None, "lr must be a number >= 0; got null"),
        (DEPTH, 0, "depth must be an integer >= 1 and <= 10000; got 0"),
        (DEPTH, 2.5, "got 2.5"),
        (DEPTH, 10_001, "got 10001"),
        (DEPTH, -math.inf, "got -inf"),
        (RATE, 1, "rate must be a number >= 0 and < 1; got 1"),
        (CLIP, 0, "clip must be a number > 0, or null; got 0"),
        (KIND, "c", "kind must be one of a, b; got 'c'"),
        (KIND, 1, "got 1"),
        (FLAG, 1, "flag must be true or false; got 1"),
        (SCALE, "1/L", "or 'one', '1/sqrt(L)'; got '1/L'"),
    ],
)
def test_anything_else_is_refused_with_what_is_accepted(key: Key, value: object, says: str) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        key.coerce(value, {"depth": 4})
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        (LR, "1e-3", 0.001),
        (LR, "1", 1),
        (LR, "nan", "nan"),
        (LR, "fast", "fast"),
        (DEPTH, " 5 ", 5),
        (CLIP, "null", None),
        (CLIP, "None", None),
        (KIND, "7", "7"),
        (FLAG, "True", True),
        (FLAG, "no", False),
        (FLAG, "maybe", "maybe"),
        (SCALE, "1/sqrt(L)", "1/sqrt(L)"),
    ],
)
def test_text_of_a_command_line_becomes_a_value(key: Key, text: str, expected: object) -> None:
    found = key.parse(text)
    if text == "nan":
        assert math.isnan(found)
    else:
        assert found == expected
        assert type(found) is type(expected)


def test_only_recording_keys_stay_out_of_the_identity() -> None:
    kinds = ("static", "init", "traced", "host", "recording")
    assert [Key("k", "int", 0, kind).hashed for kind in kinds] == [True] * 4 + [False]


def test_a_long_value_is_shown_by_its_beginning_and_its_end() -> None:
    assert shown("a" * 198) == repr("a" * 198)
    text = shown("a" * 150 + "b" * 150)
    assert text == "'" + "a" * 99 + "[...]" + "b" * 99 + "'"
