"""Blocks of a feed-forward network, and how far their Jacobians stretch.

See docs/specs/herranz2023.md, 1.3. The network is a row of operations, dense and activation by
turns. A block is two in a row, act(W a + b) or W act(z) + b, or the readout alone. They are
numbered from the input: 2 l is act(W_l a + b_l), 2 l - 1 is W_l act(z_{l-1}) + b_l, and 2 L the
readout alone.

Shapes: B samples, H units, L hidden layers; layer L is the readout. Weights are those of
`feedforward.FeedForward`, by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from trainables.core.activations import ACTIVATIONS
from trainables.core.random_keys import named_key
from trainables.lsc import radius_loss
from trainables.models.feedforward import slope_at_input

_RESCUE = 3.0
"""Largest factor of weights whose radius is below .5."""

Weights = dict[str, jax.Array]


class Norm(NamedTuple):
    """What is measured of a Jacobian: `radius_loss.departure`'s norm and estimate."""

    name: str = "radius"
    estimate: str = "exact"


def jacobian(
    activation: str,
    w: jax.Array,
    b: jax.Array,
    a: jax.Array,
    z: jax.Array,
    outer: Any,
    inner: Any,
) -> jax.Array:
    """d(output of a block) / d(its input), (B, rows, columns), in closed form.

    Args:
      w, b: the block's dense layer, (out, in) and (out,).
      a: (B, in) what that layer is given; where `inner`, the activation of z.
      outer: whether the block is act(W a + b).
      inner: whether it is W act(z) + b. Neither: the dense layer alone.
    """
    above = jnp.where(outer, slope_at_input(a @ w.T + b, activation), 1.0)
    below = jnp.where(inner, slope_at_input(z, activation), 1.0)
    return above[:, :, None] * w * below[:, None, :]


class Block(NamedTuple):
    """A drawn block: its layer, and whether an activation comes after or before it."""

    layer: jax.Array
    outer: jax.Array
    inner: jax.Array


def block_of(number: jax.Array, depth: int) -> Block:
    """The block of that number, 0 to 2 L."""
    return Block((number + 1) // 2, (number % 2 == 0) & (number < 2 * depth), number % 2 == 1)


def moved_by(block: Block, depth: int) -> dict[str, jax.Array]:
    """What a gradient step on a block moves: its matrix, and its bias if that enters the Jacobian.
    A mask that broadcasts to each tensor."""
    hidden = jnp.arange(1, depth) == block.layer
    biases = (jnp.arange(depth) == block.layer) & block.outer
    return {
        "w_in": block.layer == 0,
        "w": hidden[:, None, None],
        "b": biases[:, None],
        "w_out": block.layer == depth,
        "b_out": jnp.bool_(False),
    }


def descent(
    activation: str,
    weights: Weights,
    x: jax.Array,
    z_LBH: jax.Array,
    block: Block,
    target: Any,
    key: jax.Array,
    norm: Norm,
) -> tuple[jax.Array, jax.Array, Weights]:
    """A block's loss and mean norm over samples, and the gradient by its weights (0 elsewhere).

    What the block is given does not count as a function of the weights below.
    """
    zero = jax.tree.map(jnp.zeros_like, weights)
    depth = len(z_LBH)

    def loss(w: jax.Array, b: jax.Array, a: jax.Array, z: jax.Array) -> Any:
        found = jacobian(activation, w, b, a, z, block.outer, block.inner)
        value, norms = radius_loss.departure(found, target, key, *norm)
        return value, jnp.mean(norms)

    grad = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)

    def first() -> Any:
        flat = x.reshape(len(x), -1)
        found, (w, b) = grad(weights["w_in"], weights["b"][0], flat, flat)
        return found, {**zero, "w_in": w, "b": zero["b"].at[0].set(b)}

    def hidden() -> Any:
        at = block.layer
        z = z_LBH[at - 1]
        own = weights["w"][at - 1], weights["b"][at]
        found, (w, b) = grad(*own, ACTIVATIONS[activation](z), z)
        return found, {**zero, "w": zero["w"].at[at - 1].set(w), "b": zero["b"].at[at].set(b)}

    def last() -> Any:
        z = z_LBH[-1]
        found, (w, _) = grad(weights["w_out"], weights["b_out"], ACTIVATIONS[activation](z), z)
        return found, {**zero, "w_out": w}

    which = (block.layer > 0).astype(jnp.int32) + (block.layer == depth)
    (value, mean), gradients = lax.switch(which, [first, hidden, last])
    return value, mean, gradients


