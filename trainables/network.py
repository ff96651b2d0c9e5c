"""One lane's network as pure functions: initialise, apply, evaluate, read the timeline.

Arrays here have no lane axis; `packs` adds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from trainables.builtin import build_of
from trainables.layout import Layout, slots_of, variable_order
from trainables.models import RecurrentStack
from trainables.randomness import named_key, trial_key
from trainables.settings import build_config, constants, optimizer_of
from trainables.spec import Trial
from trainables.tasks import TaskRuntime

State = dict[str, Any]
Hparams = Mapping[str, jax.Array]


class Network:
    """Model, task and optimizer of all trials that share a program.

    Attributes:
      graph: the module without its state.
      layout: tensors and layers of the model.
      depth: recurrent layers of a built-in stack; None for other models, which have no timeline.
      steps: optimizer steps per epoch.
    """

    def __init__(self, trial: Trial, task: TaskRuntime, traced: Mapping[str, np.ndarray]):
        """`traced` are one lane's values, read for their types only.

        Raises:
          ValueError: the model has nothing to train.
        """
        self.sizes, self.task = trial.sizes, task
        self.steps = trial.sizes.steps
        self.constants = constants(trial)
        self._build_model = build_of(trial.model)
        self._build_optimizer = build_of(optimizer_of(trial))
        order: list[str] = []

        def build() -> nnx.Module:
            module = self._module(trial, jax.tree.map(jnp.asarray, dict(traced)))
            order.extend(variable_order(module))
            return module

        module = nnx.eval_shape(build)
        self.graph, params, _ = nnx.split(module, nnx.Param, ...)
        if not jax.tree.leaves(params):
            raise ValueError(f"model {trial.model.name} has no nnx.Param, so nothing to train")
        stack = module if isinstance(module, RecurrentStack) else None
        self.layout = Layout(stack.slots() if stack else slots_of(params, order), params)
        self.depth = stack.depth if stack else None

    def _module(self, trial: Trial, hparams: Hparams) -> nnx.Module:
        key = named_key(trial_key(hparams["seed"]), "init")
        return self._build_model(build_config(trial, hparams), trial.sizes, nnx.Rngs(key))

    def optimizer(self, hparams: Hparams) -> optax.GradientTransformation:
        """The update rule at a lane's hyperparameters."""
        return self._build_optimizer(self.constants, hparams)

    def init(self, trial: Trial, hparams: Hparams) -> State:
        """A lane's first state. `trial` gives the init constants only; `rest` holds what a module
        carries beside its parameters."""
        _, params, rest = nnx.split(self._module(trial, hparams), nnx.Param, ...)
        return {
            "params": params,
            "rest": rest,
            "optimizer": self.optimizer(hparams).init(params),
            "step": jnp.int32(0),
            "alive": jnp.bool_(True),
        }

    def apply(self, params: Any, rest: Any, x: jax.Array, train: bool) -> tuple[jax.Array, Any]:
        """Logits (B, classes) of x (B, T, F), and the new `rest`."""
        # A copy: the module changes its own variables, those of `rest` belong to the caller.
        module = nnx.merge(self.graph, params, rest, copy=True)
        if train:
            module.train()
        else:
            module.eval()
        logits = module(x)
        return logits, nnx.split(module, nnx.Param, ...)[2]

    def evaluate(self, state: State, hparams: Hparams, data: Any) -> jax.Array:
        """((val loss, test loss), (val accuracy, test accuracy)); NaN for an empty set."""
        schedule = dict(self.task.evaluation(trial_key(hparams["seed"]), hparams))
        segments = jnp.moveaxis(schedule.pop("segments"), 0, 1)
        if not len(segments):
            return jnp.full((2, 2), jnp.nan)

        def step(sums: jax.Array, entry: Any) -> tuple[jax.Array, None]:
            segment, entry = entry
            x, y, _ = self.task.batch(data, entry, hparams)
            logits, _ = self.apply(state["params"], state["rest"], x, train=False)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
            correct = (jnp.argmax(logits, -1) == y).astype(jnp.float32)
            # A sample of weight 0 must not spoil the sum with a loss that is not finite.
            values = jnp.stack([losses, correct])[:, None] * jnp.ones_like(segment)
            return sums + jnp.sum(jnp.where(segment > 0, values, 0), -1), None

        sums, _ = lax.scan(step, jnp.zeros((2, 2)), (segments, schedule))
        return sums / jnp.sum(segments, (0, 2))

    def timeline(self, points: int) -> tuple[np.ndarray, Callable[..., jax.Array]]:
        """Time steps kept (evenly spaced, the last included), and the function that measures there.

        The function maps (state, hparams, data) to |dL/dh^l_t| over batch and units, shape
        (L, points), for the loss of the task's fixed probe batch.
        """
        length = self.sizes.seq_len
        times = np.unique(np.rint(np.linspace(0, length - 1, min(points, length))).astype(int))

        def measure(state: State, hparams: Hparams, data: Any) -> jax.Array:
            schedule = self.task.probe(trial_key(hparams["seed"]), hparams)
            entry = jax.tree.map(lambda leaf: leaf[0], schedule)
            x, y, _ = self.task.batch(data, entry, hparams)

            def loss(gauges: jax.Array) -> jax.Array:
                module: Any = nnx.merge(self.graph, state["params"], state["rest"])
                module.eval()
                logits = module.tapped(x, gauges)
                return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, y))

            return jax.grad(loss)(jnp.zeros((self.depth or 0, length)))[:, times]

        return times, measure
