"""Initial weights of recurrent stacks: torch's default, Glorot and Kaiming.

The three schemes of docs/specs/vanishing.md, 1. Stacked tensors have a leading layer axis; each
layer is drawn independently.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from trainables.core.random_keys import named_key

Shapes = dict[str, tuple[int, ...]]


def _uniform(key: jax.Array, shape: tuple[int, ...], bound: float) -> jax.Array:
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)


def orthogonal(key: jax.Array, count: int, size: int) -> jax.Array:
    """`count` orthogonal matrices, uniform over the group (Mezzadri, arXiv math-ph/0609050).

    Returns:
      Array (count, size, size).
    """
    q, r = jnp.linalg.qr(jax.random.normal(key, (count, size, size)))
    # The signs of R's diagonal make the factorisation unique, hence Q uniform.
    diagonal = jnp.diagonal(r, axis1=-2, axis2=-1)
    return q * jnp.where(diagonal < 0, -1.0, 1.0)[:, None, :]


def initial(key: jax.Array, scheme: str, shapes: Shapes, width: int) -> dict[str, jax.Array]:
    """Weights by name for `scheme`.

    Args:
      key: typed key; every tensor uses its own named derivation.
      scheme: "default" (U(+-1/sqrt H) everywhere), "xavier" (Glorot uniform, orthogonal recurrent,
        zero biases) or "he" (Kaiming uniform with gain sqrt 2, else as xavier).
      shapes: name -> shape; names starting with "b" are biases, "w_hh" is recurrent, the others
        end in (fan out, fan in).
      width: units H of a layer.

    Raises:
      ValueError: unknown scheme.
    """
    if scheme not in ("default", "xavier", "he"):
        raise ValueError(f"unknown init {scheme!r}; known: default, xavier, he")
    weights = {}
    for name, shape in shapes.items():
        own = named_key(key, name)
        if scheme == "default":
            weights[name] = _uniform(own, shape, 1 / math.sqrt(width))
        elif name.startswith("b"):
            weights[name] = jnp.zeros(shape)
        elif name == "w_hh":
            weights[name] = orthogonal(own, shape[0], shape[-1])
        else:
            fans = shape[-1] + shape[-2] if scheme == "xavier" else shape[-1]
            weights[name] = _uniform(own, shape, math.sqrt(6 / fans))
    return weights
