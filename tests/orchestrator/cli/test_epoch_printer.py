"""Gradient bars of a debug run."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.epoch_printer import WIDTH, gradient_bars


def length(line: str) -> int:
    return line.count("█")


def test_bars_are_on_a_log_scale_from_the_smallest_to_the_largest() -> None:
    lines = gradient_bars(["rnn.0", "rnn.1", "readout"], [1e-6, 1e-3, 1.0])
    assert [length(line) for line in lines] == [1, 21, WIDTH]
    assert lines[0] == "  rnn.0    1.00e-06 █"
    assert lines[2].startswith("  readout  1.00e+00 ██")


def test_zero_and_non_finite_norms_say_so_instead() -> None:
    lines = gradient_bars(["a", "b", "c", "d"], [0.0, math.nan, math.inf, 2.0])
    assert lines[:3] == ["  a exactly zero", "  b not finite", "  c not finite"]
    assert length(lines[3]) == WIDTH
    assert gradient_bars(["a"], [0.0]) == ["  a exactly zero"]
    assert gradient_bars([], []) == []
    assert gradient_bars(["a", "b"], [0.0, 2.0], frozen=["a"])[0] == "  a frozen"


def test_equal_norms_have_equal_full_bars() -> None:
    assert [length(line) for line in gradient_bars(["a", "b"], [0.5, 0.5])] == [WIDTH, WIDTH]


@given(st.lists(st.floats(min_value=0) | st.just(math.nan), max_size=40))
def test_every_layer_has_a_line_and_larger_norms_have_no_shorter_bar(norms: list[float]) -> None:
    lines = gradient_bars([f"rnn.{i}" for i in range(len(norms))], norms)
    assert len(lines) == len(norms)
    drawn = sorted(
        (norm, length(line))
        for norm, line in zip(norms, lines, strict=True)
        if norm > 0 and math.isfinite(norm)
    )
    lengths = [bar for _, bar in drawn]
    assert lengths == sorted(lengths)
    assert all(1 <= bar <= WIDTH for bar in lengths)
