"""Norms and rescaling at the edges of float32."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.core.norms import safe_norm, segment_norms, smallest_nonzero
from trainables.optim.clipping import rescale


@pytest.mark.parametrize("scale", [1e-35, 1e-30, 1e-19, 1.0, 1e19, 1e37])
def test_norm_keeps_its_scale(seed, scale):
    x = np.random.default_rng(seed).normal(size=(3, 17)).astype(np.float32) * np.float32(scale)
    want = np.sqrt((x.astype(np.float64) ** 2).sum(1))
    np.testing.assert_allclose(safe_norm(jnp.asarray(x), axis=(1,)), want, rtol=1e-6)
    np.testing.assert_allclose(safe_norm(jnp.asarray(x)), np.sqrt((want**2).sum()), rtol=1e-6)


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=8),
    st.integers(-28, 28),
)
def test_norm_scales_exactly_with_powers_of_two(values, exponent):
    x = np.array(values, np.float32)
    x = np.where(np.abs(x) < 1e-3, np.float32(0), x)
    norm = float(safe_norm(jnp.asarray(x)))
    assert norm == pytest.approx(np.linalg.norm(x.astype(np.float64)), rel=1e-6)
    scale = np.float32(2.0) ** exponent
    assert float(safe_norm(jnp.asarray(x * scale))) == norm * float(scale)


@pytest.mark.parametrize("value", [1e30, 9e37, 1.9e38])
def test_a_norm_near_the_largest_float_is_not_zero_in_compiled_code(value):
    x = jnp.full((2, 3), value, jnp.float32)
    want = np.full(2, value * 3**0.5)
    np.testing.assert_allclose(jax.jit(lambda x: safe_norm(x, axis=(1,)))(x), want, rtol=1e-6)


def test_norm_of_zeros_and_of_non_finite_values():
    assert float(safe_norm(jnp.zeros(5))) == 0.0
    assert float(safe_norm(jnp.array([0.0, jnp.inf]))) == np.inf
    assert np.isnan(float(safe_norm(jnp.array([1.0, jnp.nan]))))
    assert safe_norm(jnp.zeros((0, 4)), axis=(1,)).shape == (0,)


def test_mixed_scales_in_one_norm():
    x = jnp.array([3e-30, 4e-30, 1e-38])
    assert float(safe_norm(x)) == pytest.approx(5e-30, rel=1e-6)


def test_segments():
    norms = jnp.array([3e-30, 2.0, 4e-30, 0.0])
    found = segment_norms(norms, jnp.array([0, 1, 0, 2]), 3)
    np.testing.assert_allclose(found, [5e-30, 2.0, 0.0], rtol=1e-6)
    spoiled = segment_norms(norms.at[1].set(jnp.nan), jnp.array([0, 1, 0, 2]), 3)
    assert np.isnan(spoiled).tolist() == [False, True, False]


def test_smallest_nonzero_norm():
    assert float(smallest_nonzero(jnp.array([0.0, 2e-30, 1.0]))) == pytest.approx(2e-30)
    assert float(smallest_nonzero(jnp.zeros(3))) == 0.0
    assert float(smallest_nonzero(jnp.array([jnp.nan, 2.0]))) == 2.0


def _rescaled(norm: float, clip: float | None, floor: float | None, rule: str = "exact"):
    gradients = {"a": jnp.array([0.6 * norm, 0.0]), "b": jnp.array([0.8 * norm])}
    ceiling = None if clip is None else jnp.float32(clip)
    least = None if floor is None else jnp.float32(floor)
    scaled, after = rescale(gradients, jnp.float32(norm), ceiling, least, rule)
    values = np.concatenate([scaled["a"], scaled["b"]]).astype(np.float64)
    return np.sqrt((values**2).sum()), float(after), scaled


@pytest.mark.parametrize(
    ("norm", "clip", "floor", "rule", "want"),
    [
        (2.0, 0.5, None, "exact", 0.5),
        (0.4, 0.5, None, "exact", 0.4),
        (2.0, np.nan, 0.0, "exact", 2.0),
        (1e-9, None, 1e-3, "exact", 1e-3),
        # The source's epsilon dominates: 1e-9 * 1e-3 / (1e-9 + 1e-8).
        (1e-9, None, 1e-3, "published", 1e-3 * 1e-9 / 1.1e-8),
        (1e-2, None, 1.0, "published", 1.0 * 1e-2 / (1e-2 + 1e-8)),
        (1e-30, None, 10.0, "exact", 10.0),
        (1e-37, np.nan, 100.0, "exact", 100.0),
        (0.0, 0.5, 1.0, "exact", 0.0),
        (0.0, 0.5, 1.0, "published", 0.0),
        (2.0, None, 1.0, "exact", 2.0),
        # Both apply where the floor exceeds the ceiling: clipped to .5, then scaled by 4 / 2.
        (2.0, 0.5, 4.0, "exact", 1.0),
        (1e30, 0.5, None, "exact", 0.5),
    ],
)
def test_ceiling_and_floor(norm, clip, floor, rule, want):
    measured, claimed, _ = _rescaled(norm, clip, floor, rule)
    assert measured == pytest.approx(want, rel=1e-5)
    assert claimed == pytest.approx(want, rel=1e-5)


def test_gradients_within_bounds_are_untouched_to_the_bit(seed):
    value = jnp.asarray(np.random.default_rng(seed).normal(size=50), jnp.float32)
    scaled, _ = rescale(value, safe_norm(value), jnp.float32(1e3), jnp.float32(1e-3))
    assert np.array_equal(scaled, value)


def test_non_finite_gradients_are_left_alone():
    value = jnp.array([jnp.inf, 1.0])
    scaled, norm = rescale(value, jnp.float32(jnp.inf), jnp.float32(1.0), jnp.float32(2.0))
    assert np.array_equal(scaled, value)
    assert float(norm) == np.inf
