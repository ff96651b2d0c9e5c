"""One lane's network as pure functions: initialise, apply, evaluate.

Arrays here have no lane axis; `packs` adds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from trainables.core.engine import SharedColumns, State
from trainables.core.hparams import build_config, constants, optimizer_of, schedule_of
from trainables.core.layout import Layout, Slot, slots_of, variable_order
from trainables.core.length_reads import LengthReads
from trainables.core.module_state import kept_paths
from trainables.core.numbers import is_short, widened
from trainables.core.precision import Precision
from trainables.core.random_keys import named_key, trial_key
from trainables.core.variables import Carried
from trainables.declarations import Trial
from trainables.models.adapters import adapted
from trainables.optim.building import built
from trainables.optim.schedules import Constant
from trainables.optim.trained_leaves import of_trained
from trainables.tasks.base import TaskRuntime, example_batch
from trainables.training.fit import (
    Judge,
    require_answer,
    require_losses,
    require_module,
    require_trainable,
)
from trainables.training.frozen_layers import frozen_leaves

Hparams = Mapping[str, jax.Array]
_ALWAYS = ("loss", "accuracy")
"""What an evaluation measures of every task."""


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


def _is_trained(path: Any, variable: Any) -> bool:
    """Whether a variable is a parameter that gradients can move; one of integers is state."""
    if not isinstance(variable, nnx.Param):
        return False
    leaves = jax.tree.leaves(variable)
    return all(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves)


def split(module: nnx.Module) -> tuple[Any, Any, Any]:
    """(graph, params, rest): a module without its state, its parameters, and what it carries beside
    them."""
    graph, params, rest = nnx.split(module, _is_trained, ...)
    return graph, params, rest


class Network:
    """Model, task and optimizer of all trials that share a program.

    Attributes:
      graph: the module without its state.
      layout: tensors and layers of the model.
      own_layers: whether the model names its layers itself, as ours do.
      depth: recurrent layers of a model that can be tapped (`tap`); None for others,
        which have no timeline.
      cells: of a model that stacks recurrent cells, the lowest first; else empty.
      steps: optimizer steps per epoch.
      schedule: of the learning rate.
      precision: what the module computes in.
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
        self.length_reads = LengthReads(trial)
        self._build_model = trial.model.builder()
        self._optimizer, self._length = optimizer_of(trial), trial.length
        self.schedule: Constant = schedule_of(trial)
        order: dict[str, str] = {}

        def build() -> nnx.Module:
            module = self._module(trial, jax.tree.map(jnp.asarray, dict(traced)))
            order.update(variable_order(module))
            return module

        module: Any = nnx.eval_shape(build)
        self.graph, params, rest = split(module)
        require_trainable(trial.model, params)
        # A model of ours may name its layers and stack equal ones; others are read by path.
        self.own_layers = hasattr(module, "slots")
        slots: tuple[Slot, ...] = module.slots() if self.own_layers else slots_of(params, order)
        frozen = frozen_leaves(trial.model, slots, trial.structure.seen_by("model", self.constants))
        self.layout = Layout(slots, params, frozen, kept_paths(rest, self.own_layers))
        self._plain = not frozen and not any(map(is_short, jax.tree.leaves(params)))
        self.depth: int | None = module.depth if hasattr(module, "tapped") else None
        self.cells: tuple[Any, ...] = getattr(module, "cells", ())
        full = getattr(module, "float32_tensors", ())
        self.precision = Precision(str(self.constants.get("compute_dtype", "float32")), full)
        self.acts_after_steps = bool(getattr(module, "acts_after_steps", False))
        self.measures = self._metric_names(module, traced)

    @property
    def _example(self) -> Callable[..., Any] | None:
        """(traced) -> what the model is called with, abstract; None where no data are known."""
        if getattr(self.task, "data_shapes", None) is None:
            return None
        return lambda traced: example_batch(self.task, traced)[0]

    def _metric_names(
        self, module: nnx.Module, traced: Mapping[str, np.ndarray]
    ) -> tuple[str, ...]:
        """Names of the metrics that the task averages over training steps."""
        if not getattr(self.task, "measures", False) or self.task.data_shapes is None:
            return ()
        _, params, rest = split(module)

        def measured(params: Any, rest: Any, batch: Any) -> Any:
            outputs, _ = self.apply(params, rest, batch[0], train=True)
            self.losses(batch, outputs)
            return self.task.trained_metrics(outputs, batch[1])

        return tuple(jax.eval_shape(measured, params, rest, example_batch(self.task, traced)))

    def _module(self, trial: Trial, hparams: Hparams) -> nnx.Module:
        key = named_key(trial_key(hparams["seed"]), "init")
        rngs = nnx.Rngs(key)
        config = self.length_reads.watched(self.model, build_config(trial, hparams))
        model = self._build_model(config, trial.sizes, rngs)
        module = adapted(trial.model, model, rngs, hparams, self._example)
        require_module(trial.model, module)
        return module

    def optimizer(self, hparams: Hparams) -> optax.GradientTransformationExtraArgs:
        """The update rule at a lane's hyperparameters, with float32 moments and of trained leaves
        alone."""
        config = {**self.constants, **self._length}
        rule = built(self._optimizer, config, hparams, self.length_reads)
        return rule if self._plain else of_trained(rule, self.layout.trained)

    def init(self, trial: Trial, hparams: Hparams) -> State:
        """A lane's first state. `trial` gives the init constants only; `rest` holds what a module
        carries beside its parameters."""
        _, params, rest = split(self._module(trial, hparams))
        return {
            "params": params,
            "rest": rest,
            "optimizer": self.optimizer(hparams).init(params),
            "step": jnp.int32(0),
            "alive": jnp.bool_(True),
        }

    def module(self, params: Any, rest: Any, train: bool) -> Any:
        """The module, as it trains or as it is evaluated. A copy: it changes its own variables,
        those of `rest` belong to the caller."""
        if self.layout.frozen:
            marks = self.layout.trained(params)
            params = jax.tree.map(lambda t, p: p if t else lax.stop_gradient(p), marks, params)
        module: Any = nnx.merge(self.graph, params, rest, copy=True)
        if train:
            module.train()
        else:
            module.eval()
        return module

    def computing(self, params: Any, rest: Any, train: bool) -> Any:
        """The module with its numbers in the type that it computes in, to be called with inputs of
        that type (`precision.inputs`)."""
        return self.module(self.precision.params(params), self.precision.rest(rest), train)

    def in_float32(self) -> Self:
        """The same network computing in float32, as second derivatives need."""
        other = copy(self)
        other.precision = Precision("float32")
        return other

    def apply(self, params: Any, rest: Any, x: Any, train: bool) -> tuple[Any, Any]:
        """Outputs of x, such as logits (B, classes) of (B, T, F), and the new `rest`; outputs of 16
        bits as float32, so that losses are."""
        module = self.computing(params, rest, train)
        with self.precision.explained(f"model {self.model.name}"):
            outputs = widened(module(self.precision.inputs(x)))
        return outputs, self.precision.kept(split(module)[2], rest)

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
        _, params, rest = split(module)
        return params, rest

    def restart(self, state: State, params: Any, hparams: Hparams) -> State:
        """The first state with a parent's weights in place of the drawn ones."""
        return {**state, "params": params, "optimizer": self.optimizer(hparams).init(params)}

    def evaluate(self, state: State, hparams: Hparams, data: Any) -> dict[str, jax.Array]:
        """Loss, accuracy and the task's metrics, each as val_ and test_; NaN for an empty set."""
        schedule = dict(self.task.evaluation(trial_key(hparams["seed"]), hparams))
        segments = jnp.moveaxis(schedule.pop("segments"), 0, 1)
        if not len(segments):
            return self.held_means(_ALWAYS, jnp.full((len(_ALWAYS), 2), jnp.nan))
        names, (sums, _) = self.judge(state, hparams, (segments, schedule), data)
        return self.held_means(names, sums / jnp.sum(segments, (0, 2)))

    def judge(
        self,
        state: State,
        hparams: Hparams,
        entries: tuple[jax.Array, Any],
        data: Any,
        before: tuple[jax.Array, Any] | None = None,
    ) -> tuple[tuple[str, ...], tuple[jax.Array, Any]]:
        """Some batches of an evaluation, one after another.

        Args:
          entries: weights of the batches in validation and test, (n, 2, B), and their schedule.
          before: sums and `rest` that the batches before them left; None at the start.

        Returns:
          Names of what is measured, and (weighed sums (names, 2), `rest`).
        """
        segments, schedule = entries

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

        entry = jax.tree.map(lambda leaf: leaf[0], schedule)
        found = jax.eval_shape(measured, state["rest"], entry)[0]
        names = (*_ALWAYS, *(name for name in found if name not in _ALWAYS))
        start = before or (jnp.zeros((len(names), 2)), state["rest"])
        after, _ = lax.scan(step, start, (segments, schedule))
        return names, after

    def held_means(self, names: Sequence[str], means: jax.Array) -> dict[str, jax.Array]:
        """Means (names, 2) over validation and test set by name."""
        held = ("val", "test")
        return {f"{h}_{n}": means[i, j] for i, n in enumerate(names) for j, h in enumerate(held)}
