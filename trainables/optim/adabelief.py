"""Built-in update rules. Clipping is applied before them, in `clipping`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from trainables.core.layout import by_path

_B1, _B2 = 0.9, 0.999
_EPSILON = 1e-14
_LONGEST = 2 / (1 - _B2) - 1
"""Length of the average that v becomes in the limit, in steps (rho_inf of RAdam)."""
_SHORTEST = 5.0
"""Averages shorter than this are too noisy to divide by."""


def scheduled(hparams: Mapping[str, jax.Array], step: jax.Array) -> Mapping[str, jax.Array]:
    """`hparams` with `lr` as it is at a step, for rules that have a schedule.

    lr_end + (lr - lr_end) (1 + cos(pi step / total)) / 2: the peak at step 0 and lr_end after the
    last (study `zucchet2024`, section 3); lr itself where lr_end is null. Or lr times lr_gamma for
    each of `milestone_steps` that has come (study `ribeiro2020`, section 3).
    """
    if "milestone_steps" in hparams:
        falls = jnp.sum(step >= hparams["milestone_steps"])
        return {**hparams, "lr": hparams["lr"] * hparams["lr_gamma"] ** falls}
    if "lr_end" not in hparams:
        return hparams
    lr, end = hparams["lr"], hparams["lr_end"]
    if "lr_warmup" in hparams:
        rates = {"lr": lr, "lr_recurrent": lr * hparams["lr_factor"]}
        now = {n: warmed(hparams, rate, step) for n, rate in rates.items()}
        return {**hparams, **{n: jnp.where(jnp.isnan(end), rates[n], now[n]) for n in rates}}
    share = (1 + jnp.cos(jnp.pi * step / hparams["total_steps"])) / 2
    return {**hparams, "lr": jnp.where(jnp.isnan(end), lr, end + (lr - end) * share)}


def warmed(hparams: Mapping[str, jax.Array], lr: jax.Array, step: jax.Array) -> jax.Array:
    """A group's rate at a step: linear from lr_end to lr over the W steps of the warm-up, then half
    a cosine that is at lr_end in the last step (Orvieto et al., arXiv 2303.06349, D.2).

    Under `compat_schedule`, as published (study `bar2025`, section 0, 6): a step uses the rate that
    was written after the one before it, so the first is at lr; the warm-up is lr (s + 1) / W; the
    cosine counts s from the first step of all and ends at T - W.
    """
    end, total, warm = hparams["lr_end"], hparams["total_steps"], hparams["warmup_steps"]

    def cosine(share: jax.Array) -> jax.Array:
        return end + (lr - end) * (1 + jnp.cos(jnp.pi * jnp.clip(share, 0, 1))) / 2

    rising = end + (lr - end) * step / jnp.maximum(warm, 1)
    falling = cosine((step - warm) / jnp.maximum(total - 1 - warm, 1))
    last = step - 1.0
    published = jnp.where(
        last < warm, lr * (last + 1) / jnp.maximum(warm, 1), cosine(last / (total - warm))
    )
    published = jnp.where(step == 0, lr, published)
    intended = jnp.where(step < warm, rising, falling)
    return jnp.where(hparams["compat_schedule"], published, intended)


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


def adamw(
    config: Mapping[str, Any], hparams: Mapping[str, jax.Array]
) -> optax.GradientTransformation:
    """Adam with decoupled decay (Loshchilov and Hutter, arXiv 1711.05101), optax's constants."""
    return _decayed(optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8), hparams)


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
    """Adam whose recurrent leaves have a learning rate of their own and no decay (study `bar2025`,
    section 3); the others as `adamw`."""
    slow = hparams.get("lr_recurrent", hparams["lr"] * hparams["lr_factor"])

    def finish(updates: Any, params: Any) -> Any:
        def one(recurrent: bool, update: jax.Array, w: jax.Array) -> jax.Array:
            if recurrent:
                return -slow * update
            return -hparams["lr"] * (update + hparams["weight_decay"] * w)

        return jax.tree.map(one, recurrent_leaves(params), updates, params)

    return optax.chain(optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8), optax.stateless(finish))


def adabelief(
    config: Mapping[str, Any], hparams: Mapping[str, jax.Array]
) -> optax.GradientTransformation:
    """Rectified AdaBelief with decoupled decay, within Lookahead(6, .5) where `lookahead` says so.

    What study `herranz2023` (section 4) trains and pretrains with.
    """
    rule = _decayed(scale_by_rectified_belief(), hparams)
    return lookahead(rule) if config["lookahead"] else rule


