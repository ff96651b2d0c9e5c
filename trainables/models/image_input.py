"""Images out of the sequences that tasks give.

Shapes are suffixed: B batch, R rows and W columns of an image, C channels.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from trainables.declarations import PartError, Sizes

Shape = tuple[int, int, int]
"""Rows, columns and channels of an image."""


def image_shape(sizes: Sizes) -> Shape:
    """The square images that a task gives as sequences (B, T, F): T image rows of their channels
    after one another, or all numbers in any number of steps, channel by channel.

    Raises:
      PartError: the sequences are no square images of one or three channels.
    """
    steps, features = sizes.seq_len, sizes.features
    if steps > 1 and features in (steps, 3 * steps):
        return steps, steps, features // steps
    for channels in (1, 3):
        side = math.isqrt(steps * features // channels)
        if channels * side * side == steps * features:
            return side, side, channels
    raise PartError(
        f"a convolutional net needs square images of 1 or 3 channels; this task gives {steps} time "
        f"steps of {features} numbers"
    )


def as_images(x: jax.Array, shape: Shape) -> jax.Array:
    """Sequences x (B, T, F) as images (B, R, W, C) of that shape."""
    rows, columns, channels = shape
    if x.shape[1] == rows:
        return jnp.swapaxes(x.reshape(len(x), rows, channels, columns), 2, 3)
    return jnp.moveaxis(x.reshape(len(x), channels, rows, columns), 1, -1)
