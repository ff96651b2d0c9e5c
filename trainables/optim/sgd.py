"""Gradient descent, plain and with momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import optax


def sgd(
    config: Mapping[str, Any], hparams: Mapping[str, jax.Array]
) -> optax.GradientTransformation:
    """Gradient descent with torch's L2 penalty (decay added to the gradient), and with heavy-ball
    or Nesterov's momentum (Sutskever et al., ICML 2013) where `momentum` is given."""
    rule = [optax.add_decayed_weights(hparams["weight_decay"])]
    if config.get("momentum_given"):
        rule.append(optax.trace(hparams["momentum"], nesterov=bool(config["nesterov"])))
    return optax.chain(*rule, optax.scale_by_learning_rate(hparams["lr"]))