def adabelief_optax(
    config: Mapping[str, Any], hparams: Mapping[str, jax.Array]
) -> optax.GradientTransformation:
    """AdaBelief as optax has it: the same moments, not rectified, eps 1e-16. From equal starts it
    moves several times as far as `adabelief`, so learning rates do not carry over."""
    return _decayed(optax.scale_by_belief(), hparams)


def _decayed(
    rule: optax.GradientTransformation, hparams: Mapping[str, jax.Array]
) -> optax.GradientTransformation:
    """w -= lr (rule + weight_decay w)."""
    return optax.chain(
        rule,
        optax.add_decayed_weights(hparams["weight_decay"]),
        optax.scale_by_learning_rate(hparams["lr"]),
    )


class BeliefState(NamedTuple):
    """Steps taken, and the averages m of g and v of (g - m)^2, shaped like the parameters."""

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
        def zeros() -> Any:
            return jax.tree.map(jnp.zeros_like, params)

        return BeliefState(jnp.int32(0), zeros(), zeros())

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, BeliefState]:
        count = state.count + 1
        t = count.astype(jnp.float32)
        mean = jax.tree.map(lambda m, g: _B1 * m + (1 - _B1) * g, state.mean, updates)
        deviation = jax.tree.map(
            lambda v, g, m: _B2 * v + (1 - _B2) * jnp.square(g - m) + _EPSILON,
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


class LookaheadState(NamedTuple):
    """Steps taken, the slow weights, and the state of the rule that moves the fast ones."""

    count: jax.Array
    slow: Any
    fast: Any


def lookahead(
    rule: optax.GradientTransformation, period: int = 6, step: float = 0.5
) -> optax.GradientTransformationExtraArgs:
    """Lookahead (Zhang et al., arXiv 1907.08610) around `rule`; `params` are the fast weights.

    At every `period`-th step the slow weights go `step` of the way to the fast ones, and the update
    returned puts the fast ones there too. (`optax.lookahead` wants pairs of weights as parameters.)
    """
    rule = optax.with_extra_args_support(rule)

    def init(params: Any) -> LookaheadState:
        # A copy, since a buffer cannot be donated twice.
        return LookaheadState(jnp.int32(0), jax.tree.map(jnp.array, params), rule.init(params))

    def update(
        updates: Any, state: Any, params: Any = None, **extra: Any
    ) -> tuple[Any, LookaheadState]:
        updates, fast = rule.update(updates, state.fast, params, **extra)
        count = state.count + 1
        meets = count % period == 0
        slow = jax.tree.map(
            lambda s, p, u: jnp.where(meets, s + step * (p + u - s), s), state.slow, params, updates
        )
        updates = jax.tree.map(lambda s, p, u: jnp.where(meets, s - p, u), slow, params, updates)
        return updates, LookaheadState(count, slow, fast)

    return optax.GradientTransformationExtraArgs(init, update)


def restricted(rule: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """`rule` for steps that concern some of the parameters only.

    The update function takes `mask`, a tree of booleans shaped like the parameters, each of which
    broadcasts to its tensor; without one everything moves. Where False nothing does: not the
    parameter, nor any state of the rule that belongs to it (moments, slow weights). Counters of
    steps are shared by all.
    """
    rule = optax.with_extra_args_support(rule)

    def update(
        updates: Any, state: Any, params: Any = None, *, mask: Any = None, **extra: Any
    ) -> tuple[Any, Any]:
        moved, new = rule.update(updates, state, params, **extra)
        if mask is None:
            return moved, new
        moves = optax.tree.map_params(
            rule, lambda _, own: own, state, mask, transform_non_params=lambda _: True
        )
        new = jax.tree.map(jnp.where, moves, new, state)
        return jax.tree.map(lambda own, u: jnp.where(own, u, 0), mask, moved), new

    return optax.GradientTransformationExtraArgs(rule.init, update)


def on_slow_weights(state: Any, change: Callable[[Any], Any]) -> Any:
    """A rule's state with its slow weights, where it has any, changed as the weights were."""
    if isinstance(state, LookaheadState):
        return state._replace(slow=change(state.slow))
    return state
