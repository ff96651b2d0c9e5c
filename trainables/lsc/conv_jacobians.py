"""Blocks of a convolutional network, and how far their Jacobians stretch.

As `ffn_jacobians`, whose functions these are the twins of, for layers of different shapes: a block
is act(A a + b), A act(z) + b or the readout alone, A a linear layer of `models.cnn.ConvRow`. Its
Jacobian S A S' (S and S' slopes of the activation) is applied and never stored where radii come by
power iteration, since that of a convolution of 32 x 32 pixels and 128 channels has 10^10 entries.

Shapes: B samples, n numbers of the smaller of a block's ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from trainables.core.activations import ACTIVATIONS
from trainables.core.random_keys import named_key
from trainables.declarations import PartError
from trainables.lsc import ffn_jacobians, radius_loss
from trainables.lsc.ffn_jacobians import Block, Norm, Weights
from trainables.models.cnn import ConvRow
from trainables.models.feedforward import slope_at_input

_LARGEST = 4096
"""Numbers of a Jacobian's side up to which it is stored."""
_DIRECTIONS = 8
_RESCUE = 3.0
"""Largest factor of weights whose radius is below .5."""


@dataclass(frozen=True)
class ConvJacobians:
    """What a pretraining asks of a network's blocks. Weights are by path, z by layer."""

    row: ConvRow

    def require(self, norm: Norm) -> None:
        """Raises PartError where Jacobians are too large to be stored, and need be."""
        largest = max(map(self.row.size, range(1, self.row.layers)))
        if norm.estimate == "exact" and largest > _LARGEST:
            raise PartError(
                f"a Jacobian of this model has {largest:,} rows, above the {_LARGEST:,} whose "
                "eigenvalues lsc_estimate=exact finds; set lsc_estimate=power, or lower width or "
                "resize"
            )
        if norm.estimate == "power" and norm.name != "radius":
            raise PartError(
                f"lsc_norm={norm.name} of model cnn needs lsc_estimate=exact; power is of radii"
            )

    def block_of(self, number: jax.Array, depth: int) -> Block:
        return ffn_jacobians.block_of(number, depth)

    def moved_by(self, block: Block, depth: int) -> dict[str, jax.Array]:
        """As `ffn_jacobians.moved_by`."""
        found = {}
        for layer in range(depth + 1):
            here = block.layer == layer
            found[f"layers/{layer}/w"] = here
            found[f"layers/{layer}/b"] = here & block.outer & (layer < depth)
        return found

    def measured(
        self, activation: str, layer: int, w: jax.Array, b: jax.Array, a: jax.Array,
        z: jax.Array | None, form: tuple[Any, Any], target: Any, key: jax.Array, norm: Norm,
    ) -> tuple[jax.Array, jax.Array]:  # fmt: skip
        """Loss and norms (B,) of a block.

        Args:
          a: (B, *shape) what its linear layer is given; z, where there is one, a before activation.
          form: whether the block is act(A a + b), and whether it is A act(z) + b.
        """
        row, (outer, inner) = self.row, form
        out = row.linear(layer, w, a)
        above = jnp.where(outer, slope_at_input(out + b, activation), 1.0).reshape(len(a), -1)
        below = jnp.ones_like(a) if z is None else slope_at_input(z, activation).reshape(a.shape)
        below = jnp.where(inner, below, 1.0)
        inputs, outputs = row.size(layer), above.shape[1]
        n = min(inputs, outputs)
        choose, draw = jax.random.split(key)
        kept = jnp.sort(jax.random.permutation(choose, max(inputs, outputs))[:n])

        def apply(v: jax.Array) -> jax.Array:
            """J v of columns v (B, n, p)."""
            columns = v.shape[-1]
            v = jnp.swapaxes(v, 1, 2)
            if inputs > outputs:
                v = jnp.zeros((len(a), columns, inputs), v.dtype).at[..., kept].set(v)
            v = v.reshape(len(a), columns, *a.shape[1:]) * below[:, None]
            found = row.linear(layer, w, v.reshape(-1, *a.shape[1:]))
            found = found.reshape(len(a), columns, outputs) * above[:, None]
            if outputs > inputs:
                found = found[..., kept]
            return jnp.swapaxes(found, 1, 2)

        if norm.estimate == "power":
            start = jax.random.normal(draw, (len(a), n, _DIRECTIONS))
            norms = radius_loss.growth_radius(apply, start)
            return jnp.mean(jnp.square(norms - target)), norms
        stored = apply(jnp.broadcast_to(jnp.eye(n), (len(a), n, n)))
        return radius_loss.departure(stored, target, draw, *norm)

    def descent(
        self, activation: str, weights: Weights, x: jax.Array, z: tuple[jax.Array, ...],
        block: Block, target: Any, key: jax.Array, norm: Norm,
    ) -> tuple[jax.Array, jax.Array, Weights]:  # fmt: skip
        """As `ffn_jacobians.descent`."""
        zero = jax.tree.map(jnp.zeros_like, weights)
        given = self._given(activation, x, z)

        def of(layer: int) -> Callable[[], Any]:
            names = f"layers/{layer}/w", f"layers/{layer}/b"

            def loss(w: jax.Array, b: jax.Array) -> Any:
                form = block.outer, block.inner
                value, norms = self.measured(
                    activation, layer, w, b, *given[layer], form, target, key, norm
                )
                return value, jnp.mean(norms)

            def run() -> Any:
                own = [weights[name] for name in names]
                found, gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(*own)
                return found, {**zero, **dict(zip(names, gradients, strict=True))}

            return run

        branches = [of(layer) for layer in range(self.row.layers)]
        (value, mean), gradients = lax.switch(block.layer, branches)
        return value, mean, gradients

    def layer_norms(
        self, activation: str, weights: Weights, x: jax.Array, z: tuple[jax.Array, ...],
        key: jax.Array, norm: Norm,
    ) -> jax.Array:  # fmt: skip
        """Norms of both blocks of each layer, (layers, 2 B), as `ffn_jacobians.layer_norms`."""
        found, last = [], self.row.layers - 1
        for layer, given in enumerate(self._given(activation, x, z)):
            forms = ((True, False), (False, True))
            if layer == 0:
                forms = ((True, False),) * 2
            elif layer == last:
                forms = ((False, True), (False, False))
            own = weights[f"layers/{layer}/w"], weights[f"layers/{layer}/b"]
            norms = [
                self.measured(activation, layer, *own, *given, form, 1.0, key, norm)[1]
                for form in forms
            ]
            found.append(jnp.concatenate(norms))
        return jnp.stack(found)

    def _given(
        self, activation: str, x: jax.Array, z: tuple[jax.Array, ...]
    ) -> list[tuple[jax.Array, jax.Array | None]]:
        """(a, z) of each layer: what it is given, and that before its activation."""
        act = ACTIVATIONS[activation]
        return [(self.row.images(x), None), *((act(below), below) for below in z)]

    def shuffled(self, weights: Weights, key: jax.Array) -> Weights:
        """Every tensor's entries in random order."""
        return {n: radius_loss.permuted(named_key(key, n), leaf) for n, leaf in weights.items()}

    def rescaling(
        self, activation: str, weights: Weights, block: Block, norm: jax.Array, target: Any,
        key: jax.Array,
    ) -> Callable[[Weights], Weights]:  # fmt: skip
        """The function that multiplies the weights of a block towards the target: of convolutions
        of equal width by the norm measured, of all others, which are far from square, by the
        spread of their entries; and biases as `ffn_jacobians.rescaling` draws them for cos."""
        row, factors = self.row, {}
        for layer in range(row.layers):
            name = f"layers/{layer}/w"
            w = weights[name]
            fan = w[0].size if layer else w.size // w.shape[1]
            measured = norm if 0 < layer < row.depth else radius_loss.expected_radius(w, fan)
            factor = radius_loss.multiplier(target, measured, rescue=_RESCUE)
            factors[name] = jnp.where(block.layer == layer, factor, 1.0)

        def change(tree: Weights) -> Weights:
            new = {name: leaf * factors.get(name, 1.0) for name, leaf in tree.items()}
            if activation == "cos":
                for layer in range(row.layers - 1):
                    name = f"layers/{layer}/b"
                    fresh = jax.random.uniform(named_key(key, name), new[name].shape)
                    new[name] = jnp.where(jnp.mean(weights[name]) == 0, fresh, new[name])
            return new

        return change
