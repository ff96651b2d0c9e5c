"""Declared against real shapes, parameter counts and initial moments
(docs/specs/vanishing.md, check 2)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.support.small_trials import check_rows, trial
from trainables.declarations import Sizes, builtin_registry
from trainables.models.elman_stack import RecurrentStack
from trainables.packs.pack import Pack


@pytest.mark.parametrize("model", ["vanilla_rnn", "residual_rnn"])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_declared_rows_are_the_real_ones(model, depth):
    check_rows(trial(model=model, depth=depth))


@pytest.fixture(scope="module")
def defaults():
    """One pack of all schemes at the study's size: L 20, H 256, one input, ten classes."""
    registry = builtin_registry()
    schemes = ("default", "xavier", "he")
    trials = [
        registry.resolve({"model": "vanilla_rnn", "task": "gaussian", "init": scheme})
        for scheme in schemes
    ]
    pack = Pack(trials, {})
    pack.init()
    return {scheme: pack.weights(i) for i, scheme in enumerate(schemes)}, pack.parameter_count


def test_parameter_count_at_defaults(defaults):
    weights, count = defaults
    assert count == 2_568_970
    assert len(weights["default"]) == 82


def test_default_scheme(defaults):
    weights = defaults[0]["default"]
    everything = np.concatenate([w.ravel() for w in weights.values()])
    assert np.abs(everything).max() <= 1 / 16
    assert everything.std() == pytest.approx(1 / (16 * np.sqrt(3)), rel=0.01)
    assert abs(everything.mean()) < 1e-4


@pytest.mark.parametrize(("scheme", "gain"), [("xavier", 1.0), ("he", 2.0)])
def test_glorot_and_kaiming(defaults, scheme, gain):
    weights = defaults[0][scheme]
    for name, value in weights.items():
        if name.rsplit(".", 1)[1].startswith("b"):
            assert not value.any()
        elif name.endswith("w_hh"):
            assert np.abs(value.T @ value - np.eye(256)).max() < 1e-5
    hidden = np.stack([weights[f"rnn.{i}.w_ih"] for i in range(1, 20)])
    # Both give variance gain / 256: Glorot 2 / (256 + 256), Kaiming 2 / 256.
    assert hidden.var() == pytest.approx(gain / 256, rel=0.01)
    assert hidden[0].ravel()[:5].tolist() != hidden[1].ravel()[:5].tolist()
    bound = {"xavier": np.sqrt(6 / 257), "he": np.sqrt(6)}[scheme]
    first = np.abs(weights["rnn.0.w_ih"])
    assert 0.95 * bound < first.max() <= bound


def test_initial_weights_depend_on_the_seed_only(defaults):
    a, b, c = (trial(seed=s, init=i) for s, i in ((1, "default"), (2, "default"), (1, "xavier")))
    wide, narrow = Pack([a, b, c], {}, width=5), Pack([b, a], {}, lanes="vmap")
    wide.init()
    narrow.init()
    for one, two in ((0, 1), (1, 0)):
        left, right = wide.weights(one), narrow.weights(two)
        assert all(np.array_equal(left[name], right[name]) for name in left)
    first, second = wide.weights(0), wide.weights(1)
    assert not any(np.array_equal(first[name], second[name]) for name in first)


def test_the_first_recurrent_matrices_are_scaled_and_nothing_else(seed: int) -> None:
    plain, scaled = (trial(seed=seed, init="xavier", w_hh_factor=scale) for scale in (1.0, 1.5))
    assert plain.program == scaled.program, "it changes the first weights alone"
    assert plain.id == trial(seed=seed, init="xavier").id
    pack = Pack([plain, scaled], {}, lanes="vmap")
    pack.init()
    first, second = pack.weights(0), pack.weights(1)
    for name, value in first.items():
        factor = 1.5 if name.endswith("w_hh") else 1
        np.testing.assert_allclose(second[name], factor * value, rtol=1e-6)


@pytest.mark.parametrize("alpha", [None, 0.5])
def test_dropout_is_of_what_a_layer_hands_to_the_next(alpha: float | None) -> None:
    """With w_ih of the upper layer the identity and no recurrence, its state shows the mask: 0, or
    what it was given over the share that is kept; a skip passes it by."""
    net: Any = RecurrentStack(Sizes(3, 6, 2), 2, 6, "relu", "default", nnx.Rngs(0), alpha,
                              dropout=0.25)  # fmt: skip
    net.w_ih[...], net.w_hh[...] = jnp.eye(6)[None], jnp.zeros((2, 6, 6))
    net.b_ih[...], net.b_hh[...] = jnp.zeros((2, 6)), jnp.zeros((2, 6))
    net.w_in[...] = jnp.eye(6)
    x = jax.random.uniform(jax.random.key(1), (400, 3, 6), minval=0.5, maxval=1)
    net.train()
    below, out = (jnp.swapaxes(each.values, 0, 1) for each in net.outputs_by_layer(x)[:2])
    np.testing.assert_allclose(below, x, rtol=1e-6)
    state = out if alpha is None else (out - x) / alpha
    dropped = np.asarray(jnp.abs(state) < 1e-4)
    assert dropped.mean() == pytest.approx(0.25, abs=0.02)
    np.testing.assert_allclose(np.where(dropped, 0, state), np.where(dropped, 0, x / 0.75),
                               rtol=1e-4)  # fmt: skip
    net.eval()
    np.testing.assert_allclose(net.outputs_by_layer(x)[1].values[0],
                               x[:, 0] * (1 if alpha is None else 1.5), rtol=1e-6)  # fmt: skip
