"""Which layers' outputs, and which gradients that reach them, are finite; at which time step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trainables.core.engine import State
from trainables.core.numbers import widened
from trainables.training.epoch import Training
from trainables.training.submodules import Call, time_axis, watched


class Place(NamedTuple):
    """Whose flags some are.

    Attributes:
      step: the time step, where the layer is called once for each.
      what: of it, as for `LayerOutput`.
    """

    layer_name: str
    step: int | None = None
    what: str = "output"


Signal = tuple[Place, jax.Array]
"""Whether what a layer hands on, or gets back, is finite: (T,) where it has an axis of time."""


def signals(training: Training, state: State, batch: Any) -> tuple[list[Signal], list[Signal]]:
    """Layers' outputs, and the gradients of the batch's loss that reach them, as a training step
    makes them; each in the order of the forward pass.

    A model of ours says what its layers hand on (`outputs_by_layer`) and lets gradients be read
    where they flow (`tapped`). Of a user's, the modules inside are watched.
    """
    module, x = _module(training, state), training.precision.inputs(batch[0])
    if not hasattr(module, "outputs_by_layer"):
        return _of_submodules(training, state, batch)
    outputs = [
        (Place(name, what=what), _finite(values, 0 if timed else None))
        for name, values, timed, what in module.outputs_by_layer(x)
    ]
    # `tapped` starts from states of 0, so it does not repeat a step of a net that carries them on.
    if training.depth is None or getattr(module, "carries", False):
        return outputs, []

    def loss(gauges: jax.Array) -> jax.Array:
        answer = _module(training, state).tapped(x, gauges)
        return _loss(training, batch, widened(answer))

    norms = jax.grad(loss)(jnp.zeros((training.depth, training.sizes.seq_len)))
    names = {row.layer: row.layer_name for row in training.layout.rows}
    return outputs, [(Place(names[i]), jnp.isfinite(norm)) for i, norm in enumerate(norms)]


def _of_submodules(
    training: Training, state: State, batch: Any
) -> tuple[list[Signal], list[Signal]]:
    calls: list[Call] = []

    def loss(added: dict[int, jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
        module = _module(training, state)
        with watched(module, lambda i, value: value + added[i] if i in added else value) as seen:
            answer = module(training.precision.inputs(batch[0]))
        calls[:] = seen
        return _loss(training, batch, widened(answer)), [call.value for call in seen]

    jax.eval_shape(loss, {})
    numbers = [jnp.issubdtype(call.value.dtype, jnp.inexact) for call in calls]
    zeros = {
        i: jnp.zeros(call.value.shape, call.value.dtype)
        for i, call in enumerate(calls)
        if numbers[i]
    }
    gradients, values = jax.grad(loss, has_aux=True)(zeros)
    outputs, reached = [], []
    for i, call in enumerate(calls):
        axis = time_axis(calls, i, batch[0])
        place = Place(call.layer_name, call.count if axis == -1 else None)
        along = axis if axis != -1 else None
        outputs.append((place, _finite(values[i], along)))
        if i in gradients:
            reached.append((place, _finite(gradients[i], along)))
    return outputs, reached


def _module(training: Training, state: State) -> Any:
    """The module of a lane, as it trains."""
    return training.computing(state["params"], state["rest"], train=True)


def _loss(training: Training, batch: Any, outputs: Any) -> jax.Array:
    weight = batch[2]
    losses = training.losses(batch, outputs)
    return jnp.sum(jnp.where(weight > 0, weight * losses, 0)) / jnp.sum(weight)


def _finite(values: jax.Array, time: int | None) -> jax.Array:
    others = tuple(axis for axis in range(values.ndim) if axis != time)
    return jnp.all(jnp.isfinite(values), axis=others)
