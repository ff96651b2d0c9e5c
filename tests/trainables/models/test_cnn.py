"""The convolutional network and its pretraining, against loops in NumPy and whole Jacobians."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.small_trials import check_rows, module_of
from trainables.core.activations import ACTIVATIONS
from trainables.core.hparams import lane_values
from trainables.declarations import PartError, Trial, builtin_registry
from trainables.lsc.conv_jacobians import ConvJacobians
from trainables.lsc.ffn_jacobians import Norm
from trainables.models.image_input import as_images, image_shape
from trainables.packs.pack import Pack
from trainables.tasks.base import make_task

CONFIG: dict[str, Any] = {
    "model": "cnn", "task": "digits", "layout": "flat", "depth": 2, "width": 3, "resize": 10,
    "pool": 2, "activation": "sin",
}  # fmt: skip


def of(**config: Any) -> Trial:
    return builtin_registry().resolve({**CONFIG, **config})


def convolved(a: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Images (B, R, W, C) and kernels (out, in, 3, 3), one pixel at a time."""
    rows, columns = a.shape[1] - 2, a.shape[2] - 2
    found = np.zeros((len(a), rows, columns, len(w)))
    for r in range(rows):
        for c in range(columns):
            window = a[:, r : r + 3, c : c + 3].transpose(0, 3, 1, 2)
            found[:, r, c] = np.einsum("bikl,oikl->bo", window, w)
    return found


def weights_of(module: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (np.asarray(own["w"], np.float64), np.asarray(own["b"], np.float64))
        for own in (tensors.values() for tensors in module.layers)
    ]


def test_the_network_is_its_formula(seed: int) -> None:
    one = of(resize=None)
    check_rows(one)
    module = module_of(one, seed=seed)
    for tensors in module.layers:  # biases of 0 would hide where they are added
        tensors.b[...] = jax.random.normal(jax.random.key(seed), tensors.b[...].shape)
    x = np.random.default_rng(seed).normal(size=(2, 1, 64))
    a = x.reshape(2, 8, 8, 1)
    *convs, (w, b), (w_out, b_out) = weights_of(module)
    for layer, (kernel, bias) in enumerate(convs):
        a = convolved(a, kernel)
        if layer == 2:
            a = a.reshape(2, 1, 2, 1, 2, 1).mean((2, 4))
        a = np.sin(a + bias)
    hidden = np.sin(a.reshape(2, -1) @ w.T + b)
    want = hidden @ w_out.T + b_out
    np.testing.assert_allclose(module(jnp.asarray(x, jnp.float32)), want, rtol=1e-4, atol=1e-5)


def test_images_are_read_in_every_layout() -> None:
    """Pixel (r, c) of a channel is where the layout of the task puts it."""
    image = np.arange(2 * 3 * 32 * 32, dtype=np.float32).reshape(2, 3, 32, 32)
    rows = image.transpose(0, 2, 1, 3).reshape(2, 32, 96)
    for layout, x in (("flat", image.reshape(2, 1, -1)), ("pixels", image.reshape(2, -1, 1)),
                      ("rows", rows)):  # fmt: skip
        one = of(task="cifar10", layout=layout)
        found = as_images(jnp.asarray(x), image_shape(one.sizes))
        np.testing.assert_array_equal(found, image.transpose(0, 2, 3, 1), err_msg=layout)


