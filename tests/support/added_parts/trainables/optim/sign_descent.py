"""Descent by the gradient's sign, at a rate that falls with the steps: an added optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from trainables.optim.schedules import Constant, Hparams


class Falling(Constant):
    """lr / (1 + step / lr_steps)."""

    recorded = ("lr",)

    def at(self, hparams: Hparams, state: Any, step: jax.Array) -> Hparams:
        return {**hparams, "lr": hparams["lr"] / (1 + step / hparams["lr_steps"])}


def sign_descent(
    config: Mapping[str, Any], hparams: Mapping[str, jax.Array]
) -> optax.GradientTransformation:
    """w -= lr sign(g)."""
    return optax.stateless(
        lambda updates, params: jax.tree.map(lambda g: -hparams["lr"] * jnp.sign(g), updates)
    )
