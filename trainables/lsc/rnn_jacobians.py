"""One-step Jacobians of a recurrent stack: through time, over depth, from the input, to the logits.

See docs/specs/herranz2023.md, 1.4. With s_{t,i} the state of layer i, the kinds are
  rec    d s_{t+1,i} / d s_{t,i}
  enc    d s_{t+1,1} / d x_t, of the lowest layer (x is the embedding where inputs are tokens)
  depth  d s_{t+1,i} / d s_{t+1,i-1}, of the others
  dec    d logits / d s_{t+1,L}, where there are few enough logits
and each is (B, rows, columns), one matrix per sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from trainables.core.layout import by_path
from trainables.layers.gated import Cell
from trainables.lsc import radius_loss
from trainables.models.rnn import RecurrentNet

_MOST_LOGITS = 100
"""With more, the readout's Jacobian is left out, as published: a vocabulary has thousands."""

Transition = tuple[str, int]
"""Kind and layer, 0 nearest the input."""


def transitions(depth: int, classes: int, kinds: str = "all") -> tuple[Transition, ...]:
    """Kind and layer of every Jacobian, in the order `radii` gives them.

    Args:
      kinds: "all", or one kind.
    """
    found = []
    for layer in range(depth):
        found += [("rec", layer), ("depth" if layer else "enc", layer)]
    if classes <= _MOST_LOGITS:
        found.append(("dec", depth - 1))
    return tuple(t for t in found if kinds in ("all", t[0]))


def columns(found: Sequence[Transition], times: int = 1) -> dict[str, np.ndarray]:
    """Columns kind and layer of a probe's rows, the transitions `times` over."""
    kinds, layers = zip(*found, strict=True)
    return {
        "kind": np.tile(np.array(kinds), times),
        "layer": np.tile(np.array(layers, np.int32), times),
    }


def advance(net: RecurrentNet, states: Sequence[jax.Array], x: jax.Array) -> tuple[jax.Array, ...]:
    """The next state (B, S) of each layer; x is the lowest layer's input, (B, F)."""
    found, h = [], x
    for layer, state in enumerate(states):
        found.append(net.step(layer, state, h))
        h = net.output(layer, found[-1])
    return tuple(found)


def _both(
    cell: Cell,
    lower: Cell | None,
    w: Mapping[str, jax.Array],
    lower_w: Mapping[str, jax.Array],
    state: jax.Array,
    below: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Jacobians (B, S, S) by a layer's own state and (B, S, F) by the state or input below it."""

    def step(state: jax.Array, below: jax.Array) -> jax.Array:
        h = below[None] if lower is None else lower.output(lower_w, below[None])
        return cell.advance(w, state[None], cell.drive(w, h))[0]

    return jax.vmap(jax.jacrev(step, argnums=(0, 1)))(state, below)


def jacobians(
    net: RecurrentNet,
    states: Sequence[jax.Array],
    new: Sequence[jax.Array],
    x: jax.Array,
    wanted: Sequence[Transition],
) -> list[jax.Array]:
    """The Jacobians of one step, in the order `wanted`.

    Layers of equal cells and shapes are computed together, so that compile time hardly grows with
    depth.

    Args:
      states, new: of every layer before and after the step, (B, S).
      x: the lowest layer's input, (B, F).
      wanted: as from `transitions`.
    """
    groups: dict[Any, list[tuple[int, Any]]] = {}
    for layer, cell in enumerate(net.cells):
        lower, below = (net.cells[layer - 1], new[layer - 1]) if layer else (None, x)
        lower_w = net.params(layer - 1) if layer else {}
        arguments = net.params(layer), lower_w, states[layer], below
        shapes = tuple((path, leaf.shape) for path, leaf in by_path(arguments).items())
        groups.setdefault((cell, lower, shapes), []).append((layer, arguments))
    found = {}
    for (cell, lower, _), members in groups.items():
        layers, arguments = zip(*members, strict=True)
        if not any(layer in layers for kind, layer in wanted if kind != "dec"):
            continue
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *arguments)
        through_time, from_below = jax.vmap(partial(_both, cell, lower))(*stacked)
        for at, layer in enumerate(layers):
            found["rec", layer] = through_time[at]
            found["depth" if layer else "enc", layer] = from_below[at]
    top = net.depth - 1
    if ("dec", top) in wanted:
        found["dec", top] = jax.vmap(jax.jacrev(lambda s: net.logits(net.output(top, s[None]))[0]))(
            new[top]
        )
    return [found[transition] for transition in wanted]


def radii(
    matrices: Sequence[jax.Array],
    targets: jax.Array,
    key: jax.Array,
    norm: str = "radius",
    estimate: str = "exact",
) -> tuple[jax.Array, jax.Array]:
    """Loss and norm of each Jacobian (`radius_loss.departure`), equal shapes in one call.

    Args:
      matrices: Jacobians, each (B, rows, columns).
      targets: (transitions,).
      key: draws the subsets that make matrices square, and random directions.

    Returns:
      Losses (transitions,) and norms (transitions, B).
    """
    keys = jax.random.split(key, len(matrices))
    measure = jax.vmap(partial(radius_loss.departure, norm=norm, estimate=estimate))
    shapes: dict[Any, list[int]] = {}
    for at, matrix in enumerate(matrices):
        shapes.setdefault(matrix.shape, []).append(at)
    order, losses, norms = [], [], []
    for places in shapes.values():
        at = jnp.array(places)
        loss, own = measure(jnp.stack([matrices[i] for i in places]), targets[at], keys[at])
        order += places
        losses.append(loss)
        norms.append(own)
    back = jnp.argsort(jnp.array(order))
    return jnp.concatenate(losses)[back], jnp.concatenate(norms)[back]


def walked(
    net: RecurrentNet,
    x: jax.Array,
    wanted: Sequence[Transition],
    key: jax.Array,
    points: int,
    norm: str = "radius",
    estimate: str = "exact",
) -> jax.Array:
    """Norms along a sequence, from states of 0.

    Args:
      x: inputs (B, T, F) or tokens (B, T).
      points: time steps measured, evenly spaced, the last included.

    Returns:
      Norms (points, transitions, B).
    """
    length = x.shape[1]
    points = min(points, length)
    every, rest = divmod(length, points)
    targets = jnp.zeros(len(wanted))
    inputs = jnp.swapaxes(x, 0, 1)

    def step(states: Any, x: jax.Array) -> tuple[Any, None]:
        return advance(net, states, net.embed(x)), None

    def stretch(states: Any, entry: Any) -> tuple[Any, jax.Array]:
        key, inputs = entry
        states, _ = lax.scan(step, states, inputs[:-1])
        last = net.embed(inputs[-1])
        new = advance(net, states, last)
        found = jacobians(net, states, new, last, wanted)
        return new, radii(found, targets, key, norm, estimate)[1]

    states, _ = lax.scan(step, net.initial(len(x)), inputs[:rest])
    stretches = inputs[rest:].reshape(points, every, *inputs.shape[1:])
    return lax.scan(stretch, states, (jax.random.split(key, points), stretches))[1]
