"""The rows of a query, in every form in which they are given."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results import Result, Store
from results.result import distinct

names = st.lists(st.sampled_from(["a", "a_1", "a_2", "a_1_1", "b", ""]), max_size=8)


@given(names)
def test_every_column_gets_a_name_that_no_other_has(given_names: list[str]) -> None:
    found = distinct(given_names)
    assert len(set(found)) == len(found) == len(given_names)
    for i, (name, own) in enumerate(zip(given_names, found, strict=True)):
        if given_names.index(name) == i:
            assert own == name, "the first of each name keeps it"
        else:
            assert own.startswith(f"{name}_")
            assert own not in given_names


@pytest.mark.parametrize("ask", ["sql", "query_user"])
def test_columns_of_one_name_are_all_given(store: Store, ask: str) -> None:
    query = "SELECT 1 AS loss, 2 AS loss, 3 AS loss_1, 4 AS Loss, 5 AS loss"
    result: Result = getattr(store, ask)(query)
    expected = {"loss": 1, "loss_2": 2, "loss_1": 3, "Loss": 4, "loss_3": 5}
    assert result.columns == list(expected)
    assert result.rows() == [expected]
    assert result.fetchall() == [(1, 2, 3, 4, 5)]
    assert result.df().to_dict("records") == [expected]
    assert result.arrow().to_pylist() == [expected]
    assert result.relation().fetchall() == [(1, 2, 3, 4, 5)]
    for name in expected:
        assert f"<th>{name}</th>" in result._repr_html_()
        assert name in repr(result)


def test_a_table_of_ones_own_too() -> None:
    table = pa.table([pa.array([1]), pa.array([2])], names=["x", "x"])
    assert Result(table).rows() == [{"x": 1, "x_1": 2}]


def test_a_join_shows_the_columns_of_both(store: Store) -> None:
    own = store.sql("SELECT * FROM trials").columns + store.sql("SELECT * FROM diagnosis").columns
    both = store.sql("SELECT * FROM trials t JOIN diagnosis d ON t.trial_id = d.trial_id").columns
    assert len(both) == len(set(both)) == len(own)
    assert both.index("trial_id_1") == own.index("trial_id", 1)


def test_what_a_store_says_is_neither_obeyed_nor_run(store: Store) -> None:
    result = store.sql("SELECT chr(27) || '[2J' AS \"<script>a\", '<script>b' AS x, chr(8238) AS y")
    for text in (repr(result), result._repr_html_()):
        assert "\x1b" not in text
        assert "\\x1b[2J" in text
        assert "\u202e" not in text
    assert "<script>" not in result._repr_html_()
    assert result.rows()[0]["y"] == "\u202e", "data is exact"


def test_a_long_result_is_short_in_a_notebook(store: Store) -> None:
    page = store.sql("SELECT i FROM range(100000) t(i)")._repr_html_()
    assert len(page) < 20_000
    assert "100000 rows" in page
