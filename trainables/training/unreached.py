"""Parameters whose gradient is 0 whatever the data: behind `jax.lax.stop_gradient`, or not used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Literal

from trainables.core.layout import by_path


def unreached(gradient: Callable[..., Any], params: Any, *others: Any) -> frozenset[str]:
    """Paths of the leaves whose gradient is a constant 0.

    It is read off the traced program, so what is 0 only for these numbers is not among them, nor
    what is stopped inside a loop (`jax.lax.scan`), whose backward pass adds up zeros.

    Args:
      gradient: (params, *others) -> a tree like the parameters.
      params, others: arrays, or their shapes and types.
    """
    traced = jax.make_jaxpr(gradient)(params, *others).jaxpr
    made = {out: equation for equation in traced.eqns for out in equation.outvars}

    def is_zero(value: Any) -> bool:
        if isinstance(value, Literal):
            return not value.val
        equation = made.get(value)
        if equation is None or equation.primitive.name != "broadcast_in_dim":
            return False
        return is_zero(equation.invars[0])

    return frozenset(
        p for p, out in zip(by_path(params), traced.outvars, strict=True) if is_zero(out)
    )
