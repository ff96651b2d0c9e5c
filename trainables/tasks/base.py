"""Tasks: which samples each step sees. Pure functions over data that all lanes share.

A schedule is a dict of arrays whose leading axis is the batch; `batch` turns one entry into
(x, y, weight). Every batch has the same size: the last one is filled up with samples of weight 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from trainables.core.random_keys import named_key, trial_key
from trainables.declarations import Sizes, Trial
from trainables.declarations.core.data_tree import Statics
from trainables.declarations.core.parts import loaded
from trainables.tasks.arrays import joined, require_finite
from trainables.tasks.losses import LOSSES
from trainables.tasks.renamed_keys import RenamedKeys
from trainables.tasks.streaming import Source, Streamed

Hparams = Mapping[str, jax.Array]
Schedule = dict[str, jax.Array]
Batch = tuple[Any, Any, jax.Array]
Shape = tuple[int, ...]


class Question(NamedTuple):
    """What outputs of a user's model are judged by: the batch by the user's names, the lane's
    traced values, and for an objective a random key."""

    batch: dict[str, Any]
    hparams: dict[str, jax.Array]
    key: jax.Array | None = None


class TaskRuntime(Protocol):
    """What training needs of a task: functions only, so that one compiled program may keep it."""

    data_shapes: Any
    """Shapes of the data that `batch` reads, as `abstract` gives them; set by `make_task`."""

    def training(self, key: jax.Array, hparams: Hparams, epoch: jax.Array) -> Schedule:
        """Batches of one epoch."""
        ...

    def evaluation(self, key: jax.Array, hparams: Hparams) -> Schedule:
        """Batches of validation and test together; "segments" (2, batches, B) are their weights."""
        ...

    def probe(self, key: jax.Array, hparams: Hparams) -> Schedule:
        """The one fixed batch (leading axis 1) that probes use."""
        ...

    def batch(self, data: Any, entry: Schedule, hparams: Hparams) -> Batch:
        """x, y and weight (B,): x is what the model is called with, such as (B, T, F) or tokens
        (B, T), y what judges its outputs, such as labels (B,) or (B, T)."""
        ...

    def answers(self, x: jax.Array, y: Any, every_step: bool) -> tuple[Shape, ...]:
        """The shapes of outputs that it can judge for such a batch, the usual one first.

        Args:
          every_step: whether the model declares outputs at every time step.
        """
        ...

    def losses(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        """Loss of each sample, (B,), of a model's outputs (B, C) or (B, T, C)."""
        ...

    def correct(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        """Share of each sample's answers that are right, (B,); NaN where that has no meaning."""
        ...

    def metrics(self, outputs: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
        """Further numbers of each sample, (B,) each, averaged over validation and test."""
        ...

    def scale(self, hparams: Hparams) -> jax.Array | None:
        """What the loss is divided by to be comparable between trials; None where it is already."""
        ...

    def trained_metrics(self, outputs: Any, y: Any) -> dict[str, jax.Array]:
        """Those of the metrics that are averaged over training steps too."""
        ...

    @property
    def measures(self) -> bool:
        """Whether there are `trained_metrics`."""
        ...

    @property
    def any_outputs(self) -> bool:
        """Whether its loss takes outputs of any shape; else `answers` says which."""
        ...

    @property
    def carries(self) -> bool:
        """Whether what a module carries (hidden state) runs on from one evaluation batch to the
        next."""
        ...


def probe_batch(task: TaskRuntime, values: Hparams, data: Any) -> Batch:
    """The one fixed batch of a lane that probes use."""
    schedule = task.probe(trial_key(values["seed"]), values)
    return task.batch(data, jax.tree.map(lambda leaf: leaf[0], schedule), values)


def named_batch(task: TaskRuntime, batch: Batch) -> dict[str, Any]:
    """A batch as users' functions get it: its arrays by name, "weight" (B,) among them."""
    x, y, weight = batch
    if isinstance(y, Question):
        return y.batch
    return {"x": x, "y": y, "weight": weight}


class Classification:
    """A loss of logits by its name, the part of `TaskRuntime` that classifying tasks share.

    Outputs (B, T, C) are judged at every time step and averaged. A label (B,) holds for all of them
    where the model declares `every_step`; then two more accuracies are given: of the logits' mean
    over time ("mode"), and of the last time step alone.

    Attributes:
      loss_function: name of the loss (`trainables.tasks.losses`), as `make_task` has read it.
    """

    loss_function = "cross_entropy"

    carries = False
    any_outputs = False
    measures = False
    data_shapes: Any = None
    sizes: Sizes

    def scale(self, hparams: Hparams) -> jax.Array | None:
        return None

    def answers(self, x: jax.Array, y: Any, every_step: bool) -> tuple[Shape, ...]:
        once = (len(x), self.sizes.classes)
        steps = (*x.shape[:2], self.sizes.classes)
        if y.ndim == 2:
            return (steps,)
        return (once, steps) if every_step else (once,)

    def losses(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        losses = LOSSES[self.loss_function](outputs, _over_time(outputs, y))
        return jnp.mean(losses, axis=tuple(range(1, losses.ndim)))

    def correct(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        right = (jnp.argmax(outputs, -1) == _over_time(outputs, y)).astype(jnp.float32)
        return jnp.mean(right, axis=tuple(range(1, right.ndim)))

    def trained_metrics(self, outputs: Any, y: Any) -> dict[str, jax.Array]:
        return {}

    def metrics(self, outputs: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
        if outputs.ndim != 3 or y.ndim != 1:
            return {}
        judged = {"mode_accuracy": jnp.mean(outputs, 1), "last_accuracy": outputs[:, -1]}
        return {n: (jnp.argmax(v, -1) == y).astype(jnp.float32) for n, v in judged.items()}


def _over_time(outputs: jax.Array, y: jax.Array) -> jax.Array:
    if outputs.ndim == y.ndim + 1:
        return y
    return jnp.broadcast_to(y[:, None], outputs.shape[:-1])


class ArrayTask(Classification):
    """Samples from arrays, shuffled each epoch, validation drawn from the training set.

    Data are x (N, T, F) and y (N,): the training pool, then the test set. The permutation of the
    pool is derived from `split_seed` where the task declares it, else it is fixed; its first
    `n_val` samples validate. `noise_std`, where declared, adds fresh N(0, noise_std) noise to every
    training batch. The probes' batch holds each of its samples once, so it is smaller than the
    others where fewer than `batch_size` samples train.
    """

    def __init__(self, sizes: Sizes):
        self.sizes = sizes

    @classmethod
    def of(cls, trial: Trial) -> TaskRuntime:
        """The functions of a trial's task."""
        return cls(trial.sizes)

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The data of a trial's task; see `make_data`."""
        return joined(trial, trial.task.builder()(Statics(trial.task.name, trial.statics)))

    def _split(self, hparams: Hparams) -> tuple[jax.Array, jax.Array]:
        """(training, validation) indices."""
        seed = hparams.get("split_seed", jnp.int32(0))
        pool = self.sizes.n_train + self.sizes.n_val
        order = jax.random.permutation(named_key(jax.random.key(seed), "split"), pool)
        return order[self.sizes.n_val :], order[: self.sizes.n_val]

    def training(self, key: jax.Array, hparams: Hparams, epoch: jax.Array) -> Schedule:
        sizes = self.sizes
        train, _ = self._split(hparams)
        order = jax.random.permutation(named_key(key, "shuffle", epoch), train)
        slots = np.arange(sizes.steps * sizes.batch_size)
        shape = (sizes.steps, sizes.batch_size)
        schedule = {
            # Filling wraps around to the epoch's first samples.
            "index": order[slots % sizes.n_train].reshape(shape),
            "weight": jnp.asarray(slots < sizes.n_train, jnp.float32).reshape(shape),
        }
        if "noise_std" in hparams:
            schedule["noise"] = jax.random.split(named_key(key, "noise", epoch), sizes.steps)
        return schedule

    def evaluation(self, key: jax.Array, hparams: Hparams) -> Schedule:
        sizes = self.sizes
        _, validation = self._split(hparams)
        pool = sizes.n_train + sizes.n_val
        index = jnp.concatenate([validation, jnp.arange(pool, pool + sizes.n_test)])
        batches = -(-len(index) // sizes.batch_size)
        slots = np.arange(batches * sizes.batch_size)
        shape = (batches, sizes.batch_size)
        held = np.stack([slots < sizes.n_val, (slots >= sizes.n_val) & (slots < len(index))])
        return {
            "index": index[slots % max(len(index), 1)].reshape(shape),
            "weight": jnp.ones(shape),
            "segments": jnp.asarray(held, jnp.float32).reshape(2, *shape),
        }

    def probe(self, key: jax.Array, hparams: Hparams) -> Schedule:
        train, _ = self._split(hparams)
        index = train[None, : self.sizes.batch_size]
        return {"index": index, "weight": jnp.ones(index.shape)}

    def batch(self, data: Any, entry: Schedule, hparams: Hparams) -> Batch:
        x = data["x"][entry["index"]]
        if "noise" in entry:
            x = x + hparams["noise_std"] * jax.random.normal(entry["noise"], x.shape)
        return x, data["y"][entry["index"]], entry["weight"]


class GaussianTask(Classification):
    """N(0, 1) inputs and uniform random labels, drawn on the device.

    Training batches are fresh in every epoch; the validation and test batches are fixed.
    """

    def __init__(self, sizes: Sizes):
        self.sizes = sizes

    @classmethod
    def of(cls, trial: Trial) -> TaskRuntime:
        """The functions of a trial's task."""
        return cls(trial.sizes)

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Nothing: every batch is drawn."""
        return {}

    def _schedule(self, keys: jax.Array) -> Schedule:
        return {"key": keys, "weight": jnp.ones((len(keys), self.sizes.batch_size))}

    def training(self, key: jax.Array, hparams: Hparams, epoch: jax.Array) -> Schedule:
        return self._schedule(jax.random.split(named_key(key, "data", epoch), self.sizes.steps))

    def evaluation(self, key: jax.Array, hparams: Hparams) -> Schedule:
        keys = jnp.stack([named_key(key, "validation"), named_key(key, "test")])
        segments = jnp.broadcast_to(jnp.eye(2)[:, :, None], (2, 2, self.sizes.batch_size))
        return {**self._schedule(keys), "segments": segments}

    def probe(self, key: jax.Array, hparams: Hparams) -> Schedule:
        return self._schedule(jax.random.split(named_key(key, "data", 0), self.sizes.steps)[:1])

    def batch(self, data: Any, entry: Schedule, hparams: Hparams) -> Batch:
        sizes = self.sizes
        shape = (sizes.batch_size, sizes.seq_len, sizes.features)
        x = jax.random.normal(named_key(entry["key"], "x"), shape)
        y = jax.random.randint(named_key(entry["key"], "y"), shape[:1], 0, sizes.classes)
        return x, y, entry["weight"]


def make_task(trial: Trial, data: Any = None) -> Any:
    """The functions of a trial's task (a `TaskRuntime`); of an analysis, which has none, the data
    that it reads, or None.

    Args:
      data: what `make_data` gives, of which only shapes and types are kept; needed by models that
        are initialised by a batch, and by tasks with metrics of training steps.
    """
    if "task" not in trial.parts:
        return data or None
    runtime: Any = loaded(trial.task.runtime)
    task: Any = runtime.of(trial.as_read_by("task"))
    if any(key.name == "loss_function" for key in trial.task.keys):
        task.loss_function = trial.as_read_by("task").config["loss_function"]
    if names := trial.structure.renamed.get("task"):
        task = RenamedKeys(task, names)
    if trial.task.stream:
        task = Streamed(task)
    task.data_shapes = None if data is None else abstract(data)
    return task


def abstract(tree: Any) -> Any:
    """The shapes and types of a tree's arrays, or of those that a source reads."""
    if isinstance(tree, Source):
        return tree.shapes
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def example_batch(task: TaskRuntime, values: Mapping[str, Any]) -> Batch:
    """Shapes and types of a batch (x, y, weight).

    Args:
      values: one lane's traced values.
    """
    return jax.eval_shape(partial(probe_batch, task), dict(values), task.data_shapes)


def make_data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> Any:
    """The data of a trial's task, shared by all lanes of a pack: a tree of arrays, or a `Source` of
    a task that streams.

    Args:
      arrays: of the data set the task names; unused by tasks that make their own.

    Raises:
      PartError: arrays are missing, or do not have the declared sizes or labels, or not all of
        their numbers are finite.
    """
    if "task" not in trial.parts:
        return dict(arrays) if trial.dataset else {}
    runtime: Any = loaded(trial.task.runtime)
    found = runtime.data(trial.as_read_by("task"), arrays)
    if not issubclass(runtime, ArrayTask):  # which has looked at its inputs one by one
        for name, value in found.items():
            if np.issubdtype(value.dtype, np.floating):
                require_finite(trial, name, value)
    return found
