"""The feed-forward network: declared against real tensors, its forward pass, its weights."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.support.small_trials import check_rows, trial
from trainables.declarations import Sizes, Trial, builtin_registry
from trainables.models.feedforward import ACTIVATIONS, FeedForward, drawn, slope_at_input
from trainables.packs.pack import Pack


def _ffn(**config: Any) -> Trial:
    return trial(**{"model": "ffn", "init": "glorot_normal", **config})


@pytest.mark.parametrize(
    ("task", "count"), [("mnist", 580_618), ("cifar10", 873_482), ("cifar100", 885_092)]
)
def test_parameters_of_the_published_networks(task, count):
    """30 layers of 128 units (docs/specs/herranz2023.md, 2.1)."""
    one = builtin_registry().resolve({"model": "ffn", "task": task, "layout": "flat"})
    assert check_rows(one) == count


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_declared_rows_are_the_real_ones(depth):
    check_rows(_ffn(depth=depth))


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_forward_pass_layer_by_layer(seed, activation):
    """Against the plain loop in float64, from inputs of several time steps."""
    rng = np.random.default_rng(seed)
    sizes = Sizes(5, 3, 4, 8, 8, 8, 8)
    module = FeedForward(sizes, 3, 6, activation, "he_normal", nnx.Rngs(seed))
    module.b[...] = jnp.asarray(rng.normal(size=(3, 6)), jnp.float32)
    x = rng.normal(size=(8, 5, 3)).astype(np.float32)
    numpy: dict[str, Any] = {
        "sin": np.sin, "cos": np.cos, "tanh": np.tanh,
        "relu": lambda z: np.maximum(z, 0), "swish": lambda z: z / (1 + np.exp(-z)),
        "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    }  # fmt: skip
    weights = [np.asarray(module.w_in[...]), *np.asarray(module.w[...])]
    h, z = x.reshape(8, 15).astype(np.float64), []
    for w, b in zip(weights, np.asarray(module.b[...]), strict=True):
        z.append(h @ w.T.astype(np.float64) + b)
        h = numpy[activation](z[-1])

    @nnx.jit
    def run(module: FeedForward, x: jax.Array, z: jax.Array) -> Any:
        return module.preactivations(x), module(x), slope_at_input(z, activation)

    before, outputs, found = run(module, jnp.asarray(x), jnp.asarray(z[0], jnp.float32))
    np.testing.assert_allclose(before, z, rtol=1e-4, atol=1e-5)
    want = h @ np.asarray(module.w_out[...], np.float64).T
    np.testing.assert_allclose(outputs, want, rtol=1e-4, atol=1e-5)
    shifted = [numpy[activation](z[0] + step) for step in (1e-6, -1e-6)]
    np.testing.assert_allclose(found, (shifted[0] - shifted[1]) / 2e-6, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("scheme", "gain"), [("glorot_normal", 1.0), ("he_normal", 2.0)])
def test_truncated_normal_weights(seed, scheme, gain):
    stacked = np.asarray(drawn(jax.random.key(seed), scheme, (20, 128, 128)))
    assert stacked.var() == pytest.approx(gain / 128, rel=0.01)
    # Cut at two standard deviations of a normal whose own is larger, so that this one is as asked.
    edge = 2 * np.sqrt(gain / 128) / 0.87962566103423978
    assert 0.98 * edge < np.abs(stacked).max() <= edge
    assert not np.array_equal(stacked[0], stacked[1])
    wide = np.asarray(drawn(jax.random.key(seed), scheme, (128, 784)))
    fan = (128 + 784) / 2 if scheme == "glorot_normal" else 784
    assert wide.var() == pytest.approx(gain / fan, rel=0.02)


def test_biases_start_at_zero_and_the_scheme_splits_no_pack():
    pack = Pack([_ffn(seed=1), _ffn(seed=1, init="he_normal"), _ffn(seed=2)], {}, lanes="vmap")
    pack.init()
    glorot, he, other = (pack.weights(i) for i in range(3))
    for name, value in glorot.items():
        if name.endswith("b"):
            assert not value.any()
            assert not he[name].any()
        else:
            assert not np.array_equal(value, he[name])
            assert not np.array_equal(value, other[name])


@pytest.mark.slow
def test_it_trains(digits):
    """Digits, three layers: from chance to most of them right in two epochs."""
    one = builtin_registry().resolve(
        {
            "model": "ffn", "task": "digits", "layout": "flat", "depth": 3, "width": 64,
            "optimizer": "adabelief", "lr": 1e-2,
        }
    )  # fmt: skip
    pack = Pack([one], digits)
    pack.init()
    first, second = pack.epoch(0), pack.epoch(1)
    assert first.epochs["loss_first"][0] > 2
    assert second.epochs["test_accuracy"][0] > 0.8
