"""Spans of time as they are typed and as they are said."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import RequestError
from orchestrator.option_checks import require, span_problems
from orchestrator.units import seconds_of, span_text


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [
        ("600", 600), ("90s", 90), ("10m", 600), ("2h", 7200), ("1h30m", 5400), (" 1D ", 86400),
        ("0.5h", 1800), ("1d2h3m4s", 93784), (600, 600), (0.5, 0.5), ("1e3", 1000),
    ],
)  # fmt: skip
def test_a_span_of_time_is_read(typed: float | str, seconds: float) -> None:
    assert seconds_of(typed) == seconds
    assert span_problems("trial_timeout", typed) == []


@pytest.mark.parametrize("typed", ["", "soon", "10x", "m", "30m1h", "-5", "0", 0, -1, True, "nan"])
def test_what_is_no_span_is_named(typed: object) -> None:
    with pytest.raises(RequestError, match="--trial-timeout must be a span of time above 0"):
        require(span_problems("trial_timeout", typed))


def test_infinite_and_left_out_spans() -> None:
    assert span_problems("time_budget", math.inf) != []
    assert span_problems("time_budget", None) == []


@given(st.integers(1, 10**7))
def test_what_is_said_reads_as_the_same_span(seconds: int) -> None:
    assert seconds_of(span_text(seconds).replace("min", "m").replace(" ", "")) == seconds


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (600, "10 min"),
        (90, "90 s"),
        (7200, "2 h"),
        (86400, "1 d"),
        (0.5, "0.5 s"),
        (5400, "90 min"),
    ],
)
def test_a_span_is_said_in_its_largest_whole_unit(seconds: float, said: str) -> None:
    assert span_text(seconds) == said