@pytest.mark.parametrize("layer", [0, 1, 2, 3, 4])
def test_a_block_s_jacobian_is_that_of_the_block(layer: int, seed: int) -> None:
    """Against `jacrev` of the block itself, made square as the other nets' are; by power iteration
    within 3 % of its exact radius."""
    module = module_of(of(), seed=seed)
    row, act = module.row, ACTIVATIONS["sin"]
    x = jnp.asarray(np.random.default_rng(seed).normal(size=(2, 1, 64)), jnp.float32)
    z = module.preactivations(x)
    w, b = module.layers[layer].w[...], module.layers[layer].b[...]
    below = row.images(x) if layer == 0 else z[layer - 1]
    key, rules = jax.random.key(seed), ConvJacobians(row)
    for outer, inner in ((True, False), (False, layer > 0)):

        def block(v: jax.Array, outer: bool = outer, inner: bool = inner) -> jax.Array:
            a = act(v) if inner else v
            found = row.linear(layer, w, a[None])[0] + b
            return (act(found) if outer else found).reshape(-1)

        given = below if inner or layer == 0 else act(below)
        whole = np.asarray(jax.vmap(jax.jacrev(block))(given)).reshape(2, row_size(row, layer), -1)
        choose = jax.random.split(key)[0]
        n, most = min(whole.shape[1:]), max(whole.shape[1:])
        kept = np.sort(jax.random.permutation(choose, most)[:n])
        square = whole[:, kept] if whole.shape[1] > n else whole[:, :, kept]
        want = np.abs(np.linalg.eigvals(square)).max(-1)
        a = below if layer == 0 else act(below)

        def radii(estimate: str, form: Any = (outer, inner), a: Any = a) -> jax.Array:
            return rules.measured(
                "sin", layer, w, b, a, None if layer == 0 else below, form, 1.0, key,
                Norm("radius", estimate),
            )[1]  # fmt: skip

        np.testing.assert_allclose(radii("exact"), want, rtol=2e-3, atol=1e-5)
        if n > 20:
            np.testing.assert_allclose(radii("power"), want, rtol=0.06)


def row_size(row: Any, layer: int) -> int:
    return row.size(layer + 1)


def radius_by_hand(weights: dict[str, np.ndarray], images: np.ndarray, seed: int) -> float:
    """Of the two blocks of the second convolution, whole Jacobians made square at random: mean over
    images (B, 10, 10, 1)."""
    z0 = convolved(images, weights["conv.0.w"]) + weights["conv.0.b"]
    h0 = np.sin(z0)
    z1 = convolved(h0, weights["conv.1.w"]) + weights["conv.1.b"]
    inputs, outputs = h0[0].size, z1[0].size
    units = np.eye(inputs).reshape(inputs, *h0.shape[1:])
    linear = convolved(units, weights["conv.1.w"]).reshape(inputs, outputs).T
    rng, found = np.random.default_rng(seed), []
    for sample in range(len(images)):
        above, below = np.cos(z1[sample]).ravel(), np.cos(z0[sample]).ravel()
        for whole in (above[:, None] * linear, linear * below):
            kept = np.sort(rng.permutation(inputs)[:outputs])
            found.append(np.abs(np.linalg.eigvals(whole[:, kept])).max())
    return float(np.mean(found))


@pytest.mark.slow
def test_pretraining_brings_convolutions_to_the_target(
    digits: dict[str, np.ndarray], seed: int
) -> None:
    """By power iteration to within 0.1 of it, measured apart from the pretraining; and every layer
    has its turn."""
    one = of(stage="lsc", lsc_steps=100, lsc_epochs=4, lsc_batch=2, lsc_estimate="power")
    pack = Pack([one], digits)
    pack.init()
    pixels = digits["train_images"][:12].astype(np.float64)
    pixels = (pixels - digits["train_images"].mean()) / digits["train_images"].std()
    images = np.asarray(jax.image.resize(pixels[..., None], (12, 10, 10, 1), "bilinear"))
    before = radius_by_hand(pack.weights(0), images, seed)
    found = [pack.epoch(epoch) for epoch in range(4)]
    after = radius_by_hand(pack.weights(0), images, seed)
    assert abs(after - 1) < min(0.1, abs(before - 1) / 2)
    assert float(found[-1].metrics["radius"][0]) == pytest.approx(after, abs=0.1)
    assert all(float(result.metrics["skipped"][0]) == 0 for result in found)
    layers = {int(layer) for result in found for layer in result.probes["lsc"]["layer"][0]}
    assert layers == set(range(5))


def test_images_too_small_and_jacobians_too_large_are_refused() -> None:
    with pytest.raises(PartError, match="lower depth to at most 2, or raise resize"):
        check_rows(of(depth=4, resize=8))
    large = of(stage="lsc", width=200, task="digits")
    with pytest.raises(PartError, match="set lsc_estimate=power, or lower width or resize"):
        large.stage.builder()(large, make_task(large), lane_values(large))
