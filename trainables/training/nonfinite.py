"""Finding what went non-finite first: a layer's output, the loss, a gradient or an update."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trainables.core.engine import State
from trainables.core.random_keys import trial_key
from trainables.training.epoch import Training
from trainables.training.network import Hparams, fresh


def culprit(
    training: Training, state: State, hparams: Hparams, data: Any, epoch: int, step: int
) -> str:
    """Repeats the bad step from the lane's last finite state, pass by pass.

    Args:
      state: one lane's state, frozen before the step. data: the task's, on the device.

    Returns:
      A phrase that names the first layer at fault, in the order in which values are computed;
      the time step too of a model with `layer_outputs(x)`, shape (L, T, B, H).
    """

    @jax.jit  # one program, where pass by pass would be hundreds of small ones
    def measured(state: State, hparams: Hparams, data: Any, epoch: Any, step: Any) -> Any:
        schedule = training.task.training(trial_key(hparams["seed"]), hparams, epoch)
        entry = jax.tree.map(lambda leaf: leaf[step], schedule)
        batch = training.task.batch(data, entry, hparams)
        rest = fresh(state["rest"], entry)
        module: Any = nnx.merge(training.graph, state["params"], rest, copy=True)
        finite = jnp.ones((0, 1), bool)
        if hasattr(module, "layer_outputs"):
            finite = jnp.all(jnp.isfinite(module.layer_outputs(batch[0])), axis=(2, 3))
        grad = jax.value_and_grad(training.loss, has_aux=True)
        (loss, _), gradients = grad(state["params"], rest, batch)
        return finite, loss, training.layout.norms(gradients)

    found = measured(state, hparams, data, jnp.int32(epoch), jnp.int32(step))
    outputs, loss, norms = map(np.asarray, found)
    for layer, finite in enumerate(outputs):
        if not finite.all():
            return f"the output of layer rnn.{layer} at time step {int(np.argmin(finite))}"
    if not np.isfinite(loss):
        return "the loss, while every recurrent output is finite"
    whole = [(row, norm) for row, norm in zip(training.layout.rows, norms, strict=True)]
    # Back-propagation meets the last layer first.
    for row, norm in reversed([pair for pair in whole if pair[0].tensor != "*"]):
        if not np.isfinite(norm):
            return f"the gradient of {row.layer_name}.{row.tensor}"
    return "the update, while loss and gradients are finite"
