"""Adam, with decoupled decay, and in two groups of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import optax

from trainables.optim.decay import decayed, decaying, recurrent_leaves


def adam(
    config: Mapping[str, Any], hparams: Mapping[str, jax.Array]
) -> optax.GradientTransformation:
    """Adam (Kingma and Ba, arXiv 1412.6980), optax's constants, the same L2 penalty."""
    return optax.chain(
        optax.add_decayed_weights(hparams["weight_decay"]),
        optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8),
        optax.scale_by_learning_rate(hparams["lr"]),
    )


def adamw(
    config: Mapping[str, Any], hparams: Mapping[str, jax.Array]
) -> optax.GradientTransformation:
    """Adam with decoupled decay (Loshchilov and Hutter, arXiv 1711.05101), optax's constants."""
    return decayed(optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8), config, hparams)


def adamw_groups(
    config: Mapping[str, Any], hparams: Mapping[str, jax.Array]
) -> optax.GradientTransformation:
    """Adam whose recurrent leaves have another learning rate and no decay (docs/specs/bar2025.md,
    3); the others as `adamw`."""
    slow = hparams.get("lr_recurrent", hparams["lr"] * hparams["lr_factor"])

    def finish(updates: Any, params: Any) -> Any:
        def one(recurrent: bool, decays: bool, update: jax.Array, w: jax.Array) -> jax.Array:
            if recurrent:
                return -slow * update
            if not decays:
                return -hparams["lr"] * update
            return -hparams["lr"] * (update + hparams["weight_decay"] * w)

        marks = recurrent_leaves(params), decaying(config)(params)
        return jax.tree.map(one, *marks, updates, params)

    return optax.chain(optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8), optax.stateless(finish))
