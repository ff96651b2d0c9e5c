"""What is drawn: quotas, kinds of operators, a sample that a change elsewhere leaves as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants import sampling

ROOT = Path(__file__).parents[2]


def test_every_pattern_of_modules_finds_some() -> None:
    for pattern in sampling.MODULES:
        assert list(ROOT.glob(pattern)), pattern
    assert len(sampling.paths(ROOT)) == len(set(sampling.paths(ROOT)))


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ({"a": 10, "b": 30}, 4, {"a": 1, "b": 3}),
        ({"a": 1, "b": 1, "c": 1}, 2, {"a": 1, "b": 1, "c": 0}),
        ({"a": 6, "b": 5}, 3, {"a": 2, "b": 1}),
        ({"a": 2, "b": 1}, 9, {"a": 2, "b": 1}),
        ({}, 3, {}),
    ],
)
def test_a_count_is_shared_out_in_proportion(sizes: dict, count: int, expected: dict) -> None:
    assert sampling.quotas(sizes, count) == expected


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("ReplaceBinaryOperator_Add_Sub", True),
        ("ReplaceBinaryOperator_BitOr_BitAnd", True),
        ("ReplaceBinaryOperator_Add_LShift", False),
        ("ReplaceComparisonOperator_Lt_GtE", True),
        ("ReplaceComparisonOperator_Is_IsNot", True),
        ("ReplaceComparisonOperator_Eq_Is", False),
        ("ReplaceUnaryOperator_Delete_Not", True),
        ("ReplaceUnaryOperator_USub_Invert", False),
        ("NumberReplacer", True),
        ("VariableInserter", False),
    ],
)
def test_operators_are_replaced_by_their_kind(operator: str, expected: bool) -> None:
    assert sampling.wanted(f"core/{operator}") is expected


def test_what_changed_is_said_on_one_line() -> None:
    old, new = "a\n  b = (\n    1)\nc", "a\n  b = (\n    2)\nc"
    assert sampling.changed(old, new) == ("1)", "2)")
    assert sampling.changed("@a\ndef f(): ...", "def f(): ...") == ("@a", "")


SOURCE = "def f(a, b):\n    return a + 3 * b if a < b else f(a - 1, b)\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    pytest.importorskip("cosmic_ray", reason="cosmic-ray is not installed: see make mutants")
    (tmp_path / "results/store").mkdir(parents=True)
    (tmp_path / "results/store/parquet_parts.py").write_text(SOURCE)
    return tmp_path


def said(root: Path, seed: int, count: int) -> set[str]:
    drawn = sampling.draw(root, seed, count)
    return {f"{m.operator}: {m.old} -> {m.new}" for m in drawn if m.definition == "f"}


def test_every_place_counts_once_for_each_family(root: Path) -> None:
    # A condition, two numbers, a sum, a product, a difference, a comparison.
    families = [sampling.family(m.operator) for m in sampling.draw(root, 0, 99)]
    assert sorted(families) == [
        "AddNot",
        *["NumberReplacer"] * 2,
        *["ReplaceBinaryOperator"] * 3,
        "ReplaceComparisonOperator",
    ]


def test_another_function_leaves_the_sample_of_this_one_as_it_was(root: Path) -> None:
    before = said(root, 5, 99)
    assert said(root, 6, 99) != before
    other = "def g(n):\n    return n + 1\n\n\n"
    (root / "results/store/parquet_parts.py").write_text(other + SOURCE)
    assert said(root, 5, 99) == before
    keys = {m.key for m in sampling.draw(root, 5, 99)}
    assert len(keys) == 9


def test_the_seed_draws_the_places(root: Path) -> None:
    drawn = [sampling.draw(root, seed, 2) for seed in range(9)]
    assert all(len(mutants) == 2 for mutants in drawn)
    assert len({sampling.family(m.operator) for mutants in drawn for m in mutants}) > 2


def test_a_mutant_that_is_no_python_is_not_drawn(root: Path) -> None:
    (root / "results/store/parquet_parts.py").write_text("def f(*, x): ...\n")
    assert sampling.draw(root, 0, 99) == []
