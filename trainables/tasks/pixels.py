"""Images as sequences of pixels: orders of pixels, smaller images, crops and flips.

An order is an index array (H W,): step t of a sequence shows pixel order[t], pixels being counted
row after row.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

CROP = 4
"""Most pixels by which a crop moves an image, in each direction (Gu et al., arXiv 2111.00396)."""


def bit_reversed(count: int) -> np.ndarray:
    """The indices below `count` in the order of their reversed bits, (count,)."""
    bits = max(count - 1, 1).bit_length()
    order = np.array([int(f"{i:0{bits}b}"[::-1], 2) for i in range(1 << bits)])
    return order[order < count]


def hilbert(rows: int, columns: int) -> np.ndarray:
    """Pixels along a Hilbert curve (Hilbert 1891), (rows columns,): from the upper left corner to
    the upper right one. The curve is that of the next larger square whose side is a power of two,
    without the places outside the image."""
    side = 1 << (max(rows, columns) - 1).bit_length()
    steps = np.arange(side * side)
    x, y, left, half = np.zeros_like(steps), np.zeros_like(steps), steps, 1
    while half < side:  # of ever larger squares: turn the curve so far, then move it
        right, lower = (left // 2) & 1, (left ^ (left // 2)) & 1
        mirrored = (lower == 0) & (right == 1)
        x, y = np.where(mirrored, half - 1 - x, x), np.where(mirrored, half - 1 - y, y)
        x, y = np.where(lower == 0, y, x), np.where(lower == 0, x, y)
        x, y, left, half = x + half * right, y + half * lower, left // 4, 2 * half
    inside = (y < rows) & (x < columns)
    return y[inside] * columns + x[inside]


def order_of(name: str, rows: int, columns: int) -> np.ndarray:
    """The order `raster`, `snake` (every other row backwards), `transposed` (column after column),
    `hilbert` or `bit_reversed` of an image's pixels; of `both` the first, `raster`."""
    places = np.arange(rows * columns).reshape(rows, columns)
    if name == "snake":
        places[1::2] = places[1::2, ::-1].copy()
    elif name == "transposed":
        places = places.T
    elif name == "hilbert":
        return hilbert(rows, columns)
    elif name == "bit_reversed":
        return bit_reversed(rows * columns)
    return places.reshape(-1)


def shrunk(images: np.ndarray, side: int | None) -> np.ndarray:
    """uint8 images (N, ..., H, H) averaged over squares to (N, ..., side, side), rounded."""
    whole = images.shape[-1]
    if side in (None, whole):
        return images
    k = whole // side
    found = np.empty((*images.shape[:-2], side, side), np.uint8)
    for at in range(0, len(images), 4096):
        part = images[at : at + 4096].astype(np.uint32)
        squares = part.reshape(*part.shape[:-2], side, k, side, k).sum((-3, -1))
        found[at : at + 4096] = (2 * squares + k * k) // (2 * k * k)
    return found


def moved(
    key: jax.Array, pixels: jax.Array, order: np.ndarray, columns: int, how: str
) -> jax.Array:
    """Each image of a batch cropped or flipped by chance.

    A crop moves an image by up to `CROP` pixels in each direction; what is left free shows the
    image mirrored at its edge. A flip exchanges left and right in half of the images.

    Args:
      pixels: (B, T, F) in `order`.
      columns: of an image.
      how: crop, flip or crop_flip.
    """
    batch, count = pixels.shape[0], pixels.shape[1]
    rows, to_flip, to_move = count // columns, *jax.random.split(key)
    r, c = (jnp.asarray(part)[None] for part in np.divmod(order, columns))
    if "flip" in how:
        flipped = jax.random.bernoulli(to_flip, 0.5, (batch, 1))
        c = jnp.where(flipped, columns - 1 - c, c)
    if "crop" in how:
        by = jax.random.randint(to_move, (2, batch, 1), -CROP, CROP + 1)
        r, c = _mirrored(r + by[0], rows), _mirrored(c + by[1], columns)
    places = np.empty(count, np.int32)
    places[order] = np.arange(count)
    at = jnp.broadcast_to(jnp.asarray(places)[r * columns + c], (batch, count))
    return jnp.take_along_axis(pixels, at[..., None], 1)


def _mirrored(at: jax.Array, size: int) -> jax.Array:
    """Indices beyond an edge, reflected there: -1 is 0 and `size` is size - 1."""
    at = jnp.where(at < 0, -1 - at, at)
    return jnp.where(at >= size, 2 * size - 1 - at, at)
