"""Figures of study zucchet2024 weight by weight, and of the loss around a unit's optimum, from
made-up stores, against numbers by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from results import Store
from results.plotting import figure as drawn
from tests.results.figures.test_bar2025 import put, said, traces

STUDY = "bar2025"  # what `put` writes spaces under; a figure reads the space and no study's name
TENSOR = {"layer": 0, "layer_name": "rnn.0"}


@pytest.fixture(scope="module")
def store(new_store: Callable[[], Store]) -> Store:
    made = new_store()
    put(made, "rates", [{"model": m} for m in ("lru", "s4")],
        [{"weight_rates": [
            {**TENSOR, "tensor": t, "entry": e, "weight": 0.0, "lr": 10.0 ** (-k - at),
             "step": -1.0 if e else 1.0} for k, t in enumerate("ab") for e in range(2)]}
         for at in range(2)], ["model"], "1")  # fmt: skip
    blocks = ["A", "A", "D"]
    values = [[4.0, 0.0, -0.04], [0.0, 1e-9, 0.4], [-0.04, 0.4, 2.0]]
    put(made, "matrices", [{"coordinates": "rnn"}],
        [{"hessian_matrix": [
            {"parameter": i, "other": j, "block": blocks[i], "other_block": blocks[j],
             "value": values[i][j]} for i in range(3) for j in range(3)],
          "hessian_vectors": [
            {"rank": rank, "eigenvalue": 1.0, "parameter": p, "block": blocks[p],
             "value": -float(p == rank)} for rank in range(2) for p in range(3)]}],
        ["coordinates"], "2")  # fmt: skip
    put(made, "spectra", [{"model": "lru"}],
        [{"hessian": [{**TENSOR, "tensor": t, "rank": k, "eigenvalue": (-10.0) ** k,
                       "residual": 0.0, "participation": 1.0, "share": share}
                      for k in range(2) for t, share in (("b", 0.25), ("a", 0.75))]}],
        ["model"], "3")  # fmt: skip
    put(made, "lines", [{"seed": 0}],
        [{"unit_lines": [
            {"target": t, "form": f, "direction": d, "shift": x, "value": x, "loss": x**2,
             "curvature": 2.0 - x} for t in (0.5, 0.9) for f in ("polar", "exp", "opt")
            for d in ("nu", "theta") for x in (3.0, -1.0, 0.0)]}], ["seed"], "4")  # fmt: skip
    kinds = [("landscape", "sign"), ("landscape", "adam"), ("landscape_map", None)]
    path = [{"step": s, "loss": 1.0, "modulus": 0.9, "phase": p, "first_below": -1}
            for s, p in ((2, 0.1), (0, 0.5))]  # fmt: skip
    target = {"target_modulus": 0.9, "target_phase": 0.2}
    cells = [{"coordinate": c, "modulus": m, "phase": c, "loss": 10.0 ** (c - 8 * (m > 0.9)),
              **target} for c in (0.0, 1.0) for m in (0.9, 0.95)]  # fmt: skip
    put(made, "phases", [{"phase_form": "exp", "landscape_rule": r} for _, r in kinds],
        [{"landscape": path if k == "landscape" else [],
          "landscape_map": cells if k == "landscape_map" else []} for k, _ in kinds],
        ["landscape_rule"], "5")  # fmt: skip
    return made


def figure(store: Store, space: str, name: str) -> Any:
    return drawn(store, f"{STUDY}/{space}", name)


def test_every_weight_is_a_point_above_its_tensor(store: Store) -> None:
    fig = figure(store, "rates", "weight_rates")
    first, second = traces(fig, "b")
    assert (list(first.y), list(second.y)) == ([0.1, 0.1], [0.01, 0.01])
    assert all(abs(x - 1) < 0.5 for x in first.x)
    assert first.x[0] != first.x[1]
    assert list(fig.layout.xaxis.ticktext) == ["a", "b"]
    assert "50% of the published steps" in first.hovertemplate


def test_a_matrix_is_coloured_by_size_and_sign(store: Store) -> None:
    fig = figure(store, "matrices", "hessian_matrix")
    (heat,) = [t for t in fig.data if t.type == "heatmap"]
    assert [list(row) for row in heat.z] == [
        pytest.approx(row) for row in ([5, 0, -3], [0, 0, 4], [-3, 4, 5 + math.log10(0.5)])
    ]
    assert list(fig.layout.xaxis.ticktext) == ["A", "D"]
    assert list(fig.layout.xaxis.tickvals) == [0.5, 2.0]
    assert {shape.x0 for shape in fig.layout.shapes if shape.x0 == shape.x1} == {1.5}


def test_eigenvectors_by_block(store: Store) -> None:
    fig = figure(store, "matrices", "hessian_vectors")
    first, second = traces(fig, "A")
    assert (list(first.x), list(first.y), list(second.y)) == ([0, 1], [1, 0], [0, 1])
    assert [list(t.y) for t in traces(fig, "D")] == [[0], [0]]


def test_a_trained_spectrum_with_its_tensors(store: Store) -> None:
    fig = figure(store, "spectra", "hessian_spectrum")
    (above,), (below,) = traces(fig, "epoch 0"), traces(fig, "epoch 0, below 0")
    assert (list(above.x), list(above.y)) == ([1], [1])
    assert (list(below.x), list(below.y)) == ([2], [10])
    assert list(traces(fig, "a")[0].y) == [0.75, 0.75]


def test_lines_around_the_optimum(store: Store) -> None:
    fig = figure(store, "lines", "unit_lines")
    lines = traces(fig, "λ* = 0.5")
    assert len(lines) == 12
    assert list(lines[0].x) == [-1.0, 3.0], "the optimum itself has no logarithm"
    assert list(lines[0].y) == [1.0, 9.0]
    assert list(lines[3].y) == [3.0, 2.0, 1.0], "the curvature's size"
    rings = [t for t in fig.data if t.marker.symbol == "circle-open"]
    assert [list(t.y) for t in rings] == [[1.0]] * 12, "where it is negative"


def test_paths_on_the_map(store: Store) -> None:
    fig = figure(store, "phases", "landscape_path")
    (heat,) = [t for t in fig.data if t.type == "heatmap"]
    found = dict(zip(zip(heat.x, heat.y, strict=True), heat.z, strict=True))
    assert found == {(0, 0.9): 0, (0, 0.95): -4, (1, 0.9): 1, (1, 0.95): -4}, "1e-4 at least"
    for name in ("sign descent, as published", "Adam"):
        (line,) = traces(fig, name)
        assert list(line.x) == pytest.approx([math.log(0.5), math.log(0.1)]), "in order of steps"
    (star,) = traces(fig, "target")
    assert (star.x[0], star.y[0]) == pytest.approx((math.log(0.2), 0.9))
    assert "sign descent" in said(fig)
