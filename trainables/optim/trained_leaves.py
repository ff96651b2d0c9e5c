"""An update rule of the trained leaves alone, with float32 moments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optax

from trainables.core.numbers import widened


def of_trained(
    rule: optax.GradientTransformation, trained: Callable[[Any], Any]
) -> optax.GradientTransformationExtraArgs:
    """`rule`, which sees 16-bit leaves as float32, and no frozen leaf.

    Its updates are float32 too; `optax.apply_updates` rounds their sum with the parameter.

    Args:
      trained: a tree like the parameters -> one of booleans, False for frozen leaves, whose updates
        are their gradients, which are 0.
    """
    rule = optax.masked(optax.with_extra_args_support(rule), trained)

    def init(params: Any) -> Any:
        return rule.init(widened(params))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        return rule.update(widened(updates), state, widened(params), **extra)

    return optax.GradientTransformationExtraArgs(init, update)
