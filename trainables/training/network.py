"""One lane's network as pure functions: initialise, apply, evaluate.

Arrays here have no lane axis; `packs` adds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from trainables.core.engine import SharedColumns, State
from trainables.core.hparams import build_config, constants, optimizer_of, schedule_of
from trainables.core.layout import Layout, Slot, slots_of, variable_order
from trainables.core.random_keys import named_key, trial_key
from trainables.core.variables import Carried
from trainables.declarations import Trial
from trainables.optim.schedules import Constant
from trainables.tasks.base import TaskRuntime, example_batch
from trainables.training.fit import (
    Judge,
    require_answer,
    require_losses,
    require_module,
    require_trainable,
)

Hparams = Mapping[str, jax.Array]


def fresh(rest: Any, entry: Mapping[str, jax.Array]) -> Any:
    """`rest` with what is carried set to 0 where the schedule's `reset` says so."""
    if "reset" not in entry:
        return rest

    def cleared(leaf: Any) -> Any:
        if not isinstance(leaf, Carried):
            return leaf
        value = leaf.get_value()
        return leaf.replace(jnp.where(entry["reset"], jnp.zeros_like(value), value))

    return jax.tree.map(cleared, rest, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))


class Network:
    """Model, task and optimizer of all trials that share a program.

    Attributes:
      graph: the module without its state.
      layout: tensors and layers of the model.
      depth: recurrent layers of a model that can be tapped (`tap`); None for others,
        which have no timeline.
      cells: of a model that stacks recurrent cells, the lowest first; else empty.
      steps: optimizer steps per epoch.
      schedule: of the learning rate.
      acts_after_steps: whether the model acts on its weights after each optimizer step.
      measures: names of the task's metrics that are averaged over training steps.
      shared_columns: of the probes an epoch brings; none here.
    """

    shared_columns: Mapping[str, SharedColumns] = {}

    def __init__(self, trial: Trial, task: TaskRuntime, traced: Mapping[str, np.ndarray]):
        """`traced` are one lane's values, read for their types only.

        Raises:
          PartError: the model is no module, or has nothing that can be trained.
        """
        self.sizes, self.task, self.model = trial.sizes, task, trial.model
        self._judge = Judge(trial.task.name, task)
        self.steps = trial.sizes.steps
        self.constants = constants(trial)
        self._build_model = trial.model.builder()
        self._build_optimizer = optimizer_of(trial).builder()
        self.schedule: Constant = schedule_of(trial)
        order: list[str] = []

        def build() -> nnx.Module:
            module = self._module(trial, jax.tree.map(jnp.asarray, dict(traced)))
            require_module(trial.model, module)
            order.extend(variable_order(module))
            return module

        module: Any = nnx.eval_shape(build)
        self.graph, params, _ = nnx.split(module, nnx.Param, ...)
        require_trainable(trial.model, params)
        # A model of ours may name its layers and stack equal ones; others are read by path.
        slots: tuple[Slot, ...] | None = module.slots() if hasattr(module, "slots") else None
        self.layout = Layout(slots or slots_of(params, order), params)
        self.depth: int | None = module.depth if hasattr(module, "tapped") else None
        self.cells: tuple[Any, ...] = getattr(module, "cells", ())
        self.acts_after_steps = bool(getattr(module, "acts_after_steps", False))
        self.measures = self._metric_names(module, traced)

    def _metric_names(
        self, module: nnx.Module, traced: Mapping[str, np.ndarray]
    ) -> tuple[str, ...]:
        """Names of the metrics that the task averages over training steps."""
        if not getattr(self.task, "measures", False) or self.task.data_shapes is None:
            return ()
        _, params, rest = nnx.split(module, nnx.Param, ...)

        def measured(params: Any, rest: Any, batch: Any) -> Any:
            outputs, _ = self.apply(params, rest, batch[0], train=True)
            self.losses(batch, outputs)
            return self.task.trained_metrics(outputs, batch[1])

        return tuple(jax.eval_shape(measured, params, rest, example_batch(self.task, traced)))

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
        """Outputs of x (B, T, F), such as logits (B, classes), and the new `rest`."""
        # A copy: the module changes its own variables, those of `rest` belong to the caller.
        module = nnx.merge(self.graph, params, rest, copy=True)
        if train:
            module.train()
        else:
            module.eval()
        outputs = module(x)
        return outputs, nnx.split(module, nnx.Param, ...)[2]

    def losses(self, batch: Any, outputs: Any) -> jax.Array:
        """Loss of each sample, (B,), of the model's outputs for a batch (x, y, weight).

        Raises:
          PartError: while it is traced, where outputs and task do not fit.
        """
        x, y, weight = batch
        require_answer(self.model, self._judge, x, y, outputs)
        losses = self.task.losses(outputs, y)
        require_losses(self._judge, losses, len(weight))
        return losses

    def after_step(self, params: Any, rest: Any, step: jax.Array) -> tuple[Any, Any]:
        """(params, rest) after what the model does to them once a step (counted from 1) is done."""
        module: Any = nnx.merge(self.graph, params, rest, copy=True)
        module.after_step(step)
        _, params, rest = nnx.split(module, nnx.Param, ...)
        return params, rest

    def restart(self, state: State, params: Any, hparams: Hparams) -> State:
        """The first state with a parent's weights in place of the drawn ones."""
        return {**state, "params": params, "optimizer": self.optimizer(hparams).init(params)}

    def evaluate(self, state: State, hparams: Hparams, data: Any) -> dict[str, jax.Array]:
        """Loss, accuracy and the task's metrics, each as val_ and test_; NaN for an empty set."""
        schedule = dict(self.task.evaluation(trial_key(hparams["seed"]), hparams))
        segments = jnp.moveaxis(schedule.pop("segments"), 0, 1)
        entry = jax.tree.map(lambda leaf: leaf[0], schedule) if len(segments) else None
        names = ["loss", "accuracy"]

        @jax.jit  # traced once, for its names and for the scan
        def measured(rest: Any, entry: Any) -> tuple[dict[str, jax.Array], Any]:
            batch = x, y, _ = self.task.batch(data, entry, hparams)
            rest = fresh(rest, entry)
            outputs, new = self.apply(state["params"], rest, x, train=False)
            found = {
                "loss": self.losses(batch, outputs),
                "accuracy": self.task.correct(outputs, y),
                **self.task.metrics(outputs, y),
            }
            return found, new if self.task.carries else rest

        def step(carry: Any, entry: Any) -> tuple[Any, None]:
            sums, rest = carry
            segment, entry = entry
            found, rest = measured(rest, entry)
            values = jnp.stack([found[name] for name in names])[:, None] * jnp.ones_like(segment)
            # A sample of weight 0 must not spoil the sum with a loss that is not finite.
            return (sums + jnp.sum(jnp.where(segment > 0, segment * values, 0), -1), rest), None

        if entry is None:
            means = jnp.full((len(names), 2), jnp.nan)
        else:
            names += [
                n for n in jax.eval_shape(measured, state["rest"], entry)[0] if n not in names
            ]
            start = jnp.zeros((len(names), 2)), state["rest"]
            (sums, _), _ = lax.scan(step, start, (segments, schedule))
            means = sums / jnp.sum(segments, (0, 2))
        held = ("val", "test")
        return {f"{h}_{n}": means[i, j] for i, n in enumerate(names) for j, h in enumerate(held)}
