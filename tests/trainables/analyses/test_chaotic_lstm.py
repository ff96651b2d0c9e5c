"""The chaotic LSTM and smoothness where it is known (docs/specs/ribeiro2020.md, checks 5 to 8)."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainables.analyses import chaotic_lstm as family
from trainables.core.derivatives import in_space, on_line
from trainables.declarations import ConfigError, builtin_registry
from trainables.packs.pack import Pack
from trainables.probes import attractors
from trainables.probes.smoothness import secants

FIRST = [
    (0.32282896, -1.506e-5), (-0.00439385, 0.01229389), (-0.0183284, 0.02372341),
    (-0.0386133, -0.06672914), (0.08968429, 0.08137925),
]  # fmt: skip


def analysed(**config: Any) -> dict[str, dict[str, np.ndarray]]:
    pack = Pack([builtin_registry().resolve(config)], {})
    pack.init()
    return pack.epoch(0).probes


def ends(*s: float, start: str = "standard", most: int = 65_536) -> attractors.Ends:
    starts = np.tile(family.STARTS[start], (len(s), 1))
    return family.ends_of(np.array(s), starts, most)


# ---- an independent run in NumPy ---------------------------------------------------------------


# Of gates i, f, g and o, side by side.
GATES = np.concatenate(
    [[[-1, -4], [-3, -2]], [[-2, 6], [0, -6]], [[-1, -6], [6, -9]], [[4, 1], [-9, -7]]]
).T.astype(float)


def plain_step(s: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The published equations with the published matrices; (M,) and (M, 2)."""
    z = s[:, None] * (h @ GATES)
    open_ = 1 / (1 + np.exp(-z))
    c = c * open_[:, 2:4] + np.tanh(z[:, 4:6]) * open_[:, :2]
    return np.tanh(c) * open_[:, 6:], c


def plain_kinds(s: np.ndarray, burn_in: int = 40_000) -> list[tuple[str, int]]:
    """Kind and period of each s: recurrence to 1e-6, else growth of a nearby orbit's distance."""
    h = c = np.full((len(s), 2), 0.5)
    for _ in range(burn_in):
        h, c = plain_step(s, h, c)
    track, near, growth = [], (h + 1e-9, c), np.zeros(len(s))
    for _ in range(4000):
        h, c = plain_step(s, h, c)
        track.append(np.concatenate([h, c], 1))
        near = plain_step(s, *near)
        gap = np.concatenate([near[0] - h, near[1] - c], 1)
        size = np.maximum(np.linalg.norm(gap, axis=1), 1e-300)
        growth += np.log(size / 1e-9)
        scale = (1e-9 / size)[:, None]
        near = h + gap[:, :2] * scale, c + gap[:, 2:] * scale
    orbit, found = np.stack(track[-256:]), []
    for m in range(len(s)):
        periods = [p for p in range(1, 65) if np.abs(orbit[p:, m] - orbit[:-p, m]).max() < 1e-6]
        if periods:
            found.append(("fixed_point" if periods[0] == 1 else "period", periods[0]))
        else:
            found.append(("chaotic" if growth[m] / 4000 > 0.005 else "other", 0))
    return found


# ---- orbit (check 5) ---------------------------------------------------------------------------


def test_the_first_states_are_the_published_ones() -> None:
    with jax.enable_x64(True):
        h = np.asarray(family.orbit(jnp.asarray(family.WEIGHTS), family.START, 5))[:, :2]
    np.testing.assert_allclose(h, FIRST, atol=1e-7)


def test_the_attractor_s_box_and_exponents() -> None:
    found = ends(1.0)
    assert found.kind[0] == "chaotic"
    np.testing.assert_allclose(found.spectrum[0, :2], [0.169, -0.384], atol=0.005)
    np.testing.assert_allclose(found.spectrum[0, 2:], [-1.68, -4.62], atol=0.03)
    with jax.enable_x64(True):
        h = np.asarray(family.orbit(jnp.asarray(family.WEIGHTS), family.START, 20_100))[100:, :2]
    np.testing.assert_allclose(h.min(0), [-0.087, -0.171], atol=0.005)
    np.testing.assert_allclose(h.max(0), [0.224, 0.252], atol=0.005)
    np.testing.assert_allclose(h.mean(0), [0.0326, 0.0168], atol=0.005)
    np.testing.assert_allclose(h.std(0), [0.0788, 0.1020], rtol=0.05)


