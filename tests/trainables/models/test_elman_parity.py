"""The fast stacks against slow loops and finite differences (docs/specs/vanishing.md, check 1)."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from tests.support.small_trials import SlowStack, filled, trial
from trainables.core.layout import Layout, by_path
from trainables.declarations import Sizes
from trainables.models.elman_stack import RecurrentStack
from trainables.packs.pack import Pack
from trainables.training.network import Network


def _drawn(seed: int, activation: str, alpha: float | None):
    """A stack of drawn shape and weights, its slow twin, and a batch."""
    rng = np.random.default_rng([seed, 7])
    depth, width, length, samples, features, classes = rng.integers(
        [2, 2, 3, 2, 1, 2], [5, 8, 9, 6, 4, 6]
    ).tolist()
    sizes = Sizes(length, features, classes, samples, 0, 0, samples)
    build = partial(RecurrentStack, sizes, depth, width, activation, "default", alpha=alpha)
    module = filled(lambda: build(nnx.Rngs(0)), seed)
    if alpha is not None:
        module.alpha[...] = jnp.float32(alpha)
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    layout = Layout(module.slots(), params)
    named = layout.named({k: np.asarray(v) for k, v in by_path(params).items()})
    x = rng.normal(size=(samples, length, features)).astype(np.float32)
    y = rng.integers(0, classes, samples)
    print(f"seed {seed}: L {depth} H {width} T {length} B {samples} F {features} C {classes}")

    def loss(params: nnx.State, gauges: jax.Array | None = None) -> jax.Array:
        net = nnx.merge(graph, params, rest)
        logits = net(x) if gauges is None else net.tapped(x, gauges)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(y)))

    return module, params, layout, SlowStack(named, activation, alpha), loss, x, y


CASES = [("tanh", None), ("relu", None), ("tanh", 0.7), ("relu", 1.0)]


@pytest.mark.parametrize(("activation", "alpha"), CASES)
@pytest.mark.slow
def test_forward_and_gradients_equal_slow_loops(seed, activation, alpha):
    module, params, layout, slow, loss, x, y = _drawn(seed, activation, alpha)
    logits, _, _ = slow.forward(x)
    run = nnx.jit(lambda module, x: module(x))
    np.testing.assert_allclose(run(module, x), logits, rtol=1e-4, atol=1e-6)
    gradients = jax.jit(jax.grad(loss))(params)
    found = layout.named({k: np.asarray(v) for k, v in by_path(gradients).items()})
    want, _ = slow.gradients(x, y)
    assert found.keys() == want.keys()
    for name, value in want.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5 * scale, err_msg=name)


@pytest.mark.parametrize(("activation", "alpha"), CASES)
def test_slow_loops_equal_finite_differences(seed, activation, alpha):
    *_, slow, _, x, y = _drawn(seed, activation, alpha)
    gradients, _ = slow.gradients(x, y)
    rng, step = np.random.default_rng(seed), 1e-6
    for name, weight in slow.w.items():
        at = tuple(rng.integers(0, n) for n in weight.shape)
        kept, sides = weight[at], []
        for sign in (1, -1):
            weight[at] = kept + sign * step
            sides.append(slow.loss(x, y))
        weight[at] = kept
        slope = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(gradients[name][at], slope, rtol=1e-4, atol=1e-8, err_msg=name)


@pytest.mark.parametrize(("activation", "alpha"), CASES)
def test_taps_read_the_gradient_of_every_state(seed, activation, alpha):
    _, params, _, slow, loss, x, y = _drawn(seed, activation, alpha)
    gauges = jnp.zeros((slow.depth, x.shape[1]))
    tapped, norms = jax.jit(jax.value_and_grad(loss, argnums=1))(params, gauges)
    _, d_h = slow.gradients(x, y)
    want = np.sqrt((d_h**2).sum((2, 3)))
    np.testing.assert_allclose(norms, want, rtol=1e-4, atol=1e-6 * want.max())
    np.testing.assert_allclose(tapped, jax.jit(loss)(params), rtol=1e-6)


@pytest.mark.slow
def test_timeline_of_a_pack_equals_slow_loops():
    one = trial(seed=4, seq_len=9, timeline_points=4)
    pack = Pack([one], {}, width=2)
    pack.init()
    line = pack.probe("timeline")
    assert line is not None
    assert line["t"].tolist() == [0, 3, 5, 8] * 3
    assert line["layer"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert np.isnan(line["grad_norm"][1]).all()
    assert isinstance(pack._engine, Network)
    task = pack._engine.task
    hparams = jax.tree.map(lambda leaf: leaf[0], pack._values)
    entry = jax.tree.map(lambda leaf: leaf[0], task.probe(jax.random.key(4), hparams))
    x, y, _ = task.batch({}, entry, hparams)
    slow = SlowStack(pack.weights(0), "tanh", None)
    _, d_h = slow.gradients(np.asarray(x), np.asarray(y))
    want = np.sqrt((d_h**2).sum((2, 3)))[:, [0, 3, 5, 8]].ravel()
    np.testing.assert_allclose(line["grad_norm"][0], want, rtol=1e-4)
