"""AdaBelief, rectified and as optax has it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from trainables.core.numbers import abs_square
from trainables.optim.decay import decayed
from trainables.optim.lookahead import lookahead

_B1, _B2 = 0.9, 0.999
_EPSILON = 1e-14
_LONGEST = 2 / (1 - _B2) - 1
"""Length of the average that v becomes in the limit, in steps (rho_inf of RAdam)."""
_SHORTEST = 5.0
"""Averages shorter than this are too noisy to divide by."""


def adabelief(
    config: Mapping[str, Any], hparams: Mapping[str, jax.Array]
) -> optax.GradientTransformation:
    """Rectified AdaBelief with decoupled decay, within Lookahead(6, .5) where `lookahead` says so.

    What docs/specs/herranz2023.md, 4, trains and pretrains with.
    """
    rule = decayed(scale_by_rectified_belief(), config, hparams)
    return lookahead(rule) if config["lookahead"] else rule


def adabelief_optax(
    config: Mapping[str, Any], hparams: Mapping[str, jax.Array]
) -> optax.GradientTransformation:
    """AdaBelief as optax has it: the same moments, not rectified, eps 1e-16. From equal starts it
    moves several times as far as `adabelief`, so learning rates do not carry over."""
    return decayed(optax.scale_by_belief(), config, hparams)


class BeliefState(NamedTuple):
    """Steps taken, and the averages m of g and v of |g - m|^2, shaped like the parameters."""

    count: jax.Array
    mean: Any
    deviation: Any


def _averaged(count: jax.Array) -> jax.Array:
    """Length in steps of the average that v is after `count` (float) steps: RAdam's rho_t.

    rho_t = rho_inf - 2 t b2^t / (1 - b2^t) is a difference of two numbers near 2000 that is near t,
    so for small t it is summed from its series in t ln(1 / b2), exact to float32.
    """
    rate = -math.log(_B2)
    y = count * rate
    series = 1 - y / 6 + y**3 / 360 - y**5 / 15120 + y**7 / 604800
    early = (_LONGEST - 2 / rate) + count * series
    late = _LONGEST - 2 * count / jnp.expm1(jnp.maximum(y, 1.0))
    return jnp.where(y < 1, early, late)


def scale_by_rectified_belief() -> optax.GradientTransformation:
    """AdaBelief (Zhuang et al., arXiv 2010.07468, algorithm 2) with RAdam's rectification.

    m = b1 m + (1 - b1) g and v = b2 v + (1 - b2) (g - m)^2 + eps, with b1 .9, b2 .999, eps 1e-14.
    The update is r_t m^ / (sqrt(v^) + eps), bias-corrected, with r_t of Liu et al. (arXiv
    1908.03265, section 4.2); in the first five steps, where the variance of v is not tractable, it
    is the bare m^. The published runs used TensorFlow Addons, whose constants and eps these are.
    """

    def init(params: Any) -> BeliefState:
        squares = jax.tree.map(lambda p: jnp.zeros_like(jnp.real(p)), params)
        return BeliefState(jnp.int32(0), jax.tree.map(jnp.zeros_like, params), squares)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, BeliefState]:
        count = state.count + 1
        t = count.astype(jnp.float32)
        mean = jax.tree.map(lambda m, g: _B1 * m + (1 - _B1) * g, state.mean, updates)
        deviation = jax.tree.map(
            lambda v, g, m: _B2 * v + (1 - _B2) * abs_square(g - m) + _EPSILON,
            state.deviation,
            updates,
            mean,
        )
        # 1 - b^t, without the rounding of b^t near 1.
        unbias_mean, unbias_deviation = (-jnp.expm1(t * math.log(b)) for b in (_B1, _B2))
        length = _averaged(t)
        safe = jnp.maximum(length, _SHORTEST)
        rectifier = jnp.sqrt(
            ((safe - 4) * (safe - 2) * _LONGEST) / ((_LONGEST - 4) * (_LONGEST - 2) * safe)
        )

        def direction(m: jax.Array, v: jax.Array) -> jax.Array:
            m = m / unbias_mean
            divided = rectifier * m / (jnp.sqrt(v / unbias_deviation) + _EPSILON)
            return jnp.where(length >= _SHORTEST, divided, m)

        return jax.tree.map(direction, mean, deviation), BeliefState(count, mean, deviation)

    return optax.GradientTransformation(init, update)
