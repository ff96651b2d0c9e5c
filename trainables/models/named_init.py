"""Initial matrices by the names that libraries give them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import initializers

Draw = Callable[[jax.Array, tuple[int, ...]], jax.Array]

_SCALED: dict[
    str, tuple[float, Any]
] = {  # name -> (scale, fan that the variance is scale divided by)
    "glorot": (1.0, "fan_avg"),
    "he": (2.0, "fan_in"),
    "lecun": (1.0, "fan_in"),
}
_SHAPES: dict[str, Any] = {"normal": "truncated_normal", "uniform": "uniform"}


def named_init(name: str, stacked: bool = False, in_axis: int = -1, out_axis: int = -2) -> Draw:
    """How `name` draws matrices (out, in), or (layers, out, in) where `stacked`.

    Args:
      name: one of `trainables.declarations.models.named_init.INITS`. glorot (Glorot and Bengio,
        2010) has variance 2 / (in + out), he (He et al., arXiv 1502.01852) 2 / in, lecun 1 / in;
        normal ones are cut at two standard deviations and rescaled to that variance, as in Keras.
        orthogonal (Saxe et al., arXiv 1312.6120) has orthonormal rows or columns, whichever there
        are fewer of. identity is 1 where row and column agree (Le et al., arXiv 1504.00941), zeros
        is 0.
      in_axis, out_axis: of scaled ones that are no matrices, such as convolutions' kernels, all of
        whose other axes multiply both fans.
    """
    family, _, shape = name.rpartition("_")
    if family in _SCALED:
        scale, mode = _SCALED[family]
        return initializers.variance_scaling(
            scale, mode, _SHAPES[shape], in_axis, out_axis, (0,) if stacked else ()
        )
    draw = {"orthogonal": initializers.orthogonal(column_axis=-1), "identity": _eye}.get(name)
    if draw is None:
        return lambda key, shape: jnp.zeros(shape)
    if not stacked:
        return draw
    return lambda key, shape: jax.vmap(lambda own: draw(own, shape[1:]))(
        jax.random.split(key, shape[0])
    )


def by_gate(draw: Draw, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """A recurrent matrix (gates H, H) whose gates are each drawn as a matrix (H, H)."""
    units = shape[1]
    gates = shape[0] // units
    return jnp.concatenate([draw(own, (units, units)) for own in jax.random.split(key, gates)])


def _eye(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jnp.eye(shape[0], shape[1])
