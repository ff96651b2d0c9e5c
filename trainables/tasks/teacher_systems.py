"""Random linear systems: the teachers of task `teacher_student` (docs/specs/zucchet2024.md, 2).

    h_t = A h_{t-1} + B x_t,   y_t = Re(C h_t) + D x_t,   h_{-1} = 0

Shapes: n units, I inputs, O outputs, T time steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry_2x32

from trainables.layers.eigenvalue_init import pulled_matrix
from trainables.layers.impulse_response import orbit
from trainables.layers.lru import Pair, diagonal_response, polar

System = tuple[jax.Array, jax.Array, jax.Array, jax.Array]
"""A (n, n), B (n, I), C (O, n), D (O, I)."""
Ring = tuple[Any, Any, Any]
"""Least and largest modulus of eigenvalues, and their largest phase."""


@dataclass(frozen=True)
class Form:
    """What is fixed of a teacher before it is drawn.

    Attributes:
      order: units n.
      inputs, outputs: I and O.
      kind: "dense" or "diagonal_complex".
      maps: without them B and C are the identity and D is 0.
      norm: factor on the input of each mode: "none", "L1" (1 - |lambda|) or "L2"
        (sqrt(1 - |lambda|^2)).
      prng: "partitionable", JAX's generator today, or "original", that of the paper's time.
    """

    order: int = 10
    inputs: int = 1
    outputs: int = 1
    kind: str = "dense"
    maps: bool = True
    norm: str = "none"
    prng: str = "partitionable"

    def response(self, seed: Any, ring: Ring, length: int) -> jax.Array:
        """C A^t B for t = 0..T-1, with D added at t = 0, of the system of a seed: (T, O, I), or
        (T,) of one input and output."""
        if self.kind == "dense":
            return response(dense(seed, self, ring), length)
        lam, b, c, d = diagonal(seed, self, ring)
        found = diagonal_response(lam, b, c, length).at[0].add(d)
        return found[:, 0, 0] if found.shape[1:] == (1, 1) else found


def _original_bits(words: jax.Array, count: int) -> jax.Array:
    """`count` random words of a key (2,), counters in two halves: JAX's generator before
    `jax_threefry_partitionable` was its default."""
    return threefry_2x32(words, jnp.arange(count, dtype=jnp.uint32))


def _original_normal(words: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """N(0, 1) as JAX drew it then: 23 random bits to (-1, 1), then the inverse error function."""
    bits = _original_bits(words, math.prod(shape))
    unit = jax.lax.bitcast_convert_type((bits >> 9) | jnp.uint32(0x3F800000), jnp.float32) - 1
    low = np.nextafter(np.float32(-1), np.float32(0))
    u = jnp.maximum(low, unit * (1 - low) + low)
    return (math.sqrt(2) * jax.lax.erf_inv(u)).reshape(shape)


def _draws(seed: Any, shapes: Sequence[tuple[int, ...]], prng: str) -> list[jax.Array]:
    """N(0, 1) of these shapes, each from a separate key."""
    key = jax.random.key(seed)
    if prng == "partitionable":
        keys = jax.random.split(key, len(shapes))
        return [jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)]
    words = _original_bits(jax.random.key_data(key), 2 * len(shapes)).reshape(-1, 2)
    return [_original_normal(k, s) for k, s in zip(words, shapes, strict=True)]


def _factor(norm: str, modulus: jax.Array) -> jax.Array:
    """What multiplies the input of modes of these moduli."""
    if norm == "L2":
        return jnp.sqrt(1 - modulus**2)
    return 1 - modulus if norm == "L1" else jnp.ones_like(modulus)


def dense(seed: Any, form: Form, ring: Ring) -> System:
    """A = N(0, 1) / sqrt(n) with its eigenvalues pulled into the ring, B ~ N(0, 1) / sqrt(I),
    C ~ N(0, 1) / sqrt(n), D ~ N(0, 1) / sqrt(I).

    A mode's factor acts in A's basis of eigenvectors V: B becomes Re(V diag(factor) V^-1 B).
    """
    n, inputs, outputs = form.order, form.inputs, form.outputs
    shapes = (n, n), (n, inputs), (outputs, n), (outputs, inputs)
    g, b, c, d = _draws(seed, shapes, form.prng)
    a = pulled_matrix(g / math.sqrt(n), *ring)
    if not form.maps:
        b, c, d = jnp.eye(n), jnp.eye(n), jnp.zeros((n, n))
    else:
        b, c, d = b / math.sqrt(inputs), c / math.sqrt(n), d / math.sqrt(inputs)
        if form.norm != "none":
            lam, v = jnp.linalg.eig(a)
            modes = jnp.linalg.solve(v, b.astype(v.dtype))
            b = jnp.real(v @ (_factor(form.norm, jnp.abs(lam))[:, None] * modes))
    return a, b.astype(jnp.float32), c, d


def diagonal(seed: Any, form: Form, ring: Ring) -> tuple[Pair, Pair, Pair, jax.Array]:
    """(eigenvalues (n,), B (n, I), C (O, n), D (O, I)), complex ones as pairs: moduli and phases
    uniform over the ring, B and C complex normal of variance 1/(2n), D ~ N(0, 1) / sqrt(O)."""
    n, inputs, outputs = form.order, form.inputs, form.outputs
    least, largest, turn = ring
    keys = jax.random.split(jax.random.key(seed), 5)
    modulus = least + (largest - least) * jax.random.uniform(keys[0], (n,))
    lam = polar(modulus, turn * jax.random.uniform(keys[1], (n,), minval=-1.0))
    if not form.maps:
        one, none = jnp.eye(n), jnp.zeros((n, n))
        return lam, (one, none), (one, none), none

    def normal(key: jax.Array, shape: tuple[int, int]) -> Pair:
        re, im = jax.random.normal(key, (2, *shape)) / math.sqrt(4 * n)
        return re, im

    factor = _factor(form.norm, modulus)[:, None]
    re, im = normal(keys[2], (n, inputs))
    d = jax.random.normal(keys[4], (outputs, inputs)) / math.sqrt(outputs)
    return lam, (factor * re, factor * im), normal(keys[3], (outputs, n)), d


def response(system: System, length: int) -> jax.Array:
    """C A^t B for t = 0..T-1, and D at t = 0; (T, O, I), or (T,) of one input and output."""
    a, b, c, d = system
    if d.shape == (1, 1):
        b, c, d = b[:, 0], c[0], d[0, 0]
    rows = orbit(c, a, lambda rows, power: rows @ power, lambda p, q: p @ q, length)
    return (rows @ b).at[0].add(d)
