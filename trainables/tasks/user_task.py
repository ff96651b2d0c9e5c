"""A user's task: arrays of any names, shapes and types, a loss, metrics, augmentation."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainables.core.hparams import constants
from trainables.core.length_reads import LengthReads
from trainables.core.random_keys import named_key
from trainables.declarations import PartError, Sizes, Task, Trial
from trainables.declarations.core.data_tree import Statics
from trainables.tasks.base import ArrayTask, Hparams, Question, Schedule, TaskRuntime
from trainables.tasks.streaming import Source
from trainables.tasks.user_arrays import gathered

ACCURACY = "accuracy"
WEIGHT = "weight"
"""What a batch calls the weights of its samples."""


class Batch(dict[str, Any]):
    """A batch that notes whether its weights were read."""

    weighed = False

    def __getitem__(self, name: str) -> Any:
        self.weighed |= name == WEIGHT
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        return self.__getitem__(name) if name in self else default


class UserTask(ArrayTask):
    """The functions of a task that a study declares."""

    def __init__(
        self,
        sizes: Sizes,
        task: Task,
        fixed: Mapping[str, Any],
        length_reads: LengthReads | None = None,
    ):
        """`fixed` are the constants that the task's functions read beside traced values."""
        super().__init__(sizes)
        self.task, self.fixed, self.length_reads = task, dict(fixed), length_reads
        self._answer: tuple[Any, Any, Any] | None = None
        self.any_outputs = task.loss is not None
        self.measures = task.metrics is not None
        counts = (sizes.n_train, sizes.n_val, sizes.n_test)
        self.partial = any(count % sizes.batch_size for count in counts)

    @classmethod
    def of(cls, trial: Trial) -> TaskRuntime:
        fixed = trial.structure.seen_by("task", constants(trial))
        return cls(trial.sizes, trial.task, fixed, LengthReads(trial))

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> Any:
        task = trial.task
        if task.build is None and trial.sizes.split == "drawn":
            return {}
        statics = Statics(task.name, trial.structure.seen_by("task", trial.statics))
        given = (statics, arrays) if trial.dataset else (statics,)
        built = task.builder()(*given)
        return Source(trial, built) if task.stream else gathered(trial, built)

    def config(self, hparams: Hparams) -> dict[str, Any]:
        """What the task's functions read: constants, and traced values as arrays."""
        config = {**self.fixed, **hparams}
        return self.length_reads.watched(self.task, config) if self.length_reads else config

    # Which samples.

    def _split(self, hparams: Hparams) -> tuple[jax.Array, jax.Array]:
        sizes = self.sizes
        if sizes.split == "apart":
            return jnp.arange(sizes.n_train), sizes.n_train + jnp.arange(sizes.n_val)
        if sizes.split == "shares":
            order = self._order(hparams)
            return order[sizes.n_val + sizes.n_test :], order[: sizes.n_val]
        return super()._split(hparams)

    def _order(self, hparams: Hparams) -> jax.Array:
        count = self.sizes.n_train + self.sizes.n_val + self.sizes.n_test
        seed = hparams.get("split_seed", jnp.int32(0))
        return jax.random.permutation(named_key(jax.random.key(seed), "split"), count)

    def _tested(self, hparams: Hparams) -> jax.Array:
        sizes = self.sizes
        if sizes.split == "shares":
            return self._order(hparams)[sizes.n_val : sizes.n_val + sizes.n_test]
        return sizes.n_train + sizes.n_val + jnp.arange(sizes.n_test)

    def training(self, key: jax.Array, hparams: Hparams, epoch: jax.Array) -> Schedule:
        steps = self.sizes.steps
        if self.sizes.split == "drawn":
            schedule = {WEIGHT: jnp.ones((steps, self.sizes.batch_size))}
        else:
            schedule = super().training(key, hparams, epoch)
        if self.task.augment is not None:
            schedule["augment"] = jax.random.split(named_key(key, "augment", epoch), steps)
        return schedule | self._keys(named_key(key, "loss", epoch), steps)

    def _keys(self, key: jax.Array, steps: int) -> Schedule:
        """Random keys of the loss at each step, for a task whose loss takes one."""
        return {}

    def evaluation(self, key: jax.Array, hparams: Hparams) -> Schedule:
        # One batch holds samples of one set only, so that a loss of a whole batch is of one set.
        sizes = self.sizes
        if sizes.split == "drawn":
            schedule = {WEIGHT: jnp.ones((1, sizes.batch_size))}
            if self.task.augment is not None:
                schedule["augment"] = named_key(key, "validation")[None]
            held = jnp.zeros((2, 1, sizes.batch_size)).at[0].set(1)
            return {**schedule, **self._keys(named_key(key, "validation"), 1), "segments": held}
        if not self.any_outputs and self.task.metrics is None and sizes.split == "pool":
            return super().evaluation(key, hparams)
        index, weights = [], []
        for samples in (self._split(hparams)[1], self._tested(hparams)):
            slots = np.arange(-(-len(samples) // sizes.batch_size) * sizes.batch_size)
            index.append(samples[slots % max(len(samples), 1)])
            weights.append(slots < len(samples))
        shape = (-1, sizes.batch_size)
        held = np.zeros((2, sum(map(len, weights))))
        held[0, : len(weights[0])], held[1, len(weights[0]) :] = weights
        batches = held.shape[1] // sizes.batch_size
        return {
            "index": jnp.concatenate(index).reshape(shape),
            WEIGHT: jnp.asarray(held.sum(0), jnp.float32).reshape(shape),
            **self._keys(named_key(key, "loss evaluation"), batches),
            "segments": jnp.asarray(held, jnp.float32).reshape(2, *shape),
        }

    def probe(self, key: jax.Array, hparams: Hparams) -> Schedule:
        if self.sizes.split == "drawn":
            return jax.tree.map(lambda leaf: leaf[:1], self.training(key, hparams, jnp.int32(0)))
        return super().probe(key, hparams) | self._keys(named_key(key, "loss probe"), 1)

    # What they are.

    def batch(self, data: Any, entry: Schedule, hparams: Hparams) -> Any:
        """(x, Question, weight): what the model is called with, and what judges its outputs."""
        batch = jax.tree.map(lambda leaf: leaf[entry["index"]], data) if data else {}
        if "noise" in entry:
            noise = jax.random.normal(entry["noise"], batch["x"].shape)
            batch["x"] = batch["x"] + hparams["noise_std"] * noise
        if "augment" in entry:
            batch = self._augmented(entry["augment"], batch)
        x = batch.get("x", batch)
        batch = {**batch, WEIGHT: entry[WEIGHT]}
        return x, Question(batch, dict(hparams), entry.get("key")), entry[WEIGHT]

    def divided(self, batch: Any, samples: int, parts: int) -> Any:
        """A batch with a leading axis of parts (`trainables.training.accumulation`)."""
        x, y, weight = batch
        key = None if y.key is None else jax.random.split(y.key, parts)

        def cut(leaf: jax.Array) -> jax.Array:
            return leaf.reshape(parts, samples // parts, *leaf.shape[1:])

        def repeated(leaf: jax.Array) -> jax.Array:
            return jnp.broadcast_to(leaf, (parts, *jnp.shape(leaf)))

        question = Question(jax.tree.map(cut, y.batch), jax.tree.map(repeated, y.hparams), key)
        return jax.tree.map(cut, x), question, cut(weight)

    def _augmented(self, key: jax.Array, batch: dict[str, Any]) -> dict[str, Any]:
        assert self.task.augment is not None
        found = self.task.augment(key, batch)
        if not isinstance(found, Mapping) or (batch and found.keys() != batch.keys()):
            names = ", ".join(found) if isinstance(found, Mapping) else type(found).__name__
            raise PartError(
                f"augment of task {self.task.name} returned {names}; it must return a batch with "
                f"the same names: {', '.join(batch)}"
            )
        return dict(found)

    # How outputs are judged.

    def answers(self, x: Any, y: Any, every_step: bool) -> Any:
        labels = self._labels(y)
        once = (*labels.shape, self.sizes.classes)
        if labels.ndim > 1 or not every_step or getattr(x, "ndim", 0) < 2:
            return (once,)
        return once, (*x.shape[:2], self.sizes.classes)

    def _labels(self, y: Question) -> Any:
        return y.batch["y"]

    def losses(self, outputs: Any, y: Any) -> jax.Array:
        if self.task.loss is None:
            return super().losses(outputs, self._labels(y))
        batch = Batch(y.batch)
        given = outputs, batch, self.config(y.hparams)
        found = self._asked("loss", self.task.loss, *given, outputs=outputs, batch=batch)
        return self._per_sample("loss", found, batch)

    def _per_sample(self, what: str, found: Any, batch: Batch) -> jax.Array:
        """A number for each sample, of those or of one for the whole batch."""
        count = len(dict.__getitem__(batch, WEIGHT))  # which is no reading of the weights
        name = f"{what} of task {self.task.name}"
        if not isinstance(found, (jax.Array, np.ndarray, np.generic, bool, int, float)):
            raise PartError(f"{name} is of type {type(found).__name__}; it must be an array")
        found = jnp.asarray(found)
        if jnp.issubdtype(found.dtype, jnp.complexfloating):
            raise PartError(f"{name} is complex; it must be real: take its real part or modulus")
        found = jnp.asarray(found, jnp.float32)
        if found.shape == (count,):
            return found
        if found.ndim:
            raise PartError(
                f"{name} has the shape {found.shape} for {count} samples; it must give one number "
                f"for each, ({count},), or one for the batch, ()"
            )
        if self.partial and not batch.weighed:
            sizes = self.sizes
            raise PartError(
                f"{name} gives one number for a batch of {count}, and the last batch has samples "
                f"that only fill it up (n_train={sizes.n_train}, n_val={sizes.n_val}, n_test="
                f"{sizes.n_test}): return a number for each sample, weigh by batch['weight'], or "
                "choose a batch_size that divides these numbers"
            )
        return jnp.broadcast_to(found, (count,))

    def correct(self, outputs: Any, y: Any) -> jax.Array:
        given = self._measured(outputs, y).get(ACCURACY)
        if given is not None:
            return given
        if self.any_outputs:
            return jnp.full(len(y.batch[WEIGHT]), jnp.nan)
        return super().correct(outputs, self._labels(y))

    def metrics(self, outputs: Any, y: Any) -> dict[str, jax.Array]:
        usual = {} if self.any_outputs else super().metrics(outputs, self._labels(y))
        return {**usual, **self.trained_metrics(outputs, y)}

    def trained_metrics(self, outputs: Any, y: Any) -> dict[str, jax.Array]:
        """The metrics that are averaged over training steps too; the accuracy has columns that
        every task has."""
        found = self._measured(outputs, y)
        return {name: values for name, values in found.items() if name != ACCURACY}

    def _once(self, outputs: Any, y: Any, ask: Callable[[Any, Any], Any]) -> Any:
        """What `ask` says of these very outputs, asked once: XLA would run a loop in it again."""
        if self._answer is None or self._answer[0] is not outputs or self._answer[1] is not y:
            self._answer = outputs, y, ask(outputs, y)
        return self._answer[2]

    def _measured(self, outputs: Any, y: Any) -> dict[str, jax.Array]:
        return {} if self.task.metrics is None else self._once(outputs, y, self._metrics)

    def _metrics(self, outputs: Any, y: Any) -> dict[str, jax.Array]:
        assert self.task.metrics is not None
        batch = Batch(y.batch)
        given = outputs, batch, self.config(y.hparams)
        found = self._asked("metrics", self.task.metrics, *given, outputs=outputs, batch=batch)
        return self._named(found, batch)

    def _named(self, found: Any, batch: Batch) -> dict[str, jax.Array]:
        if not isinstance(found, Mapping):
            raise PartError(
                f"metrics of task {self.task.name} returned {type(found).__name__}; it must return "
                'a dict: {"name": number}'
            )
        return {name: self._per_sample(f"metric {name}", v, batch) for name, v in found.items()}

    def _asked(
        self, what: str, function: Callable[..., Any], *given: Any, outputs: Any, batch: Batch
    ) -> Any:
        """What a function of the user's returns; an error of shapes names them."""
        try:
            return function(*given)
        except (TypeError, ValueError) as error:
            if isinstance(error, (jax.errors.JAXTypeError, PartError)):
                raise
            raise PartError(
                f"{what} of {self.task.name} failed{_place(function, error)}: "
                f"{str(error).splitlines()[0]}; it was given outputs {shapes(outputs)} and the "
                f"batch {shapes(dict(batch))}"
            ) from error


def shapes(tree: Any) -> str:
    """Shapes and types of a tree's arrays in words."""
    if isinstance(tree, Mapping):
        return "{" + ", ".join(f"{name}: {shapes(leaf)}" for name, leaf in tree.items()) + "}"
    if hasattr(tree, "shape"):
        return f"{tree.dtype}{list(tree.shape)}"
    return type(tree).__name__


def _place(function: Callable[..., Any], error: Exception) -> str:
    """Where in the function's file an error was raised."""
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f" at {str(file).rpartition('/')[2]}:{lines[-1]}" if lines else ""
