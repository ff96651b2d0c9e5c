"""First and second derivatives along a line, and of a cost of many numbers."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

Field = Callable[[jax.Array], jax.Array]


def along(gradient: Field, at: jax.Array, direction: jax.Array) -> jax.Array:
    """The Hessian times a direction, from the gradient's derivative along it."""
    return jax.jvp(gradient, (at,), (direction,))[1]


Cost = Callable[[jax.Array], jax.Array]


def on_line(cost: Cost, at: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(V, dV/ds, d2V/ds2) of a cost of one number, by two forward derivatives."""

    def with_slope(s: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.jvp(cost, (s,), (jnp.ones_like(s),))

    (value, slope), (_, bend) = jax.jvp(with_slope, (at,), (jnp.ones_like(at),))
    return value, slope, bend


def in_space(cost: Cost, at: jax.Array, direction: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(2-norm of the gradient, 2-norm of the Hessian times the unit direction) of a cost of many
    numbers: local bounds of Lipschitz constant and beta."""
    unit = direction / jnp.linalg.norm(direction)
    gradient = jax.grad(cost)
    return jnp.linalg.norm(gradient(at)), jnp.linalg.norm(along(gradient, at, unit))
