"""Deep convolutional networks of study `vanishing`, with and without skips, as Flax NNX modules.

Shapes are suffixed: B batch, R rows and W columns of an image, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn import initializers

from trainables.core.activations import ACTIVATIONS
from trainables.declarations import Sizes
from trainables.models.image_input import as_images, image_shape

_INITS: dict[str, tuple[float, Literal["fan_in", "fan_avg"]]] = {
    "default": (1 / 3, "fan_in"),
    "xavier": (1.0, "fan_avg"),
    "he": (2.0, "fan_in"),
}
"""Scale and fan of uniform kernels: U(+-sqrt(3 scale / fan)). The first is torch's own."""


class ConvStack(nnx.Module):
    """3 x 3 convolutions of equal width, the mean over the image, and a dense readout.

    Plain: x_{l+1} = act(conv_l(x_l)). With skips over blocks of two layers (He et al., arXiv
    1512.03385): x' = act(x + norm(conv(act(norm(conv(x)))))); none around the first block, whose
    input has other channels.
    """

    def __init__(
        self, sizes: Sizes, depth: int, width: int, activation: str, init: str, rngs: nnx.Rngs,
        skips: bool = False, norm: bool = False,
    ):  # fmt: skip
        self.shape, self.skips = image_shape(sizes), skips
        self.activation = activation
        scale, fan = _INITS[init]
        kernel = initializers.variance_scaling(scale, fan, "uniform")
        widths = [self.shape[2], *[width] * depth]

        def bias(inputs: int) -> Any:
            bound = 1 / math.sqrt(inputs)
            if init != "default":
                return initializers.zeros
            return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)

        convs = [
            nnx.Conv(a, width, (3, 3), kernel_init=kernel, bias_init=bias(9 * a), rngs=rngs)
            for a in widths[:-1]
        ]
        norms = [nnx.BatchNorm(width, momentum=0.9, rngs=rngs) for _ in convs if norm]
        self.convs, self.norms = nnx.List(convs), nnx.List(norms)
        dense = {"kernel_init": kernel, "bias_init": bias(width)}
        self.readout = nnx.Linear(width, sizes.classes, **dense, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits (B, classes) of x (B, T, F)."""
        act, h_BRWC = ACTIVATIONS[self.activation], as_images(x, self.shape)
        below = h_BRWC
        for layer, conv in enumerate(self.convs):
            if layer % 2 == 0:
                below = h_BRWC
            h_BRWC = conv(h_BRWC)
            if len(self.norms):
                h_BRWC = self.norms[layer](h_BRWC)
            if self.skips and layer % 2 and layer > 1:
                h_BRWC = below + h_BRWC
            h_BRWC = act(h_BRWC)
        return self.readout(jnp.mean(h_BRWC, (1, 2)))


def plain_convnet(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> ConvStack:
    """Builds model `plain_convnet` of `trainables.declarations.models.conv_stack`."""
    shape = config["depth"], config["width"], config["activation"], config["init"]
    return ConvStack(sizes, *shape, rngs)


def residual_convnet(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> ConvStack:
    """Builds model `residual_convnet`."""
    shape = config["depth"], config["width"], config["activation"], config["init"]
    return ConvStack(sizes, *shape, rngs, skips=True, norm=config["norm"] == "batch")
