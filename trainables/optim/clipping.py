"""Gradient rescaling by global norm: a ceiling, and a floor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

_PUBLISHED_EPSILON = 1e-8


def clipped(
    gradients: Any, norm: jax.Array, config: Mapping[str, Any], hparams: Mapping[str, jax.Array]
) -> tuple[Any, jax.Array]:
    """`rescale` as the keys of a trial's optimizer say; one without them leaves gradients alone."""
    rule = str(config.get("min_norm_rule", "exact"))
    return rescale(gradients, norm, hparams.get("clip_norm"), hparams.get("min_norm"), rule)


def rescale(
    gradients: Any,
    norm: jax.Array,
    clip_norm: jax.Array | None,
    min_norm: jax.Array | None,
    rule: str = "exact",
) -> tuple[Any, jax.Array]:
    """Gradients with their global norm brought down to `clip_norm`, or up to `min_norm`.

    Both tests use the norm before clipping, as in the source of study `vanishing`. A gradient of
    exactly 0 stays 0.

    Args:
      gradients: any tree.
      norm: its global 2-norm.
      clip_norm: ceiling; None or NaN: none.
      min_norm: floor m; None or 0: none.
      rule: exact: norm m afterwards (g m / max(|g|, tiny)). published: g m / (|g| + 1e-8), whose
        epsilon keeps gradients far below 1e-8 short of m.

    Returns:
      The new gradients and their norm. A gradient that is not finite is returned as it is.
    """
    target = norm
    if clip_norm is not None:
        target = jnp.where(norm > clip_norm, clip_norm, target)
    if min_norm is not None:
        tiny = jnp.finfo(norm.dtype).tiny
        # Where the floor exceeds the ceiling both apply, the clipped norm being scaled up again.
        if rule == "published":
            lifted = target * (min_norm / (norm + _PUBLISHED_EPSILON))
        else:
            lifted = jnp.where(target == norm, min_norm, target * (min_norm / norm))
        target = jnp.where((norm > tiny) & (norm < min_norm), lifted, target)
    changed = jnp.isfinite(norm) & (target != norm)
    # target / norm may overflow (1 / 1e-39), so split the factor into its two square roots.
    root = jnp.where(changed, jnp.sqrt(target) / jnp.sqrt(jnp.where(norm > 0, norm, 1.0)), 1.0)
    scaled = jax.tree.map(lambda g: jnp.where(changed, g * root * root, g), gradients)
    return scaled, jnp.where(changed, target, norm)
