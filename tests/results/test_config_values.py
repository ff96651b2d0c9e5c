"""Config values as they are read: told from one another, and never taken for rounder numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from results import Store
from results.config_values import pairs_text, pairs_texts, value_text, value_texts
from results.figures.selection import labels, select_trials
from results.html_report import report
from tests.support.made_up_rows import publish_rows, space_of, trial_rows

FLOAT32 = 0.10000000149011612


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (FLOAT32, "0.100000001"), (0.99999, "0.99999"), (0.9999999, "0.9999999"),
        (1 - 1e-12, "0.999999999999"), (0.1 + 0.2, "0.3"), (1.0, "1"), (50000.0, "50000"),
        (1e9, "1e+09"), (1e-5, "1e-05"),
        (0.0012345678901234, "0.001235"), (0.0, "0"), (-0.5, "-0.5"),
        (math.inf, "inf"), (math.nan, "nan"), (2**31 - 1, "2147483647"), (True, "True"),
        (None, "null"), ("relu", "relu"),
    ],
)  # fmt: skip
def test_a_value_by_itself(value: object, text: str) -> None:
    assert value_text(value) == text


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.1, FLOAT32], ["0.1", "0.100000001"]),
        ([0.3, 0.1 + 0.2], ["0.3", "0.30000000000000004"]),
        ([0.00123451111, 0.00123452222, 0.5], ["0.00123451", "0.00123452", "0.5"]),
        ([1, None, 1], ["1", "null", "1"]),
    ],
)
def test_values_side_by_side(values: list[object], texts: list[str]) -> None:
    assert value_texts(values) == texts


@given(st.lists(st.floats(allow_nan=False), max_size=8))
@example([1.23451, 1.235, 1.23496])
@example([1.2345678, 1.23456781234])
def test_two_values_never_read_alike(values: list[float]) -> None:
    distinct = set(values)
    assert len(set(value_texts(list(distinct)))) == len(distinct)
    for value, text in zip(values, value_texts(values), strict=True):
        assert value == pytest.approx(float(text), rel=1e-3, abs=0)


def test_configs_in_a_line_each() -> None:
    assert pairs_text({"lr": 0.99999, "clip": None}) == "lr=0.99999 clip=null"
    found = pairs_texts([{"lr": 0.1, "depth": 2}, {"lr": FLOAT32}])
    assert found == ["lr=0.1 depth=2", "lr=0.100000001"]


def test_figures_and_reports_tell_trials_apart_as_tables_do(store: Store) -> None:
    """Cells of a figure are made by their labels, so two that read alike would be averaged."""
    rates = {"a": 0.0012345611, "b": 0.0012345622, "c": 0.99999}
    publish_rows(store, [trial_rows(i, [2.0], config={"lr": lr}) for i, lr in rates.items()])
    space = space_of([*rates], swept=["lr"], select={"choose": "lr", "metric": "loss"})
    store.write_space("demo/grid", {**space, "figures": []})
    cells = [trial.cell for trial in select_trials(store, space, None).trials]
    assert sorted(cells) == ["lr 0.0012345611", "lr 0.0012345622", "lr 0.99999"]
    assert labels([{"lr": 0.1}, {"lr": FLOAT32}], ["lr"]) == ["lr 0.1", "lr 0.100000001"]
    assert "0.99999" in labels([{"lr": 0.99999}], ["lr"])[0]
    page = report(store, "demo/grid").read_text(encoding="utf-8")
    best_table = page.split("<h2>Best</h2>")[1].split("</table>")[0]
    assert "<td>0.00123" in best_table
