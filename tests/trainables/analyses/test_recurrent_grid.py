"""Pascal's triangle and numbers of paths against exact integers
(docs/specs/herranz2023.md, checks 1 and 2)."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from functools import cache
from typing import Any

import jax
import numpy as np
import pytest

from trainables.analyses.recurrent_grid import (
    log10_path_count,
    pascal_gradient,
    path_count,
    path_sums,
)
from trainables.declarations import builtin_registry
from trainables.packs.pack import Pack

PASCAL = {  # rho -> gradient at t = 0, 50, 90, 99 (section 6)
    0.3: (2.0904e-4, 2.0904e-4, 2.0224e-4, 5.9049e-6),
    0.5: (1.0, 1.0, 0.5, 9.7656e-4),
    0.7: (4783.74, 4749.27, 155.727, 0.0282475),
    1.0: (4.263422e13, 6.2828e10, 92378, 1),
    1.2: (7.0142e21, 1.6583e15, 2.5898e6, 6.19174),
}
HE = {0.3: 1.6e-5, 0.5: 1.1e-2, 0.7: 2.7e2, 1.0: 5.9e16, 1.2: 3.2e25}


def _rows(lanes: list[dict[str, Any]], **config: Any) -> dict[str, dict[str, np.ndarray]]:
    registry = builtin_registry()
    pack = Pack([registry.resolve({**config, **lane}) for lane in lanes], {})
    pack.init()
    result = pack.epoch(0)
    assert (result.epochs, result.layers, result.steps) == ({}, {}, {})
    for name, columns in result.probes.items():
        assert set(columns) == {c.name for c in registry.probes[name].columns}
    return result.probes


@cache
def _pascal() -> dict[str, np.ndarray]:
    return _rows([{"rho": rho} for rho in PASCAL], stage="pascal")["pascal"]


@pytest.mark.parametrize("lane", range(5))
def test_gradients_of_the_grid(lane):
    """Check 1: twenty numbers by automatic differentiation, for every sample."""
    rows, rho = _pascal(), list(PASCAL)[lane]
    rel = 1e-3 if rho > 1 else 1e-4
    gradient = rows["gradient"][lane].reshape(6, 100)
    assert gradient[:, [0, 50, 90, 99]] == pytest.approx(np.tile(PASCAL[rho], (6, 1)), rel=rel)
    assert rows["closed_form"][lane].reshape(6, 100)[3] == pytest.approx(gradient[0], rel=rel)
    assert rows["t"][:100].tolist() == list(range(100))
    assert rows["sample"][::100].tolist() == list(range(6))


def test_the_middle_of_pascals_triangle():
    rows, lane = _pascal(), list(PASCAL).index(1.0)
    assert rows["binomial"][0] == math.comb(109, 10) == 42_634_215_112_710
    assert rows["binomial"] == pytest.approx(rows["gradient"][lane], rel=1e-4)
    # A weight of one half on each step keeps every gradient at or below 1.
    assert rows["gradient"][1].max() == pytest.approx(1, rel=1e-6)


def test_the_output_is_the_recurrence(seed):
    keys = {"stage": "pascal", "grid_layers": 3, "grid_steps": 8, "grid_batch": 2}
    unit, other = (_rows([{"seed": seed, "rho": rho}], **keys)["pascal"] for rho in (1.0, 0.7))
    y = unit["output"][0].reshape(2, 8)
    # Differences undo the sums of each layer, which leaves the inputs, N(0, 2^2).
    x = y
    for _ in range(3):
        x = np.diff(x, prepend=0)
    h = x
    for _ in range(3):
        below, before = h, np.zeros(2)
        h = np.zeros((2, 8))
        for t in range(8):
            before = h[:, t] = 0.7 * (below[:, t] + before)
    assert other["output"][0].reshape(2, 8) == pytest.approx(h, rel=1e-3, abs=1e-4)
    many = _rows([{"seed": seed, "rho": 1.0}], stage="pascal", grid_layers=1)["pascal"]
    assert np.diff(many["output"][0].reshape(6, 100)).std() == pytest.approx(2, abs=0.25)


def test_gradients_of_the_he_network(seed):
    """Orders of magnitude of section 6. Over seeds they spread by five decades where rho is 1 or
    more, so that medians are over 48 here, not 4, and the published ones of 4 may be off by 3."""
    lanes = [{"rho": rho, "seed": 48 * seed + s} for rho in HE for s in range(48)]
    rows = _rows(lanes, stage="pascal", grid_rule="he", grid_batch=2)["pascal"]
    first = rows["gradient"].reshape(5, 48, 2, 100)[..., 0]
    found = np.log10(np.median(first.mean(-1), axis=1))
    apart = np.abs(found - np.log10(list(HE.values())))
    assert (apart < [1, 1, 2, 3, 3]).all()
    assert np.isnan(rows["closed_form"]).all()


def test_closed_form_at_drawn_sizes(seed):
    """Against rational arithmetic."""
    gradient = jax.jit(pascal_gradient, static_argnums=(1, 2))
    rng = np.random.default_rng([seed, 9])
    for _ in range(5):
        layers, steps = rng.integers(1, [15, 60]).tolist()
        rho = Fraction(int(rng.integers(1, 13)), 10)
        found = np.asarray(gradient(np.float32(rho), layers, steps))
        for t in rng.integers(0, steps, 4).tolist():
            sums = [math.comb(d + layers - 1, layers - 1) * rho**d for d in range(steps - t)]
            assert found[t] == pytest.approx(float(rho**layers * sum(sums)), rel=1e-4)
    assert np.asarray(gradient(np.float32(0), 3, 4)).tolist() == [0] * 4


@cache
def _binomial() -> dict[str, dict[str, np.ndarray]]:
    weights = [{"rho_t": 0.5, "rho_l": 0.5}, {"rho_t": "T/(L+T)", "rho_l": "L/(L+T)"}]
    return _rows(weights, stage="binomial")


def test_end_points_of_the_curves():
    """Check 2: three end points, rel 1e-9."""
    rows = _binomial()["binomial"]
    last = {
        curve: np.flatnonzero(rows["curve"] == curve)[-1] for curve in ("time", "depth", "both")
    }
    points = {c: (int(rows["steps"][i]), int(rows["layers"][i])) for c, i in last.items()}
    assert points == {"time": (10_000, 5), "depth": (5, 100), "both": (10_000, 100)}
    for curve, i in last.items():
        exact = math.comb(sum(points[curve]), points[curve][0])
        assert rows["paths"][i] == pytest.approx(float(exact), rel=1e-9)
        assert rows["log10_paths"][i] == pytest.approx(math.log10(exact), rel=1e-9)
    assert rows["paths"][last["time"]] == pytest.approx(8.34584e17, rel=1e-5)
    assert rows["paths"][last["depth"]] == 96_560_646
    assert rows["log10_paths"][last["both"]] == pytest.approx(242.249, abs=5e-4)
    i = last["depth"]
    assert rows["log10_bound"][0][i] == pytest.approx(math.log10(96_560_646 / 2**105), abs=1e-4)


def _at(rows: dict[str, np.ndarray], steps: int, layers: int) -> int:
    return int(np.flatnonzero((rows["steps"] == steps) & (rows["layers"] == layers))[0])


def test_paths_are_counted_and_weighed():
    """Check 2: C(25,5) exact by dynamic programming; the corner of 100 steps and 10 layers."""
    rows = _binomial()["paths"]
    assert rows["counted"][0][_at(rows, 20, 5)] == 53_130 == math.comb(25, 5)
    corner = _at(rows, 100, 10)
    half, unbalanced = rows["weighted"][:, corner]
    assert half == pytest.approx(float(Fraction(math.comb(110, 10), 2**110)), rel=1e-5)
    assert half == pytest.approx(3.61e-20, rel=1e-3)
    assert unbalanced == pytest.approx(0.1312, abs=1e-3)
    assert rows["paths"][corner] == float(math.comb(110, 10))
    assert rows["counted"][0] == pytest.approx(rows["paths"], rel=1e-5)
    # Illustration of figure 1: 5 steps and 3 layers.
    grid = _at(rows, 5, 3)
    assert (rows["paths"][grid], rows["diagonal_paths"][grid]) == (56, 10)


def test_path_sums_are_sums_over_paths(seed):
    rng = np.random.default_rng([seed, 10])
    rho_t, rho_l = rng.uniform(0.2, 1.5, 2)
    sums = jax.jit(path_sums, static_argnums=(2, 3))
    found = np.asarray(sums(np.float32(rho_t), np.float32(rho_l), 5, 4))
    for t, layers in itertools.product(range(6), range(5)):
        paths = [c for c in itertools.product("tl", repeat=t + layers) if c.count("t") == t]
        want = sum(math.prod(rho_t if c == "t" else rho_l for c in path) for path in paths)
        assert found[t, layers] == pytest.approx(want, rel=1e-5)


def test_numbers_too_large_for_a_float(seed):
    assert path_count(2000, 2000) == math.inf
    steps, layers = np.random.default_rng(seed).integers(1, 4000, 2).tolist()
    logs = np.log10(np.arange(1, steps + layers + 1))
    want = logs.sum() - logs[:steps].sum() - logs[:layers].sum()
    assert log10_path_count(steps, layers) == pytest.approx(want, rel=1e-9)
