"""Convolutional stacks against loops over pixels in NumPy."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.support.small_trials import filled
from trainables.declarations import PartError, Sizes
from trainables.models.conv_stack import ConvStack
from trainables.models.image_input import as_images, image_shape


def _conv(x: np.ndarray, layer: Any) -> np.ndarray:
    """3 x 3 with zeros around, x (B, R, W, C)."""
    kernel, bias = np.asarray(layer.kernel[...], float), np.asarray(layer.bias[...], float)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    found = np.zeros((*x.shape[:3], kernel.shape[-1]))
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            window = padded[:, row : row + 3, column : column + 3]
            found[:, row, column] = np.einsum("bijc,ijco->bo", window, kernel) + bias
    return found


def _normed(x: np.ndarray, layer: Any) -> np.ndarray:
    """As evaluated: by running moments, epsilon 1e-5."""
    mean, var = np.asarray(layer.mean[...]), np.asarray(layer.var[...])
    return (x - mean) / np.sqrt(var + 1e-5) * np.asarray(layer.scale[...]) + np.asarray(
        layer.bias[...]
    )


@pytest.mark.parametrize("residual", [False, True])
def test_logits_are_those_of_loops_over_pixels(residual: bool, seed: int) -> None:
    sizes, act = Sizes(4, 12, 3), "relu" if residual else "sigmoid"
    net: Any = filled(
        lambda: ConvStack(sizes, 4, 5, act, "he", nnx.Rngs(0), skips=residual, norm=residual), seed
    )
    rng = np.random.default_rng(seed)
    for norm in net.norms:
        norm.mean[...] = jnp.asarray(rng.normal(size=5), jnp.float32)
        norm.var[...] = jnp.asarray(rng.uniform(0.5, 2, 5), jnp.float32)
    net.eval()
    x = rng.normal(size=(2, 4, 12))
    images = x.reshape(2, 4, 3, 4).transpose(0, 1, 3, 2)  # a row's channels come one after another
    h, below = images, images
    numpy = {"relu": lambda z: np.maximum(z, 0), "sigmoid": lambda z: 1 / (1 + np.exp(-z))}[act]
    for layer in range(4):
        below = h if layer % 2 == 0 else below
        h = _conv(h, net.convs[layer])
        if residual:
            h = _normed(h, net.norms[layer]) + (below if layer == 3 else 0)
        h = numpy(h)
    readout = net.readout
    want = h.mean((1, 2)) @ np.asarray(readout.kernel[...]) + np.asarray(readout.bias[...])
    np.testing.assert_allclose(net(jnp.asarray(x, jnp.float32)), want, rtol=2e-4, atol=2e-5)


def test_images_of_every_layout() -> None:
    """Red, green and blue of a pixel meet again, whatever the sequence was."""
    image = np.arange(3 * 32 * 32).reshape(1, 3, 32, 32)
    rows = image.transpose(0, 2, 1, 3).reshape(1, 32, 96)
    for sequence in (rows, image.reshape(1, 3072, 1), image.reshape(1, 1, 3072)):
        shape = image_shape(Sizes(*sequence.shape[1:], 10))
        found = as_images(jnp.asarray(sequence), shape)
        assert np.array_equal(found, image.transpose(0, 2, 3, 1))
    assert image_shape(Sizes(64, 1, 10)) == image_shape(Sizes(8, 8, 10)) == (8, 8, 1)
    with pytest.raises(PartError, match="square images of 1 or 3 channels"):
        image_shape(Sizes(7, 2, 10))
