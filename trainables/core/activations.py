"""Nonlinearities by the name that a config gives them."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "sin": jnp.sin,
    "relu": jax.nn.relu,
    "cos": jnp.cos,
    "swish": jax.nn.swish,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
}
