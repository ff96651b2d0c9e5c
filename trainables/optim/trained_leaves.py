"""An update rule of the trained leaves alone, with float32 moments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
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
    # The gradients that some rules take once more are masked as the updates are.
    rule = optax.masked(
        optax.with_extra_args_support(rule), trained, mask_compatible_extra_args=True
    )

    def init(params: Any) -> Any:
        return rule.init(widened(params))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        if "value_fn" in extra:
            extra["value_fn"] = _of_all(extra["value_fn"], params)
        return rule.update(widened(updates), state, widened(params), **extra)

    return optax.GradientTransformationExtraArgs(init, update)


def _of_all(value_fn: Callable[[Any], Any], params: Any) -> Callable[[Any], Any]:
    """A loss of trained leaves, the frozen ones as in `params`: for rules that search a line."""

    def frozen(leaf: Any) -> bool:
        return isinstance(leaf, optax.MaskedNode)

    def value(trained: Any) -> Any:
        whole = jax.tree.map(
            lambda own, given: given if frozen(own) else own, trained, params, is_leaf=frozen
        )
        return value_fn(whole)

    return value
