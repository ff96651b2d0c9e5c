"""What a device can do, measured, and what a program asks of it, counted: the floor of its time."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def operations(function: Callable[..., Any], *args: Any) -> int:
    """Floating-point operations of the matrix products of one call, 2 M N K each.

    Counted in the jaxpr, a scan's body as often as it runs and of a condition's branches the longer
    one. XLA's `cost_analysis` counts a loop's body once, and `jax.experimental.roofline` leaves it
    out; every network here is a loop over its layers.
    """
    return _of_equations(jax.make_jaxpr(function)(*args).jaxpr)


def _of_equations(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            inner = math.prod(left[axis] for axis in contracted)
            total += 2 * inner * math.prod(equation.outvars[0].aval.shape)
            continue
        inside = [_of_equations(getattr(sub, "jaxpr", sub)) for sub in _jaxprs(params)]
        total += max(inside, default=0) if name == "cond" else sum(inside) * params.get("length", 1)
    return total


def _jaxprs(params: dict[str, Any]) -> list[Any]:
    values = [v for p in params.values() for v in (p if isinstance(p, tuple) else (p,))]
    return [value for value in values if hasattr(value, "eqns") or hasattr(value, "jaxpr")]


def size(tree: Any) -> int:
    """Bytes of the arrays, or of what stands for them, in a tree."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def measured(small: bool) -> dict[str, float]:
    """Rates of JAX's first device.

    Returns:
      flops_per_s: of a square float32 product at JAX's default precision (on NVIDIA's devices that
        is TF32), 8,192 wide on a GPU and 1,024 elsewhere.
      bytes_per_s: read and written by x + 1, x of 1 GiB on a GPU, 128 MiB elsewhere.
      rounding: relative error (Frobenius norm) of such a product, 512 wide, against float64.
    """
    large = jax.default_backend() != "cpu" and not small
    n, count = (8192, 2**28) if large else (1024, 2**25 if not small else 2**22)
    a = jax.random.normal(jax.random.key(0), (n, n))
    flat = jnp.ones(count)
    product, copy = jax.jit(jnp.matmul), jax.jit(lambda x: x + 1)
    left, right = np.random.default_rng(0).normal(size=(2, 512, 512)).astype(np.float32)
    exact = left.astype(np.float64) @ right.astype(np.float64)
    error = np.linalg.norm(np.asarray(product(left, right), np.float64) - exact)
    return {
        "flops_per_s": 2 * n**3 / _seconds(product, a, a),
        "bytes_per_s": 2 * 4 * count / _seconds(copy, flat),
        "rounding": float(error / np.linalg.norm(exact)),
    }


def _seconds(program: Callable[..., Any], *args: Any) -> float:
    """Median of ten calls, each waited for, after two untimed ones."""
    found = []
    for _ in range(12):
        begun = time.perf_counter()
        jax.block_until_ready(program(*args))
        found.append(time.perf_counter() - begun)
    return statistics.median(found[2:])