def layer_norms(
    activation: str,
    weights: Weights,
    x: jax.Array,
    z_LBH: jax.Array,
    key: jax.Array,
    norm: Norm,
    both: bool = True,
) -> jax.Array:
    """Norms of the blocks of each layer, (L + 1, samples).

    Args:
      both: also the second block of each layer above the first, W act(z) + b and the readout alone,
        as further samples (the first layer's are then repeated). Else d h_l / d h_{l-1}, the
        readout's being d logits / d z.
    """
    a_LBH = ACTIVATIONS[activation](z_LBH)
    forms = ((True, False), (False, True)) if both else ((True, False),)

    def norms(w: Any, b: Any, a: Any, z: Any, forms: Any) -> jax.Array:
        found = jnp.concatenate([jacobian(activation, w, b, a, z, *form) for form in forms])
        return radius_loss.departure(found, 1.0, key, *norm)[1]

    def hidden(_: None, own: Any) -> tuple[None, jax.Array]:
        w, b, a, z = own
        return None, norms(w, b, a, z, forms)

    flat = x.reshape(len(x), -1)
    first = norms(weights["w_in"], weights["b"][0], flat, flat, forms[:1])
    _, middle = lax.scan(hidden, None, (weights["w"], weights["b"][1:], a_LBH[:-1], z_LBH[:-1]))
    top = ((False, True), (False, False)) if both else ((False, True),)
    last = norms(weights["w_out"], weights["b_out"], a_LBH[-1], z_LBH[-1], top)
    return jnp.concatenate([jnp.tile(first, len(forms))[None], middle, last[None]])


def shuffled(weights: Weights, key: jax.Array) -> Weights:
    """Every tensor's entries in random order, each layer of a stack on its own."""
    return {
        name: radius_loss.permuted(named_key(key, name), leaf, 1 if name in ("w", "b") else 0)
        for name, leaf in weights.items()
    }


def rescaling(
    activation: str, weights: Weights, block: Block, norm: jax.Array, target: Any, key: jax.Array
) -> Callable[[Weights], Weights]:
    """The function that multiplies the matrix of a block towards the target.

    Hidden matrices are judged by the norm measured, the first and the last, which are not square,
    by the spread of their entries. With cos, biases of a hidden layer that are all 0 are drawn from
    U[0, 1): cos'(0) = 0, so that without them inputs near 0 would have Jacobians near 0.
    """

    def factor(found: jax.Array) -> jax.Array:
        return radius_loss.multiplier(target, found, rescue=_RESCUE)

    w_in, w_out, depth = weights["w_in"], weights["w_out"], len(weights["b"])
    first = radius_loss.expected_radius(w_in, w_in.shape[0])
    last = radius_loss.expected_radius(w_out, w_out.shape[1])
    own = jnp.arange(1, depth) == block.layer
    factors = {
        "w_in": jnp.where(block.layer == 0, factor(first), 1.0),
        "w": jnp.where(own, factor(norm), 1.0)[:, None, None],
        "w_out": jnp.where(block.layer == depth, factor(last), 1.0),
    }

    def change(tree: Weights) -> Weights:
        new = {name: leaf * factors.get(name, 1.0) for name, leaf in tree.items()}
        if activation == "cos":
            fresh = jax.random.uniform(key, new["b"].shape)
            empty = jnp.mean(weights["b"], axis=1, keepdims=True) == 0
            new["b"] = jnp.where(empty, fresh, new["b"])
        return new

    return change
