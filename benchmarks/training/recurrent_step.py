"""Where the time of a small LSTM's epoch goes: the same ten steps with less and less in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.timing import alternate
from benchmarks.training.epoch_loop import CONFIG
from trainables.declarations import builtin_registry
from trainables.packs.pack import Pack

STEPS, SEQ_LEN, BATCH, WIDTH = 10, 200, 10, 32


def _run(w: jax.Array, drives: jax.Array) -> tuple[jax.Array, ...]:
    """(h, c, input, forget and output gate, candidate) of an LSTM, each (T, B, H)."""

    def step(carry: tuple[jax.Array, jax.Array], drive: jax.Array) -> Any:
        z = drive + carry[0] @ w
        i, f, o = jnp.split(jax.nn.sigmoid(z[:, : 3 * WIDTH]), 3, -1)
        g = jnp.tanh(z[:, 3 * WIDTH :])
        c = f * carry[1] + i * g
        h = o * jnp.tanh(c)
        return (h, c), (h, c, i, f, o, g)

    zero = jnp.zeros_like(drives[0, :, :WIDTH])
    return jax.lax.scan(step, (zero, zero), drives)[1]


def states(w: jax.Array, drives: jax.Array) -> jax.Array:
    """Hidden states (T, B, H); `drives` (T, B, 4H) are inputs times their weights."""
    return _run(w, drives)[0]


@jax.custom_vjp
def states_by_hand(w: jax.Array, drives: jax.Array) -> jax.Array:
    """As `states`. The way back carries dh and dc alone: what does not depend on them is computed
    for all time steps at once, the weights' gradient included."""
    return states(w, drives)


def _forward(w: jax.Array, drives: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    kept = _run(w, drives)
    return kept[0], (w, *kept)


def _backward(kept: tuple[jax.Array, ...], dh: jax.Array) -> tuple[jax.Array, jax.Array]:
    w, h, c, i, f, o, g = kept
    h, before = (jnp.concatenate([jnp.zeros_like(v[:1]), v[:-1]]) for v in (h, c))
    tanh = jnp.tanh(c)
    slopes = g * i * (1 - i), before * f * (1 - f), tanh * o * (1 - o), i * (1 - g**2)

    def step(carry: tuple[jax.Array, jax.Array], at: Any) -> Any:
        dh, (into, forget, (si, sf, so, sg)) = carry[0] + at[0], at[1:]
        dc = carry[1] + dh * into
        dz = jnp.concatenate([dc * si, dc * sf, dh * so, dc * sg], -1)
        return (dz @ w.T, dc * forget), dz

    zero = jnp.zeros_like(dh[0])
    each = dh, o * (1 - tanh**2), f, slopes
    dz = jax.lax.scan(step, (zero, zero), each, reverse=True)[1]
    return jnp.einsum("tbh,tbz->hz", h, dz), dz


states_by_hand.defvjp(_forward, _backward)


def _epoch(layer: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable[[], Any]:
    """Ten steps of gradient descent and nothing else."""
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = (1, 4 * WIDTH), (WIDTH, 4 * WIDTH), (WIDTH, 1)
    weights = [0.1 * jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=False)]
    x = jax.random.normal(keys[3], (STEPS, SEQ_LEN, BATCH, 1))

    def loss(weights: list[jax.Array], x: jax.Array) -> jax.Array:
        return jnp.mean((layer(weights[1], x @ weights[0]) @ weights[2]) ** 2)

    def step(weights: list[jax.Array], x: jax.Array) -> Any:
        value, slopes = jax.value_and_grad(loss)(weights, x)
        return jax.tree.map(lambda w, dw: w - 1e-3 * dw, weights, slopes), value

    run = jax.jit(lambda weights, x: jax.lax.scan(step, weights, x))
    return lambda: jax.block_until_ready(run(weights, x))


def _floor() -> Callable[[], Any]:
    """As many iterations as those ten steps have, forwards and backwards, with one product each."""
    w = 0.1 * jax.random.normal(jax.random.key(1), (WIDTH, 4 * WIDTH))

    def step(_: Any, h: jax.Array) -> jax.Array:
        return jnp.tanh((h @ w)[:, :WIDTH])

    run = jax.jit(lambda h: jax.lax.fori_loop(0, 2 * STEPS * SEQ_LEN, step, h))
    h = jnp.ones((BATCH, WIDTH))
    return lambda: jax.block_until_ready(run(h))


def run() -> dict[str, float]:
    """Seconds of ten steps of one LSTM of 32 units, batch 10, 200 time steps: as trained;
    gradient descent alone, in plain JAX; the same with a backward pass by hand; and one product per
    iteration."""
    pack = Pack([builtin_registry().resolve(CONFIG)], {})
    pack.init()
    pack.compile()
    return alternate(
        {
            "as trained": lambda: pack.epoch(0),
            "gradient descent alone": _epoch(states),
            "gradient descent, backward by hand": _epoch(states_by_hand),
            "one product per iteration": _floor(),
        },
        rounds=15,
    )
