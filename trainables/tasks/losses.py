"""Losses of logits (..., C) and whole-number labels (...), by name; each gives (...)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

_SMOOTHING = 0.1
"""Share of a label that label_smoothing spreads (Szegedy et al., arXiv 1512.00567)."""


def label_smoothing(logits: jax.Array, y: jax.Array) -> jax.Array:
    """Cross-entropy with 0.1 of the label spread over all classes."""
    spread = optax.smooth_labels(jax.nn.one_hot(y, logits.shape[-1]), _SMOOTHING)
    return optax.softmax_cross_entropy(logits, spread)


def focal(logits: jax.Array, y: jax.Array) -> jax.Array:
    """(1 - p)^2 times the cross-entropy, p the label's probability (Lin et al., arXiv 1708.02002);
    optax's is of sigmoids."""
    entropy = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    return jnp.square(jnp.expm1(-entropy)) * entropy


def squared_error(logits: jax.Array, y: jax.Array) -> jax.Array:
    """Squared error of the logits and the label as a unit vector, mean over classes."""
    return jnp.mean(optax.squared_error(logits, jax.nn.one_hot(y, logits.shape[-1])), -1)


LOSSES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "cross_entropy": optax.softmax_cross_entropy_with_integer_labels,
    "label_smoothing": label_smoothing,
    "focal": focal,
    "squared_error": squared_error,
    "hinge": optax.losses.multiclass_hinge_loss,
}
