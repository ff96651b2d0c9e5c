"""Stage `lsc`: which engine pretrains which model, and what the engines share.

See docs/specs/herranz2023.md, 1. An engine's numerics are in `radius_loss`; its state holds the
weights to hand on in `params` and those it works on in `work`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from trainables.core.engine import Engine
from trainables.declarations import Trial
from trainables.declarations.lsc.engine import FAMILIES
from trainables.optim.adabelief import adabelief
from trainables.optim.adam import adamw
from trainables.optim.lookahead import restricted
from trainables.tasks.base import TaskRuntime

_ENGINES = {
    "feed-forward": ("feedforward", "LscFeedForward"),
    "convolutional": ("convolutional", "LscConvolutional"),
    "recurrent": ("recurrent", "LscRecurrent"),
    "linear": ("lru_stack", "LscLru"),
}


def _class_of(model: str) -> Any:
    """The class of a model's engine."""
    module, engine = _ENGINES[FAMILIES[model]]
    # Imported when needed: the engines read this module.
    return getattr(importlib.import_module(f"trainables.lsc.{module}"), engine)


def engine(trial: Trial, task: TaskRuntime, values: Mapping[str, Any]) -> Engine:
    """Builds the engine of the trial's model."""
    return _class_of(trial.model.name)(trial, task, values)


def chosen(values: Mapping[str, jax.Array], name: str, published: Any) -> jax.Array:
    """A lane's value of a key that may be null, which then is what was published for the model."""
    return jnp.where(jnp.isnan(values[name]), published, values[name])


def update_rule(
    constants: Mapping[str, Any], lr: jax.Array, weight_decay: jax.Array
) -> optax.GradientTransformationExtraArgs:
    """The rule of the gradient steps, which may be restricted to some parameters by `mask`."""
    build = {"adabelief": adabelief, "adamw": adamw}
    rule = build[constants["lsc_optimizer"]](
        {"lookahead": True}, {"lr": lr, "weight_decay": weight_decay}
    )
    return restricted(rule)


def agreement(radii: jax.Array, target: Any) -> dict[str, jax.Array]:
    """What the gate judges: mean and distance from target of radii (n,), and their standard
    deviation, around their own targets where these differ.

    Args:
      target: one number, or one for each radius.
    """
    return {
        "radius": jnp.mean(radii),
        "radius_std": jnp.std(radii - target),
        "radius_gap": jnp.abs(jnp.mean(radii - target)),
    }


def summary(seen: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Columns of `epochs` from what each of an epoch's iterations has seen.

    Args:
      seen: loss, grad_norm, update_norm, finite (whether the step was taken) and shown (whether
        there was an iteration at all), each (iterations,). Means are over finite ones.
    """
    finite = seen["finite"] & seen["shown"]
    count = jnp.sum(finite)

    def mean(name: str) -> jax.Array:
        return jnp.sum(jnp.where(finite, seen[name], 0)) / count

    def at(index: jax.Array) -> jax.Array:
        return jnp.where(count > 0, seen["loss"][index], jnp.nan)

    return {
        "loss": mean("loss"),
        "loss_first": at(jnp.argmax(finite)),
        "loss_last": at(len(finite) - 1 - jnp.argmax(finite[::-1])),
        "grad_norm": mean("grad_norm"),
        "update_norm": mean("update_norm"),
        "finite_steps": count.astype(jnp.int32),
    }
