"""Grids to configs: Ray's forms, ours, overrides, sampled spaces."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import tune

from search_spaces import SpaceError, expand
from search_spaces.study import grid


def test_the_last_grid_varies_fastest() -> None:
    found = expand({"a": grid(1, 2), "b": 0, "c": grid("x", "y")})
    assert found == [{"a": a, "b": 0, "c": c} for a, c in itertools.product((1, 2), ("x", "y"))]


@given(
    st.dictionaries(
        st.sampled_from("abcdef"), st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True)
    )
)
def test_a_grid_is_the_product_of_its_axes(axes: dict[str, list[int]]) -> None:
    found = expand({name: grid(*values) for name, values in axes.items()})
    expected = [dict(zip(axes, row, strict=True)) for row in itertools.product(*axes.values())]
    assert found == expected


def test_ray_s_own_forms_are_ours() -> None:
    ours = expand({"lr": grid(0.1, 0.2), "seed": grid(0, 1)})
    assert expand({"lr": tune.grid_search([0.1, 0.2]), "seed": tune.grid_search([0, 1])}) == ours


# ---- zip ---------------------------------------------------------------------------------------

ZIPPED = {
    "net": {"zip": {"model": ["a", "a", "b"], "act": ["t", "r", "r"], "skip": [..., ..., 0.5]}},
    "seed": grid(0, 1),
}


def test_zipped_keys_go_side_by_side_and_dots_leave_one_out() -> None:
    found = expand(ZIPPED)
    assert len(found) == 6
    assert {"model": "b", "act": "r", "skip": 0.5, "seed": 1} in found
    assert [c for c in found if "skip" in c] == [c for c in found if c["model"] == "b"]


def test_zipped_keys_must_be_equally_many() -> None:
    with pytest.raises(SpaceError, match="equally many values; a has 2, b has 3"):
        expand({"z": {"zip": {"a": [1, 2], "b": [1, 2, 3]}}})


def test_an_override_reaches_into_a_zip() -> None:
    found = expand(ZIPPED, overrides={"model": ["c"]})
    assert [(c["model"], c["act"]) for c in found if c["seed"] == 0] == [
        ("c", "t"), ("c", "r"), ("c", "r")
    ]  # fmt: skip
    collapsed = expand(ZIPPED, overrides={"model": ["c"], "act": ["t"], "skip": [1]})
    assert collapsed == [
        {"model": "c", "act": "t", "skip": 1, "seed": 0},
        {"model": "c", "act": "t", "skip": 1, "seed": 1},
    ]


# ---- when --------------------------------------------------------------------------------------

CONDITIONAL = {
    "model": grid("plain", "skip", "gated"),
    "scale": {
        "when": {"model": ["skip", "gated"]},
        "then": {
            "alpha": grid(1, 2),
            "inner": {
                "when": {"alpha": 2, "model": "gated"},
                "then": {"bias": grid(0, 1)},
                "else": {"pair": {"zip": {"p": [1, 2], "q": [3, 4]}}},
            },
        },
        "else": {"beta": 0},
    },
}


def test_conditions_nest_and_hold_only_where_they_match() -> None:
    found = expand(CONDITIONAL)
    pairs = [{"p": 1, "q": 3}, {"p": 2, "q": 4}]
    expected = [{"model": "plain", "beta": 0}]
    expected += [{"model": "skip", "alpha": a, **p} for a in (1, 2) for p in pairs]
    expected += [{"model": "gated", "alpha": 1, **p} for p in pairs]
    expected += [{"model": "gated", "alpha": 2, "bias": b} for b in (0, 1)]
    assert found == expected


def test_a_condition_without_else_adds_nothing() -> None:
    space = {"a": grid(0, 1), "w": {"when": {"a": 1}, "then": {"b": grid(2, 3)}}}
    assert expand(space) == [{"a": 0}, {"a": 1, "b": 2}, {"a": 1, "b": 3}]


def test_overrides_reach_into_conditions_and_decide_them() -> None:
    found = expand(CONDITIONAL, overrides={"alpha": [2]})
    assert {c["alpha"] for c in found} == {2}
    assert len(found) == 1 + 2 + 2
    found = expand(CONDITIONAL, overrides={"model": ["plain"]})
    assert found == [{"model": "plain", "beta": 0}]
    found = expand(CONDITIONAL, overrides={"p": [7]})
    assert {c["q"] for c in found if "q" in c} == {3, 4}


def test_a_condition_sees_what_a_form_before_it_set() -> None:
    space = {
        "z": {"zip": {"model": ["a", "b"], "lr": [1, 2]}},
        "w": {"when": {"model": "b"}, "then": {"k": grid(5, 6)}},
    }
    assert [c.get("k") for c in expand(space)] == [None, 5, 6]


# ---- defaults, aliases, duplicates -------------------------------------------------------------


def test_defaults_fill_only_what_is_open() -> None:
    defaults = (
        {"when": {"model": "a"}, "then": {"width": 128}},
        {"when": {}, "then": {"width": 64, "depth": 2}},
    )
    space = {"model": grid("a", "b")}
    assert [c["width"] for c in expand(space, defaults=defaults)] == [128, 64]
    found = expand(space, defaults=defaults, overrides={"width": [1]})
    assert [c["width"] for c in found] == [1, 1]
    assert [c["depth"] for c in found] == [2, 2]


def test_aliases_are_renamed_wherever_they_stand() -> None:
    names = {"num_layers": "depth", "alpha": "scale", "L": "depth"}

    def rename(name: str) -> str:
        return names.get(name, name)

    space = {
        "num_layers": grid(1, 2),
        "z": {"zip": {"alpha": [0.1, 0.2], "lr": [1, 2]}},
        "w": {"when": {"L": 2}, "then": {"alpha": 0.5}},
    }
    found = expand(space, rename=rename)
    assert [(c["depth"], c["scale"]) for c in found] == [(1, 0.1), (1, 0.2), (2, 0.5), (2, 0.5)]
    assert {c["depth"] for c in expand(space, overrides={"L": [3]}, rename=rename)} == {3}


def test_equal_configs_come_once() -> None:
    assert expand({"a": grid(1, 1, 2)}) == [{"a": 1}, {"a": 2}]
    assert expand({}) == [{}]


# ---- sampled spaces ----------------------------------------------------------------------------

SAMPLED = {
    "lr": {"loguniform": [1e-4, 1e-1]},
    "rate": {"uniform": [0, 0.5]},
    "init": {"choice": ["x", "y"]},
    "depth": {"randint": [2, 6]},
    "seed": grid(0, 1),
}


def test_a_draw_does_not_depend_on_how_many() -> None:
    few, many = (expand(SAMPLED, samples=n, sample_seed=3) for n in (3, 20))
    assert len(many) == 40
    assert many[: len(few)] == few
    assert all(1e-4 <= c["lr"] <= 1e-1 for c in many)
    assert {c["depth"] for c in many} == {2, 3, 4, 5}
    assert {c["init"] for c in many} == {"x", "y"}
    assert expand(SAMPLED, samples=3, sample_seed=4) != few


def test_a_draw_does_not_depend_on_the_other_keys() -> None:
    plain = expand(SAMPLED, samples=5)
    fixed = expand(SAMPLED, samples=5, overrides={"lr": [0.1]})
    reordered = expand(dict(reversed(SAMPLED.items())), samples=5)
    for found in (fixed, reordered):
        assert [c["rate"] for c in found] == [c["rate"] for c in plain]
        assert [c["depth"] for c in found] == [c["depth"] for c in plain]
    assert {c["lr"] for c in fixed} == {0.1}


def test_loguniform_is_uniform_in_the_logarithm() -> None:
    found = [c["lr"] for c in expand({"lr": SAMPLED["lr"]}, samples=600)]
    below = sum(lr < 10**-2.5 for lr in found)
    assert 240 < below < 360


def test_ray_s_domains_are_drawn_from_the_sample_seed() -> None:
    space = {
        "lr": tune.loguniform(1e-4, 1e-1),
        "depth": tune.randint(2, 6),
        "init": tune.choice(["x", "y"]),
        "rate": tune.quniform(0, 1, 0.25),
        "seed": tune.grid_search([0, 1]),
    }
    few, many = (expand(space, samples=n) for n in (4, 12))
    assert many[:8] == few
    assert all(1e-4 <= c["lr"] <= 1e-1 and c["rate"] * 4 % 1 == 0 for c in many)
    assert {c["depth"] for c in many} <= {2, 3, 4, 5}
    assert len({c["lr"] for c in many}) == 12


# ---- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"lr": {"loguniform": [1e-4, 1e-1]}}, "a sampled space must say how many"),
        ({"lr": tune.uniform(0, 1)}, "a sampled space must say how many"),
        ({"lr": {"gird_search": [1]}}, "lr: a dict here must be one of the forms grid_search, zip"),
        ({"lr": {}}, "lr: a dict here must be one of the forms"),
        ({"lr": {"grid_search": [1], "choice": [2]}}, "got keys grid_search, choice"),
        ({"lr": {"grid_search": []}}, "lr: grid_search must be a list of values; got []"),
        ({"lr": {"grid_search": 0.1}}, "lr: grid_search must be a list of values; got 0.1"),
        ({"z": {"zip": {"a": grid(1)}}}, "z: a must be a list of values; got {'grid_search'"),
        ({"z": {"zip": [1, 2]}}, "z: zip must be a dict of keys; got [1, 2]"),
        ({"w": {"when": {"a": 1}}}, "w: a conditional has the keys when, then and perhaps else"),
        ({"w": {"when": {}, "then": {}, "esle": {}}}, "w: a conditional has the keys when, then"),
        ({"w": {"when": {}, "then": 3}}, "w: then must be a dict of keys; got 3"),
        ({"w": {"when": {}, "then": {"a": {"x": 1}}}}, "a: a dict here must be one of the forms"),
        (
            {"w": {"when": {}, "then": {"lr": {"uniform": [0, 1]}}}},
            "a sampled key cannot stand inside a conditional",
        ),
        ({"lr": {"grid_search": range(10**9)}}, "the space has over 2000000 configs"),
        ({n: {"grid_search": range(2000)} for n in "ab"}, "the space has over 2000000 configs"),
        ({1: 2}, "a key must be a string; got 1"),
    ],
)
def test_what_cannot_be_expanded_is_one_sentence(space: dict[str, Any], says: str) -> None:
    with pytest.raises(SpaceError) as caught:
        expand(space)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "form", [{"loguniform": [0, 1]}, {"uniform": [1]}, {"choice": []}, {"randint": 3}]
)
def test_a_form_that_cannot_be_drawn_from_is_named(form: dict[str, Any]) -> None:
    with pytest.raises(SpaceError, match=f"lr: {next(iter(form))} cannot draw from"):
        expand({"lr": form}, samples=1)


# ---- scalars of libraries, functions of other keys ---------------------------------------------


def of(function: Callable[..., Any]) -> Any:
    return tune.sample_from(function)


def test_a_float32_is_the_decimal_that_was_written_wherever_it_stands() -> None:
    narrow = np.float32(0.1)
    space = {
        "lr": grid(0.1, narrow, jnp.float32(0.1)),
        "both": {"zip": {"a": [narrow], "b": [Decimal("0.3")]}},
        "if": {"when": {"lr": narrow}, "then": {"c": narrow}},
    }
    assert expand(space) == [{"lr": 0.1, "a": 0.1, "b": 0.3, "c": 0.1}]
    assert expand({"lr": 1.0}, overrides={"lr": [narrow, 0.1]}) == [{"lr": 0.1}]


@pytest.mark.parametrize(
    "function",
    [
        lambda spec: 0.1 / spec.config.width,
        lambda spec: 0.1 / spec["config"]["width"],
        lambda config: 0.1 / config["width"],
        lambda config: np.float32(0.1) / config.get("width", 1),
    ],
)
def test_ray_s_sample_from_reads_the_other_keys(function: Callable[..., Any]) -> None:
    space = {
        "wd": of(lambda spec: spec.config.lr),
        "lr": of(function),
        "width": grid(8, 16),
        "small": {"when": {"lr": 0.0125}, "then": {"seed": 1}},
        "one": of(lambda: 1),
    }
    found = expand(space)
    assert [(c["width"], c["lr"], c["wd"], c["one"]) for c in found] == [
        (8, 0.0125, 0.0125, 1),
        (16, 0.00625, 0.00625, 1),
    ]
    assert [c.get("seed") for c in found] == [1, None]
    assert [c["lr"] for c in expand(space, overrides={"width": [32]})] == [0.003125]
    assert [c["lr"] for c in expand(space, overrides={"lr": [1.0]})] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"lr": of(lambda spec: spec.config.widht)}, "lr: .* reads widht, .*; set"),
        ({"lr": of(lambda _: np.random.default_rng().random())},
         "lr: its sample_from says .* and then .*; draw with uniform, loguniform"),
        ({"lr": of(lambda _: 1 / 0)}, "lr: .* fails .ZeroDivisionError: division"),
        ({"a": of(lambda s: s.config.b), "b": of(lambda s: s["a"])},
         "a: its sample_from reads b"),
        ({"a": 1, "if": {"when": {"a": 1}, "then": {"b": of(lambda s: 1)}}},
         "cannot stand inside a conditional"),
    ],
)  # fmt: skip
def test_a_sample_from_that_cannot_be_is_told_in_a_sentence(
    space: dict[str, Any], says: str
) -> None:
    with pytest.raises(SpaceError, match=says):
        expand(space)
