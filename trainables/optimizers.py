"""Built-in update rules. Clipping is applied before them, in `clipping`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import optax


def sgd(
    config: Mapping[str, Any], hparams: Mapping[str, jax.Array]
) -> optax.GradientTransformation:
    """Plain gradient descent, with torch's L2 penalty (decay added to the gradient)."""
    return optax.chain(
        optax.add_decayed_weights(hparams["weight_decay"]),
        optax.scale_by_learning_rate(hparams["lr"]),
    )


def adam(
    config: Mapping[str, Any], hparams: Mapping[str, jax.Array]
) -> optax.GradientTransformation:
    """Adam (Kingma and Ba, arXiv 1412.6980), optax's constants, the same L2 penalty."""
    return optax.chain(
        optax.add_decayed_weights(hparams["weight_decay"]),
        optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8),
        optax.scale_by_learning_rate(hparams["lr"]),
    )
