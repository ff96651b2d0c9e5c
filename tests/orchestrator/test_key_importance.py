"""Importance of keys on functions whose variance can be split by hand."""

from __future__ import annotations

import itertools

import pytest

from orchestrator.key_importance import key_importance


def test_shares_are_those_of_the_variance_that_each_key_explains() -> None:
    """Of y = 3 a + b over a full grid, a explains 9 of 10 parts and the text c none."""
    grid = list(itertools.product([0.0, 1.0], [0, 1], ["he", None, True]))
    configs = [{"a": a, "b": b, "c": c} for a, b, c in grid] * 4
    values = [3 * config["a"] + config["b"] for config in configs]
    shares = key_importance(configs, values)
    assert list(shares) == ["a", "b", "c"]
    assert shares["a"] == pytest.approx(0.9, abs=0.05)
    assert shares["b"] == pytest.approx(0.1, abs=0.05)
    assert shares["c"] == pytest.approx(0.0, abs=0.02)
    assert shares == key_importance(configs, values)
