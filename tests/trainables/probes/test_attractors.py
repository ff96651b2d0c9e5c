"""Kinds of attractors: signals whose kind is known, maps whose attractors are, contraction
(docs/specs/ribeiro2020.md, checks 9, 17 and 20)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainables.probes import attractors, driven_net

W = attractors.WINDOW


def follow(
    step: Callable[[Any], Any], starts: np.ndarray, most: int = 30_000, least: int = 0
) -> attractors.Ends:
    """Ends of orbits of a map of states (M, S), from `starts`."""
    with jax.enable_x64(True):
        run = jax.jit(lambda x, v: driven_net.tangent_chunk(step, x, v))
        tangents = np.random.default_rng(0).normal(size=starts.shape)
        return attractors.follow(run, np.asarray(starts, float), tangents, most, least)


# ---- kinds (check 17) --------------------------------------------------------------------------


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


# ---- contraction, and scalar networks (check 9) ------------------------------------------------


def scalar(w: float) -> Callable[[Any], Any]:
    return lambda x: jnp.tanh(w * x)


@pytest.mark.parametrize(("w", "point"), [(1.5, 0.858560), (2.0, 0.957504), (3.0, 0.994902)])
def test_a_scalar_network_has_two_attractors_beyond_the_pitchfork(
    w: float, point: float, seed: int
) -> None:
    """Check 20 for w = 2: random starts find both."""
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


# ---- every tolerance from both sides -----------------------------------------------------------

INSIDE, OUTSIDE = 1 - 1e-3, 1 + 1e-3
"""Shares of a tolerance."""


def kind(
    period: int = 0, lyapunov: float = 0.0, change: float = 1.0, growth: float = 1.0,
    size: float = 2.0,
) -> str:  # fmt: skip
    given = (np.array([period]), *(np.array([v]) for v in (lyapunov, change, growth, size)))
    return attractors.kinds(*given)[0]


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ({"lyapunov": 0.005 * INSIDE}, "quasi_periodic"),
        ({"lyapunov": 0.005}, "quasi_periodic"),
        ({"lyapunov": 0.005 * OUTSIDE}, "chaotic"),
        ({"lyapunov": -0.005 * INSIDE}, "quasi_periodic"),
        ({"lyapunov": -0.005}, "quasi_periodic"),
        ({"lyapunov": -0.005 * OUTSIDE}, "slow"),
        ({"change": 1 + 0.03 * INSIDE}, "quasi_periodic"),
        ({"change": 1 + 0.03 * OUTSIDE}, "slow"),
        ({"change": 1 - 0.03 * INSIDE}, "quasi_periodic"),
        ({"change": 1 - 0.03 * OUTSIDE}, "slow"),
        ({"change": 2.0, "lyapunov": 0.1}, "chaotic"),
        ({"change": 2.0, "period": 2}, "period"),
        ({"period": 2, "lyapunov": 0.1}, "period"),
        ({"period": 1, "lyapunov": 0.1}, "fixed_point"),
        ({"growth": 1.5 * INSIDE}, "quasi_periodic"),
        ({"growth": 1.5}, "quasi_periodic"),
        ({"growth": 1.5 * OUTSIDE}, "unbounded"),
        ({"growth": 1.5 * OUTSIDE, "size": 1.0}, "quasi_periodic"),
        ({"growth": 1.5 * OUTSIDE, "size": OUTSIDE}, "unbounded"),
        ({"size": 1e8}, "quasi_periodic"),
        ({"size": 1e8 * OUTSIDE}, "unbounded"),
        ({"size": np.nan}, "unbounded"),
        ({"size": np.inf, "period": 1}, "unbounded"),
    ],
    ids=str,
)
def test_bounds_between_kinds(given: dict[str, Any], want: str) -> None:
    assert kind(**given) == want


def alternating(low: float, gap: float, drift: float = 0.0) -> np.ndarray:
    """Steps of `gap` up and down from `low`; every other step `drift` higher: (W, 1, 1)."""
    t = np.arange(W)
    return (low + gap * (t % 2) + drift * (t // 2))[:, None, None]


@pytest.mark.parametrize(("low", "size"), [(0.0, 1), (9.0, 10)])
def test_bounds_of_a_recurrence(low: float, size: float) -> None:
    """Steps of 1e-5 and recurrence to 1e-7, of 1 + |x|."""
    for share, want in ((INSIDE, 1), (OUTSIDE, 2)):
        period, residual = attractors.periods(alternating(low, share * 1e-5 * size))
        assert period.tolist() == [want]
        assert residual[0] == pytest.approx(share * 1e-5 if want == 1 else 0, rel=1e-4, abs=1e-12)
    for share, want in ((INSIDE, 2), (OUTSIDE, 0)):
        # An odd step beside the period's, so that the orbit is none of period 1.
        drift = share * 1e-7 * (size + 1)
        period, residual = attractors.periods(alternating(low, 1 - W * drift / 2, drift))
        assert period.tolist() == [want]
        assert residual[0] == pytest.approx(share * 1e-7 if want else 1 / (size + 1), rel=1e-2)
    loose = alternating(low, 1.0, 1e-4)
    assert attractors.periods(loose, 1e-3)[0].tolist() == [2]


def test_the_longest_period_is_64_and_the_least_one_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert attractors.WINDOW == 512
    for length, want in ((63, 63), (64, 64), (65, 0)):
        orbit = np.resize(rng.uniform(size=length), W)[:, None, None]
        assert attractors.periods(orbit)[0].tolist() == [want]
    assert attractors.periods(np.resize([0, 1, 2.0], W)[:, None, None])[0].tolist() == [3]


def judged(
    window: np.ndarray, growths: list[float], swings: list[float], sizes: list[float]
) -> attractors.Ends:
    listed = ([np.array([value]) for value in values] for values in (growths, swings, sizes))
    return attractors.look(window, *listed)


def noise(seed: int, size: float) -> np.ndarray:
    """An orbit of no period whose swing is `size`, in the whole window and in either half."""
    orbit = np.random.default_rng(seed).uniform(0, size, W)
    orbit[[3, -3]], orbit[[9, -9]] = 0, size
    return orbit[:, None, None]


def test_a_look_judges_by_later_half_last_swing_and_doubled_time(seed: int) -> None:
    window = noise(seed, 2.0)
    found = judged(window, [900.0, 800.0, 0.256, 0.768], [2.0], [2.0] * 4)
    assert found.lyapunov[0] == pytest.approx(0.001, rel=1e-12)
    assert (found.kind[0], found.steps[0]) == ("quasi_periodic", 4 * W)
    for share, want in ((INSIDE, "quasi_periodic"), (OUTSIDE, "slow")):
        swings = [50.0, 2.0 / (1 + share * 0.03)]
        assert judged(window, [0.0] * 4, swings, [2.0] * 4).kind[0] == want
    # The size when half as many steps were done is the second of four.
    for sizes, want in (
        ([2.0, 2.0 / (1.5 * OUTSIDE), 2.0, 2.0], "unbounded"),
        ([2.0, 2.0 / (1.5 * INSIDE), 2.0, 2.0], "quasi_periodic"),
        ([0.1, 2.0, 0.1, 2.0], "quasi_periodic"),
    ):
        assert judged(window, [0.0] * 4, [2.0], sizes).kind[0] == want
    # The first look has no other before it: halves are compared, and one chunk tells no growth.
    assert judged(window, [0.0, 0.0], [], [2.0, 2.0]).kind[0] == "quasi_periodic"
    assert judged(window, [0.0], [], [2.0]).kind[0] == "quasi_periodic"
    assert judged(window, [0.0, 0.0], [], [1.0, 2.0]).kind[0] == "unbounded"
    for factor in (0.9, 1.1):
        changing = window.copy()
        changing[W // 2 :] *= factor
        assert judged(changing, [0.0, 0.0], [], [2.0, 2.0]).kind[0] == "slow"
        # Later looks compare whole windows.
        whole = [float(np.ptp(changing))]
        assert judged(changing, [0.0] * 4, whole, [2.0] * 4).kind[0] == "quasi_periodic"


def test_what_has_all_but_stopped_shrinking_counts_as_still(seed: int) -> None:
    """A swing of less than a millionth of the one before; so do halves that never swung."""
    window = noise(seed, 3e-5)
    for share, want in ((INSIDE, "quasi_periodic"), (OUTSIDE, "slow")):
        swings = [3e-5 / (share * 1e-6)]
        assert judged(window, [0.0] * 4, swings, [2.0] * 4).kind[0] == want


def walk(*windows: np.ndarray, wild: int = 0) -> tuple[attractors.Chunk, list[int]]:
    """A map that shows these windows in turn, the last one for ever, and how often it ran; nearby
    orbits part in the first `wild` windows."""
    runs: list[int] = []

    def chunk(states: Any, tangents: Any) -> tuple[Any, Any, Any, Any]:
        runs.append(1)
        growth = np.full(1, 0.1 * W * (len(runs) <= wild))
        return states, tangents, growth, windows[min(len(runs), len(windows)) - 1]

    return chunk, runs


def test_an_orbit_is_followed_until_two_looks_agree_within_its_bounds(seed: int) -> None:
    """Looks come after 2, 4, 8 and 16 windows."""
    still, two, four = (
        np.resize(orbit, W)[:, None, None] for orbit in ([1.0], [0, 1.0], [0, 0.3, 0.6, 0.9])
    )
    restless = noise(seed, 1.0)

    def windows_of(*seen: np.ndarray, most: int = 10**6, least: int = 0, wild: int = 0) -> int:
        chunk, runs = walk(*seen, wild=wild)
        ends = attractors.follow(chunk, None, None, most, least)
        assert ends.steps.tolist() == [len(runs) * W]
        return len(runs)

    assert windows_of(still) == 4
    assert windows_of(still, least=4 * W) == 4
    assert windows_of(still, least=4 * W + 1) == 8
    assert windows_of(two, two, still) == 8
    assert windows_of(two, two, four) == 8
    assert windows_of(restless) == 4
    assert windows_of(restless, wild=2) == 8  # chaos at first, then none
    # Unsettled for ever: `slow`, by a swing that grows by half from look to look.
    growing = [restless * 1.5 ** np.log2(max(run, 2)) for run in range(1, 17)]
    assert windows_of(*growing, most=8 * W - 1) == 4
    assert windows_of(*growing, most=8 * W) == 8
    assert windows_of(*growing, most=16 * W - 1) == 8
    assert windows_of(*growing, most=16 * W) == 16


def ends_of(windows: list[np.ndarray], kind: Any, period: Any) -> attractors.Ends:
    """Ends of orbits with these last states, (W,) each."""
    kinds, periods = np.array(kind, object), np.array(period)
    rest = np.zeros(len(windows))
    states = np.stack(windows, 1)[:, :, None]
    return attractors.Ends(kinds, periods, rest, rest[:, None], rest, rest, states)


@pytest.mark.parametrize(
    ("kind", "period", "tolerance"),
    [("fixed_point", 1, 1e-3), ("period", 2, 1e-3), ("quasi_periodic", 0, 0.05),
     ("chaotic", 0, 0.05)],
)  # fmt: skip
def test_bounds_between_attractors(kind: str, period: int, tolerance: float) -> None:
    """Means and deviations that agree to .001 or .05 of 1 + their size."""
    signal = np.resize([1.0, -1.0], W) if period != 1 else np.zeros(W)
    for share, want in ((INSIDE, [0, 0]), (OUTSIDE, [0, 1])):
        apart = 3 * share * tolerance / (1 - share * tolerance)  # of 1 + |second mean|
        for own in ([signal + 2, signal + 2 + apart], [-signal - 2, -signal - 2 - apart]):
            found = attractors.told_apart(ends_of(own, [kind] * 2, [period] * 2), np.zeros(2))
            assert found.tolist() == want
    if period == 2:  # of one mean, and deviations of 1 and a little more
        for share, want in ((INSIDE, [0, 0]), (OUTSIDE, [0, 1])):
            wider = (1 + share * tolerance) / (1 - share * tolerance)
            own = [signal, wider * signal]
            found = attractors.told_apart(ends_of(own, [kind] * 2, [2] * 2), np.zeros(2))
            assert found.tolist() == want


def test_attractors_of_another_kind_period_or_group_are_others() -> None:
    same = [np.resize([1.0, -1.0], W)] * 4
    kinds = ["quasi_periodic", "chaotic", "slow", "chaotic"]
    found = attractors.told_apart(ends_of(same, kinds, [0] * 4), np.zeros(4))
    assert found.tolist() == [0, 1, -1, 1]
    found = attractors.told_apart(ends_of(same, ["period"] * 4, [2, 4, 2, 4]), np.zeros(4))
    assert found.tolist() == [0, 1, 0, 1]
    groups = np.array([0.1, 0.2, 0.2, 0.1])
    found = attractors.told_apart(ends_of(same, ["period"] * 4, [2, 4, 2, 4]), groups)
    assert found.tolist() == [0, 0, 1, 1]


def test_means_are_over_whole_periods() -> None:
    orbit = np.resize([0.0, 0.0, 3.0], W)  # 512 steps are 170 periods and two steps
    marks = attractors.signature(ends_of([orbit, orbit], ["period", "chaotic"], [3, 0]))
    np.testing.assert_allclose(marks[0], [1, np.sqrt(2)], rtol=1e-12)
    assert marks[1, 0] == pytest.approx(510 / 512, rel=1e-12)


def test_what_swings_by_less_than_a_billionth_has_no_frequency() -> None:
    wave = np.sin(0.3 * np.arange(W))
    wave /= np.ptp(wave)
    y = np.stack([1e-9 * INSIDE * wave, 1e-9 * OUTSIDE * wave], 1)[:, :, None]
    found = attractors.dominant_frequency(y)
    assert math.isnan(found[0])
    assert found[1] == pytest.approx(0.3, abs=np.pi / (16 * W))