# ---- bifurcations (check 6) --------------------------------------------------------------------

KINDS = {
    0.70: ("fixed_point", 1), 0.80: ("period", 3), 0.86: ("period", 6), 0.88: ("period", 12),
    0.90: ("chaotic", 0), 1.0: ("chaotic", 0), 1.5: ("period", 4), 2.0: ("period", 4),
}  # fmt: skip


def test_kinds_along_the_line_and_the_points_between_them() -> None:
    doubling = [0.8458, 0.8478, 0.8764, 0.8784, 0.8832, 0.8852]
    found = ends(*KINDS, *doubling)
    pairs = list(zip(found.kind.tolist(), found.period.tolist(), strict=True))
    assert pairs[: len(KINDS)] == list(KINDS.values())
    assert [p for _, p in pairs[len(KINDS) :]] == [3, 6, 6, 12, 12, 24]
    assert found.lyapunov[0] == pytest.approx(-0.1418, abs=1e-3)


def test_ten_more_points_agree_with_an_independent_run(seed: int) -> None:
    """Drawn where no bifurcation is within .002, where either run would need more steps."""
    rng = np.random.default_rng([seed, 20])
    calm = [(0.5, 0.74), (0.75, 0.84), (0.85, 0.875), (0.89, 0.925), (1.0, 1.07), (1.48, 2.0)]
    s = np.array([rng.uniform(*calm[k % len(calm)]) for k in range(10)])
    found = ends(*s)
    for value, kind, period, want in zip(s, found.kind, found.period, plain_kinds(s), strict=True):
        assert (kind, period) == want, value


def test_the_origin_loses_its_stability_where_the_closed_form_says() -> None:
    point = (5 + 4 * math.sqrt(10)) / 22.5
    assert point == pytest.approx(0.7844049, abs=1e-7)
    with jax.enable_x64(True):
        below, at, above = family.origin_modulus(np.array([point - 1e-4, point, point + 1e-4]))
    assert below < 1 < above
    assert at == pytest.approx(1, abs=1e-9)
    near = ends(0.782, 0.787, start="origin")
    assert (near.kind[0], near.period[0]) == ("fixed_point", 1)
    assert near.period[1] != 1


def test_two_attractors_live_side_by_side() -> None:
    s = np.full(2, 0.77)
    found = family.ends_of(s, np.stack(list(family.STARTS.values())), 16_384)
    assert found.period.tolist() == [3, 1]
    assert attractors.told_apart(found, s).tolist() == [0, 1]


# ---- cost (check 7) ----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_cost_profile_is_flat_then_rugged_then_smooth() -> None:
    rows = analysed(stage="chaos_cost", scan_points=5001)["chaos_cost"]
    s, v = rows["s"], rows["cost"]

    def part(low: float, high: float) -> np.ndarray:
        return v[(s > low) & (s < high)]

    def minima(low: float, high: float) -> int:
        own = part(low, high)
        return int(np.sum((own[1:-1] < own[:-2]) & (own[1:-1] < own[2:])))

    assert np.abs(np.diff(part(0.5, 0.74))).sum() < 1e-4
    assert minima(0.9, 1.1) > 100
    assert minima(1.5, 2) < 5
    assert minima(0.76, 0.84) == 0
    assert v[s == 1] == [0]
    assert np.mean(part(0.5, 0.74)) == pytest.approx(0.0091, abs=1e-4)
    # The derivative is that of the profile where it is smooth.
    smooth = (s > 1.5) & (s < 2)
    rise = np.gradient(v[smooth], s[smooth])[5:-5]
    np.testing.assert_allclose(rows["slope"][smooth][5:-5], rise, atol=2e-3)


def test_a_plane_holds_the_line() -> None:
    rows = analysed(stage="chaos_plane", plane_points=9)["chaos_plane"]
    on = rows["s2"] == 0
    s, v = rows["s1"][on], rows["cost"][on]
    assert v[s == 1] == [0]
    line = family.costs(s, np.tile(family.between(100, 200, 200), (len(s), 1)))["cost"]
    calm = (s < 0.74) | (s > 1.5)
    np.testing.assert_allclose(v[calm], line[calm], atol=1e-9)
    assert len(rows["cost"]) == len(np.unique(rows["s1"])) * len(np.unique(rows["s2"]))


