"""State matrices and spectra of linear recurrences that start from Glorot's law.

See docs/specs/bar2025.md, 1.4; `declarations.layers.glorot_init` says what each init divides by.
Shapes: N units.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from trainables.core.random_keys import named_key
from trainables.declarations.layers.glorot_init import SCALED, divisor
from trainables.layers.lru import MODULI, Pair, polar

_LARGEST, _SMALLEST = 1 - 1e-6, 1e-7
"""Moduli and phases that are stored as logarithms stay between these."""


def glorot_matrix(key: jax.Array, n: int) -> jax.Array:
    """(N, N) of entries N(0, 1/n)."""
    return jax.random.normal(key, (n, n)) / math.sqrt(n)


def scale(init: str, n: int, offset: Any) -> Any:
    """What `init` divides a Glorot matrix by; `offset` is z of `rescaling` there."""
    a, b = divisor(init, n)
    return a + b * offset


def state_matrix(key: jax.Array, n: int, init: str, offset: Any) -> jax.Array:
    """A (N, N) of a dense recurrence; `init` is one of `SCALED`, or identity.

    Raises:
      ValueError: an init that no matrix has, or `rescaled` for n <= 163.
    """
    if init == "identity":
        return jnp.eye(n)
    return glorot_matrix(named_key(key, "glorot"), n) / scale(init, n, offset)


def spectrum(key: jax.Array, n: int, init: str, offset: Any) -> Pair:
    """(real, imaginary) parts (N,) of a diagonal recurrence's eigenvalues.

    Those of a sampled real matrix, so that they have the law of a finite N: some are real, the
    others come in conjugate pairs, and the largest may exceed 1. `uniform` is uniform over the unit
    disk, radius and angle from keys of their own; `identity` is all ones.
    """
    if init == "identity":
        return jnp.ones(n), jnp.zeros(n)
    if init == "uniform":
        u = jax.random.uniform(named_key(key, "modulus"), (n,))
        phase = 2 * math.pi * jax.random.uniform(named_key(key, "phase"), (n,))
        return polar(MODULI["area"](u, 0.0, 1.0), phase)
    assert init in SCALED
    found = jnp.linalg.eigvals(glorot_matrix(named_key(key, "glorot"), n))
    divided = scale(init, n, offset)
    return jnp.real(found) / divided, jnp.imag(found) / divided


def storable(eigenvalues: Pair) -> Pair:
    """(modulus, phase) in (0, 1) and (0, 2 pi] for a form that stores their logarithms: moduli of 1
    and more become 1 - 1e-6."""
    re, im = eigenvalues
    modulus = jnp.clip(jnp.hypot(re, im), _SMALLEST, _LARGEST)
    return modulus, jnp.maximum(jnp.arctan2(im, re) % (2 * math.pi), _SMALLEST)
