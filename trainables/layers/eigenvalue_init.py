"""First weights of linear recurrent layers of docs/specs/zucchet2024.md, 1.

Shapes: N units of state, I inputs, O outputs; m units of a block.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from trainables.core.random_keys import named_key
from trainables.layers.lru import GAMMAS, MODULI, SPECTRA, Pair, Params, polar, squared_modulus

_LARGEST = 1 - 1e-6
"""Moduli drawn from a ring that ends at 1 stay below this: nearer, float32 rounds |lambda|^2 to 1
and log(1 - |lambda|^2) is infinite. One draw in 10^4 is that near where the ring starts at .99."""
_SMALLEST = 1e-7
"""Likewise moduli and phases that are stored as logarithms stay above this."""


def normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """N(0, 1) divided by the square root of the first axis, which is the output's."""
    return jax.random.normal(key, shape) / math.sqrt(shape[0])


def signed_ring(key: jax.Array, count: int, r_min: Any, r_max: Any, max_phase: Any) -> Pair:
    """(modulus, phase), each (count,): uniform over the ring's area, phases uniform in
    [-max_phase, max_phase] and then taken modulo 2 pi (section 1.1)."""
    u = jax.random.uniform(named_key(key, "modulus"), (count,))
    modulus = jnp.clip(MODULI["area"](u, r_min, r_max), _SMALLEST, _LARGEST)
    phase = jax.random.uniform(named_key(key, "phase"), (count,), minval=-1.0)
    return modulus, jnp.maximum((max_phase * phase) % (2 * math.pi), _SMALLEST)


def pull(eigenvalues: jax.Array, nu_min: Any, nu_max: Any, max_phase: Any) -> jax.Array:
    """Eigenvalues moved into a ring: modulus nu_min + (nu_max - nu_min) tanh |l|, phase
    arg(l) max_phase / pi (section 1.2)."""
    modulus = nu_min + (nu_max - nu_min) * jnp.tanh(jnp.abs(eigenvalues))
    return modulus * jnp.exp(1j * jnp.angle(eigenvalues) * max_phase / math.pi)


def pulled_matrix(gaussian: jax.Array, nu_min: Any, nu_max: Any, max_phase: Any) -> jax.Array:
    """Re(V diag(pull(l)) V^-1) for gaussian = V diag(l) V^-1, (..., m, m) (section 1.2).

    The real part is taken because a negative eigenvalue, which is its own conjugate, is turned by
    max_phase away from the axis: it ends at r cos(max_phase).
    """
    eigenvalues, v = jnp.linalg.eig(gaussian)
    moved = pull(eigenvalues, nu_min, nu_max, max_phase)
    return jnp.real((v * moved[..., None, :]) @ jnp.linalg.inv(v)).astype(jnp.float32)


def first_gamma(spectrum: str, gamma: str, modulus: Any, phase: Any, compat: bool) -> jax.Array:
    """The learned normalisation's first value, as it is stored: sqrt(1 - |lambda|^2).

    `compat` gives the published one: `cartesian` reads the real part of lambda as its modulus, and
    `scaled_exp` stores a logarithm that nothing exponentiates (section 1.1).
    """
    start = GAMMAS[gamma].start
    assert start is not None
    lam = polar(modulus, phase)
    if compat and spectrum == "cartesian":
        return jnp.sqrt(1 - lam[0] ** 2)
    if compat and spectrum == "scaled_exp":
        return jnp.log(jnp.sqrt(1 - squared_modulus(lam)))
    return start(lam)


def diagonal_tensors(
    key: jax.Array,
    shape: tuple[int, int, int],
    spectrum: str,
    gamma: str,
    bounds: tuple[Any, Any, Any],
    compat: bool = False,
) -> Params:
    """Tensors of an LRU or complex diagonal layer by name, for `lru.LruCell` (section 1.1).

    Args:
      shape: (N, I, O).
      spectrum, gamma: as in `lru.SPECTRA` and `lru.GAMMAS`.
      bounds: smallest and largest modulus and largest phase.
    """
    units, inputs, outputs = shape
    modulus, phase = signed_ring(named_key(key, "ring"), units, *bounds)
    stored = SPECTRA[spectrum]
    tensors = dict(zip(stored.names, stored.store(modulus, phase), strict=True))
    if GAMMAS[gamma].start is not None:
        tensors["gamma"] = first_gamma(spectrum, gamma, modulus, phase, compat)
    for name, size in (("b", (units, inputs)), ("c", (outputs, units))):
        for part in ("re", "im"):
            tensors[f"{name}_{part}"] = normal(named_key(key, f"{name}_{part}"), size)
    tensors["d"] = normal(named_key(key, "d"), (outputs, inputs))
    return tensors
