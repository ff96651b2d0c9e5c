"""Kinds of attractors: signals whose kind is known, maps whose attractors are, contraction."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainables import attractors, driven

W = attractors.WINDOW


def follow(
    step: Callable[[Any], Any], starts: np.ndarray, most: int = 30_000, least: int = 0
) -> attractors.Ends:
    """Ends of orbits of a map of states (M, S), from `starts`."""
    with jax.enable_x64(True):
        run = jax.jit(lambda x, v: driven.tangent_chunk(step, x, v))
        tangents = np.random.default_rng(0).normal(size=starts.shape)
        return attractors.follow(run, np.asarray(starts, float), tangents, most, least)


# ---- P1-1: the classifier's truth table --------------------------------------------------------


def rotation(angle: float, radius: float = 1.0) -> Callable[[Any], Any]:
    """A map whose orbits all end on a circle, turning by `angle` a step."""

    def step(x: Any) -> Any:
        r = jnp.sqrt(jnp.sum(x**2, -1, keepdims=True))
        grown = x * (1 + 0.5 * (radius - r)) if radius else x
        c, s = math.cos(angle), math.sin(angle)
        return grown @ jnp.array([[c, s], [-s, c]])

    return step


def torus(x: Any) -> Any:
    """Two rotations of unrelated angles, side by side."""
    return jnp.concatenate([rotation(0.7)(x[:, :2]), rotation(1.9318)(x[:, 2:])], -1)


def logistic(r: float) -> Callable[[Any], Any]:
    return lambda x: r * x * (1 - x)


def swap(period: int) -> Callable[[Any], Any]:
    """Turns by 2 pi / period and is drawn to the unit circle: a cycle of `period` steps."""
    return rotation(2 * math.pi / period)


TABLE = {
    "fixed": (lambda x: 0.5 * x + 1, 1, "fixed_point", 1),
    "period 2": (lambda x: -x - 0.1 * (x - x**3), 1, "period", 2),
    "period 3": (swap(3), 2, "period", 3),
    "period 6": (swap(6), 2, "period", 6),
    "period 64": (swap(64), 2, "period", 64),
    "rotation": (rotation(0.7), 2, "quasi_periodic", 0),
    "two-torus": (torus, 4, "quasi_periodic", 0),
    "logistic chaos": (logistic(3.9), 1, "chaotic", 0),
    "logistic window": (logistic(3.83), 1, "period", 3),
    "linear growth": (lambda x: x + 0.3, 1, "unbounded", 0),
    "exponential growth": (lambda x: 1.01 * x, 1, "unbounded", 0),
    "slow spiral": (lambda x: 0.99995 * rotation(0.7, 0)(x), 2, "slow", 0),
}


@pytest.mark.parametrize("name", TABLE)
def test_signals_of_known_kind(name: str, seed: int) -> None:
    step, size, kind, period = TABLE[name]
    rng = np.random.default_rng(seed)
    ends = follow(step, rng.uniform(0.1, 0.9, size=(3, size)))
    assert ends.kind.tolist() == [kind] * 3
    assert ends.period.tolist() == [period] * 3


def test_lyapunov_exponents_are_known_ones(seed: int) -> None:
    """ln 2 of the full logistic map; that of a contraction; 0 of a rotation."""
    starts = np.random.default_rng(seed).uniform(0.1, 0.9, size=(4, 1))
    chaos = follow(logistic(4.0 - 1e-12), starts, least=15_000)
    np.testing.assert_allclose(chaos.lyapunov, math.log(2), atol=0.02)
    point = follow(lambda x: 0.5 * x + 1, starts)
    np.testing.assert_allclose(point.lyapunov, math.log(0.5), rtol=1e-9)
    circle = follow(rotation(0.7), np.tile(starts, (1, 2)))
    assert np.abs(circle.lyapunov).max() < 1e-3


def test_a_slow_spiral_is_followed_until_it_has_settled() -> None:
    """Time constant 1,000: a burn-in of a window would show a closed curve."""

    def step(x: Any) -> Any:
        return 0.999 * rotation(0.7, 0)(x)

    start = np.array([[1.0, 0.0]])
    brief, long = follow(step, start, most=1024), follow(step, start, most=60_000)
    assert brief.kind[0] == "slow"
    assert long.kind[0] == "fixed_point"
    assert long.steps[0] > 8 * brief.steps[0]


def test_frequencies_and_swings_of_known_signals(seed: int) -> None:
    rng = np.random.default_rng(seed)
    omega = rng.uniform(0.15, 0.5, size=5)
    size = rng.uniform(0.5, 2, size=5)
    t = np.arange(W)[:, None]
    y = np.stack([0.01 * np.ones((W, 5)), size * np.sin(omega * t + 1)], -1)
    np.testing.assert_allclose(attractors.dominant_frequency(y), omega, rtol=0.01)
    np.testing.assert_allclose(attractors.swing(y), 2 * size, rtol=0.02)
    assert math.isnan(attractors.dominant_frequency(np.ones((W, 1, 2)))[0])


# ---- P0-9: contraction, and scalar networks ----------------------------------------------------


def scalar(w: float) -> Callable[[Any], Any]:
    return lambda x: jnp.tanh(w * x)


@pytest.mark.parametrize(("w", "point"), [(1.5, 0.858560), (2.0, 0.957504), (3.0, 0.994902)])
def test_a_scalar_network_has_two_attractors_beyond_the_pitchfork(
    w: float, point: float, seed: int
) -> None:
    """P1-5 for w = 2: random starts find both."""
    starts = np.random.default_rng(seed).normal(size=(10, 1))
    ends = follow(scalar(w), starts)
    np.testing.assert_allclose(np.abs(ends.window[-1, :, 0]), point, atol=1e-6)
    assert set(attractors.told_apart(ends, np.zeros(10))) == {0, 1}
    one = follow(scalar(0.8), starts)
    assert one.kind.tolist() == ["fixed_point"] * 10
    assert set(attractors.told_apart(one, np.zeros(10))) == {0}
    assert np.abs(one.window[-1]).max() < 1e-9


def test_a_scalar_network_flips_below_minus_one(seed: int) -> None:
    ends = follow(scalar(-2.0), np.random.default_rng(seed).normal(size=(6, 1)))
    assert ends.period.tolist() == [2] * 6
    assert set(attractors.told_apart(ends, np.zeros(6))) == {0}
    np.testing.assert_allclose(np.abs(ends.window[-1, :, 0]), 0.957504, atol=1e-6)


def test_a_contracting_network_has_one_attractor(seed: int) -> None:
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(8, 8))
    w *= 0.9 / np.linalg.norm(w, 2)
    b, starts = rng.normal(size=8), 5 * rng.normal(size=(10, 8))
    x, before = starts, None
    for _ in range(300):
        x = np.tanh(x @ w.T + b)
        apart = np.linalg.norm(x[1:] - x[0], axis=1)
        if before is not None:
            far = before > 1e-10
            assert np.all(apart[far] <= 0.9 * before[far] * (1 + 1e-9))
        before = apart
    assert before is not None
    assert before.max() < 1e-12
    ends = follow(lambda x: jnp.tanh(x @ jnp.asarray(w.T) + jnp.asarray(b)), starts)
    assert set(attractors.told_apart(ends, np.zeros(10))) == {0}
    assert np.ptp(ends.window[-1], axis=0).max() < 1e-9


def test_random_networks_cross_from_rest_to_chaos_at_one(seed: int) -> None:
    rng = np.random.default_rng([seed, 5])
    w = rng.normal(size=(200, 200)) / math.sqrt(200)
    found = [
        follow(lambda x, g=g: jnp.tanh(g * x @ jnp.asarray(w)), rng.normal(size=(1, 200)), 4096)
        for g in (0.5, 3.0)
    ]
    assert [e.kind[0] for e in found] == ["fixed_point", "chaotic"]
    assert found[0].lyapunov[0] == pytest.approx(-0.67, abs=0.08)
    assert found[1].lyapunov[0] == pytest.approx(0.30, abs=0.06)


def test_unsettled_orbits_have_no_attractor() -> None:
    ends = follow(lambda x: x + 0.3, np.zeros((2, 1)), 2048)
    assert attractors.told_apart(ends, np.zeros(2)).tolist() == [-1, -1]