# ---- smoothness (check 8) ----------------------------------------------------------------------


@pytest.mark.parametrize("length", [10, 100, 400])
def test_a_power_has_the_slopes_of_its_closed_form(length: int) -> None:
    found = family.power_costs(np.ones(1), family.between(0, length, length)[None])
    assert found["slope"][0] == pytest.approx(length + 1, rel=1e-9)
    assert found["bend"][0] == pytest.approx((length + 1) * (4 * length - 1) / 3, rel=1e-9)
    assert found["grad_norm"][0] == pytest.approx(found["slope"][0], rel=1e-9)
    assert found["hvp_norm"][0] == pytest.approx(found["bend"][0], rel=1e-9)


def rates(rows: dict[str, np.ndarray], s: float, column: str) -> float:
    own = np.isclose(rows["s"], s)
    return float(np.polyfit(rows["length"][own], np.log(np.abs(rows[column][own])), 1)[0])


def test_a_power_grows_at_its_rate() -> None:
    lengths = np.array([200, 300, 400])
    for theta, want in ((1.05, 2 * math.log(1.05)), (0.9, None)):
        shares = np.stack([family.between(0, int(n), 400) for n in lengths])
        slopes = family.power_costs(np.full(3, theta), shares)["slope"]
        rate = np.polyfit(lengths, np.log(slopes), 1)[0]
        if want is None:
            assert -0.01 < rate < 0  # like 1 / N
        else:
            assert rate == pytest.approx(want, rel=0.02)


def test_chaos_grows_twice_as_fast_in_curvature_and_order_does_not() -> None:
    rows = analysed(stage="chaos_length")["chaos_length"]
    assert 0.16 <= rates(rows, 0.95, "slope") <= 0.24
    for s in (0.95, 1.05):
        ratio = rates(rows, s, "bend") / rates(rows, s, "slope")
        assert ratio == pytest.approx(2, abs=0.2)
    for s in (0.6, 1.7):
        assert abs(rates(rows, s, "slope")) < 0.02
        assert abs(rates(rows, s, "bend")) < 0.02
    # The line's direction is as good as any other: norms in all weights grow alike.
    assert rates(rows, 0.95, "grad_norm") == pytest.approx(rates(rows, 0.95, "slope"), abs=0.02)


def test_norms_and_secants_of_a_quadratic(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(4, 4))
    a, at, d = a + a.T, rng.normal(size=4), rng.normal(size=4)
    with jax.enable_x64(True):
        matrix = jnp.asarray(a)

        def cost(w: jax.Array) -> jax.Array:
            return w @ matrix @ w / 2

        @jax.jit
        def measured(at: jax.Array, d: jax.Array) -> Any:
            line = on_line(lambda t: cost(t * d), jnp.float64(1.5))
            return in_space(cost, at, d), secants(cost, at, d), line

        (gradient, turned), (steep, beta), (value, slope, bend) = measured(at, d)
    unit = d / np.linalg.norm(d)
    assert float(gradient) == pytest.approx(np.linalg.norm(a @ at), rel=1e-9)
    assert float(turned) == pytest.approx(np.linalg.norm(a @ unit), rel=1e-9)
    assert float(beta) == pytest.approx(np.linalg.norm(a @ unit), rel=1e-6)
    assert float(steep) == pytest.approx(abs(unit @ a @ at), rel=0.05)
    want = d @ a @ d
    np.testing.assert_allclose([value, slope, bend], [1.125 * want, 1.5 * want, want], rtol=1e-9)


def test_wrong_lines_are_refused() -> None:
    registry = builtin_registry()
    with pytest.raises(ConfigError, match="scan_from must be less than scan_to"):
        registry.resolve({"stage": "chaos_scan", "scan_from": 2.0, "scan_to": 1.0})
    with pytest.raises(ConfigError, match="cost_burn_in must be less"):
        registry.resolve({"stage": "chaos_plane", "cost_steps": 50})
    with pytest.raises(ConfigError, match="at must be numbers"):
        registry.resolve({"stage": "chaos_length", "at": "x"})
