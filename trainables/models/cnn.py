"""The convolutional network of study `herranz2023` as a Flax NNX module.

Shapes are suffixed: B batch, R rows and W columns of an image, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from trainables.core.activations import ACTIVATIONS
from trainables.core.layout import LayerOutput, Slot
from trainables.core.random_keys import named_key
from trainables.core.variables import Tensors
from trainables.declarations import PartError, Sizes
from trainables.models.image_input import Shape, as_images, image_shape
from trainables.models.named_init import named_init

_KERNEL = 3


@dataclass(frozen=True)
class ConvRow:
    """Linear layers in a row, with an activation between each two: `depth` convolutions of `width`
    channels, one to a single channel with the mean over squares of pixels, a dense layer of twice
    as many units as classes, and the readout. Convolutions are 3 x 3 and lose a border of 1.

    Attributes:
      image: the task's images.
      side: rows and columns that they are resized to.
      pooling: side of the squares of pixels.
    """

    image: Shape
    side: int
    depth: int
    width: int
    pooling: int
    classes: int

    @property
    def layers(self) -> int:
        """Linear layers, the readout included."""
        return self.depth + 3

    def shape(self, layer: int) -> tuple[int, ...]:
        """What a layer is given, without the batch: (R, W, C), or (units,) of a dense one."""
        if layer <= self.depth:
            side = self.side - (_KERNEL - 1) * layer
            return side, side, self.width if layer else self.image[2]
        pooled = (self.side - (_KERNEL - 1) * (self.depth + 1)) // self.pooling
        return (pooled**2,) if layer == self.depth + 1 else (2 * self.classes,)

    def kernel(self, layer: int) -> tuple[int, ...]:
        """Shape of a layer's weights: (out, in, 3, 3), or (out, in) of a dense one."""
        inputs = self.shape(layer)[-1]
        if layer > self.depth:
            return (2 * self.classes if layer == self.depth + 1 else self.classes), inputs
        return self.width if layer < self.depth else 1, inputs, _KERNEL, _KERNEL

    def size(self, layer: int) -> int:
        """Numbers that a layer is given; of `layers`, the logits."""
        return self.classes if layer == self.layers else math.prod(self.shape(layer))

    def linear(self, layer: int, w: jax.Array, a: jax.Array) -> jax.Array:
        """A layer without its bias: (B, *shape(layer)) -> (B, *shape(layer + 1)), flat where that
        is a dense layer's input."""
        if layer > self.depth:
            return a @ w.T
        found = lax.conv_general_dilated(
            a, w, (1, 1), "VALID", dimension_numbers=("NHWC", "OIHW", "NHWC")
        )
        if layer < self.depth:
            return found
        square = self.pooling, self.pooling
        return nnx.avg_pool(found, square, square, "VALID").reshape(len(a), -1)

    def images(self, x: jax.Array) -> jax.Array:
        """What the lowest layer is given of x (B, T, F): images, resized bilinearly."""
        found = as_images(x, self.image)
        shape = len(x), self.side, self.side, self.image[2]
        return found if found.shape == shape else jax.image.resize(found, shape, "bilinear")


class ConvNet(nnx.Module):
    """Logits (B, classes) of x (B, T, F).

    Attributes:
      row: its layers' shapes.
      layers: w and b of each.
    """

    def __init__(self, row: ConvRow, activation: str, init: str, rngs: nnx.Rngs):
        self.row, self.activation, key = row, activation, rngs.params()
        layers = []
        for layer in range(row.layers):
            shape = row.kernel(layer)
            draw = named_init(init, in_axis=1, out_axis=0)
            w = draw(named_key(key, "layer", layer), shape)
            layers.append(Tensors({"w": w, "b": jnp.zeros(shape[0])}))
        self.layers = nnx.List(layers)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self._run(x)[-1]

    def preactivations(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """z of every layer below the readout, (B, *shape of the next layer) each."""
        return tuple(self._run(x)[:-1])

    def outputs_by_layer(self, x: jax.Array) -> tuple[LayerOutput, ...]:
        """Of a call: z of every layer, the lowest first, flat."""
        found = enumerate(self._run(x))
        return tuple(
            LayerOutput(_name(self.row, layer), z.reshape(len(x), -1), timed=False)
            for layer, z in found
        )

    def _run(self, x: jax.Array) -> list[jax.Array]:
        a, found = self.row.images(x).astype(x.dtype), []
        for layer, tensors in enumerate(self.layers):
            if found:
                a = ACTIVATIONS[self.activation](found[-1])
            w = tensors.values()
            found.append(self.row.linear(layer, w["w"], a) + w["b"])
        return found

    def slots(self) -> tuple[Slot, ...]:
        """Weight and bias of each layer, the lowest first."""
        return tuple(
            Slot(f"layers/{layer}/{tensor}", None, layer, _name(self.row, layer), tensor)
            for layer in range(self.row.layers)
            for tensor in ("w", "b")
        )


def _name(row: ConvRow, layer: int) -> str:
    if layer == row.layers - 1:
        return "readout"
    return f"conv.{layer}" if layer <= row.depth else "dense"


def conv_row(config: Mapping[str, Any], sizes: Sizes) -> ConvRow:
    """The layers of a trial's model `cnn`.

    Raises:
      PartError: the images are too small for this number of convolutions.
    """
    shape = image_shape(sizes)
    side, depth, pooling = config["resize"] or shape[0], config["depth"], config["pool"]
    left = side - (_KERNEL - 1) * (depth + 1)
    if left < pooling:
        most = (side - pooling) // (_KERNEL - 1) - 1
        raise PartError(
            f"model cnn has {depth + 1} convolutions, each of which takes 2 rows and columns, so "
            f"that images of {side} x {side} leave {max(left, 0)}, and pool={pooling} needs as "
            f"many; lower depth to at most {max(most, 0)}, or raise resize"
        )
    return ConvRow(shape, side, depth, config["width"], pooling, sizes.classes)


def cnn(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> ConvNet:
    """Builds model `cnn` of `trainables.declarations.models.cnn`."""
    return ConvNet(conv_row(config, sizes), config["activation"], config["init"], rngs)
