"""Impulse responses of linear recurrences, and causal convolution with them.

A linear layer of one input and one output is the causal convolution of its input with its response
k_t to a unit impulse (docs/specs/zucchet2024.md, 1.5). For sequences of some hundred steps the
convolution as one matrix product is faster by far on a CPU (`python -m benchmarks execution`).

Shapes are suffixed: T time steps, B samples, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Product = Callable[[Any, Any], Any]


def orbit(start: Any, transition: Any, advance: Product, compose: Product, length: int) -> Any:
    """start A^t for t = 0..length-1, in O(log length) dependent steps.

    By doubling: the first 2^j members times A^(2^j) are the next 2^j, so a member is a product of
    at most log2(length) matrices, and rounding grows as slowly.

    Args:
      start: a tree of arrays, the member at t = 0.
      transition: A.
      advance: (members with a leading axis of time, a power of A) -> those members times it.
      compose: (A^p, A^p) -> A^2p.

    Returns:
      A tree like `start` with a leading axis of `length`.
    """
    found, count = jax.tree.map(lambda leaf: leaf[None], start), 1
    while count < length:
        more = min(count, length - count)
        kept = jax.tree.map(lambda leaf, more=more: leaf[:more], found)
        later = advance(kept, transition)
        found = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), found, later)
        count += more
        if count < length:
            transition = compose(transition, transition)
    return found


def toeplitz(response_T: jax.Array) -> jax.Array:
    """The matrix (T, T) whose entry (s, t) is k_{t-s}, and 0 where t < s.

    Its rows are windows of k followed by zeros, read with a stride one short of the period: tiling
    and reshaping, whose reverse pass adds up rows, where a gather's would scatter T^2 numbers.
    """
    length = len(response_T)
    period = jnp.concatenate([response_T, jnp.zeros_like(response_T)])
    stride = 2 * length - 1
    return jnp.tile(period, length)[: length * stride].reshape(length, stride)[:, :length]


def causal(x_BT: jax.Array, response_T: jax.Array) -> jax.Array:
    """y_t = sum over s <= t of k_{t-s} x_s, shape (B, T)."""
    return x_BT @ toeplitz(response_T)


def convolved(x: jax.Array, response: jax.Array) -> jax.Array:
    """y_t = sum over s <= t of k_{t-s} x_s: (B, T) of `causal` for a response (T,); (B, T, O) for
    a response (T, O, I) and inputs (B, T, I), or (B, T) where I is 1.

    Of several inputs or outputs by the fast Fourier transform of both, as long again with zeros, so
    that nothing wraps around: the matrices of `toeplitz` would be O I of them.
    """
    if response.ndim == 1:
        return causal(x, response)
    x_BTI, length = (x if x.ndim == 3 else x[..., None]), len(response)
    of_x, of_k = (jnp.fft.rfft(v, 2 * length, axis) for v, axis in ((x_BTI, 1), (response, 0)))
    found = jnp.einsum("bfi,foi->bfo", of_x, of_k)
    return jnp.fft.irfft(found, 2 * length, 1)[:, :length]


def output_energy(response_T: jax.Array) -> jax.Array:
    """0.5 E[y_t^2], mean over t, of y = k * x for white noise x of variance 1 from x_0 on.

    0.5 / T sum_s (T - s) k_s^2: k_s acts at the T - s last steps (docs/specs/zucchet2024.md, 2).
    Of a response (T, O, I) summed over outputs and independent inputs.
    """
    length = len(response_T)
    if response_T.ndim == 3:
        response_T = jnp.sqrt(jnp.sum(response_T**2, (1, 2)))
    return 0.5 * jnp.sum(response_T**2 * (length - jnp.arange(length))) / length
