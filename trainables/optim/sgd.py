"""Plain gradient descent."""

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
