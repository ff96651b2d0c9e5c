"""Adam, with decoupled decay, and in two groups of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import optax

from trainables.core.layout import by_path


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
    return decayed(optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8), hparams)


_EIGENVALUES = {"nu", "theta", "lambda_re", "lambda_im", "modulus", "phase", "a"}
_INPUTS = {"gamma", "b", "b_re", "b_im"}


def recurrent_leaves(params: Any) -> Any:
    """A tree like `params`, True for eigenvalues or A, B and gamma of a linear recurrence: what
    lies beside eigenvalues, so that a bias called b elsewhere is none."""
    paths = [tuple(path.split("/")) for path in by_path(params)]
    layers = {path[:-1] for path in paths if path[-1] in _EIGENVALUES}
    names = _EIGENVALUES | _INPUTS
    marks = [path[:-1] in layers and path[-1] in names for path in paths]
    return jax.tree.unflatten(jax.tree.structure(params), marks)


def adamw_groups(
    config: Mapping[str, Any], hparams: Mapping[str, jax.Array]
) -> optax.GradientTransformation:
    """Adam whose recurrent leaves have another learning rate and no decay (docs/specs/bar2025.md,
    3); the others as `adamw`."""
    slow = hparams.get("lr_recurrent", hparams["lr"] * hparams["lr_factor"])

    def finish(updates: Any, params: Any) -> Any:
        def one(recurrent: bool, update: jax.Array, w: jax.Array) -> jax.Array:
            if recurrent:
                return -slow * update
            return -hparams["lr"] * (update + hparams["weight_decay"] * w)

        return jax.tree.map(one, recurrent_leaves(params), updates, params)

    return optax.chain(optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8), optax.stateless(finish))


def decayed(
    rule: optax.GradientTransformation, hparams: Mapping[str, jax.Array]
) -> optax.GradientTransformation:
    """w -= lr (rule + weight_decay w)."""
    return optax.chain(
        rule,
        optax.add_decayed_weights(hparams["weight_decay"]),
        optax.scale_by_learning_rate(hparams["lr"]),
    )
