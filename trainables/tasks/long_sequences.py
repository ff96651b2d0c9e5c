"""The long-sequence tasks of study `bar2025`: bytes on the device, gathered by index. Those on
images are in `pixel_sequences`.

A data set lies on the device as uint8: pixels or tokens, 205 MB at most. A batch is gathered and
read (standardised, or taken as tokens) inside the compiled epoch, so that no one-hot array or
converted image ever exists for more than a batch. Samples are shuffled anew each epoch, and an
epoch ends with its last whole batch. Evaluation is padded to whole batches by samples of weight 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from trainables.core.random_keys import named_key
from trainables.declarations import PartError, Sizes, Trial
from trainables.declarations.tasks.long_sequences import COPY_BITS, SAMPLES
from trainables.tasks.arrays import labels
from trainables.tasks.base import Batch, Classification, Hparams, Schedule, Shape
from trainables.tasks.listops import END, PAD, UNKNOWN, expressions


class SequenceTask(Classification):
    """Samples x (N, ...) and y (N, ...): the training pool, then the test set.

    The pool is split by a permutation derived from `split_seed`, or in its order where a task has
    no such key; the first `n_train` samples train. Without validation samples the test set
    validates too.
    """

    def __init__(self, sizes: Sizes, name: str, pool: int, n_train: int):
        """
        Args:
          sizes: `n_train` of them is that of whole batches.
          pool: samples before the test set.
          n_train: training samples, of which each epoch drops the remainder.
        """
        self.sizes, self.name, self.pool, self.n_train = sizes, name, pool, n_train

    @classmethod
    def of(cls, trial: Trial) -> SequenceTask:
        """The functions of a trial's task."""
        config: Any = trial.config
        name = trial.task.name
        parts = SAMPLES[name](config)
        capped = "max_train" in config
        whole = SAMPLES[name]({**config, "max_train": None, "max_held": None}) if capped else parts
        return cls(trial.sizes, name, whole[0] + whole[1], parts[0])

    def _order(self, hparams: Hparams, count: int) -> jax.Array:
        """Indices below `count` as `split_seed` permutes them."""
        if "split_seed" not in hparams:
            return jnp.arange(count)
        key = named_key(jax.random.key(hparams["split_seed"]), "split")
        return jax.random.permutation(key, count)

    def _split(self, hparams: Hparams) -> tuple[jax.Array, jax.Array, jax.Array]:
        """(training, validation, test) indices."""
        order, sizes = self._order(hparams, self.pool), self.sizes
        test = self.pool + jnp.arange(sizes.n_test)
        return order[: self.n_train], order[self.pool - sizes.n_val :], test

    def training(self, key: jax.Array, hparams: Hparams, epoch: jax.Array) -> Schedule:
        train, *_ = self._split(hparams)
        order = jax.random.permutation(named_key(key, "shuffle", epoch), train)
        shape = self.sizes.steps, self.sizes.batch_size
        return {"index": order[: self.sizes.n_train].reshape(shape), "weight": jnp.ones(shape)}

    def evaluation(self, key: jax.Array, hparams: Hparams) -> Schedule:
        sizes = self.sizes
        index = jnp.concatenate(self._split(hparams)[1:])
        shape = -(-len(index) // sizes.batch_size), sizes.batch_size
        slots = np.arange(shape[0] * shape[1])
        test = (slots >= sizes.n_val) & (slots < len(index))
        held = np.stack([slots < sizes.n_val if sizes.n_val else test, test])
        return {
            "index": index[slots % len(index)].reshape(shape),
            "weight": jnp.ones(shape),
            "segments": jnp.asarray(held, jnp.float32).reshape(2, *shape),
        }

    def probe(self, key: jax.Array, hparams: Hparams) -> Schedule:
        index = self._split(hparams)[0][None, : self.sizes.batch_size]
        return {"index": index, "weight": jnp.ones(index.shape)}

    def read(self, stored: jax.Array) -> jax.Array:
        """What the model gets of stored samples (B, ...): tokens as they are."""
        return stored.astype(jnp.int32)

    def batch(self, data: Any, entry: Schedule, hparams: Hparams) -> Batch:
        at = entry["index"]
        return self.read(data["x"][at]), data["y"][at], entry["weight"]


# ---- tokens --------------------------------------------------------------------------------------


def padded(tokens: np.ndarray, offsets: np.ndarray, columns: int) -> np.ndarray:
    """Samples of a flat stream, the first columns - 1 tokens of each, an end mark, padding; (N,
    columns) of the stream's type."""
    found = np.full((len(offsets) - 1, columns), PAD, tokens.dtype)
    for row, first, after in zip(found, offsets[:-1], offsets[1:], strict=True):
        length = min(after - first, columns - 1)
        row[:length] = tokens[first : first + length]
        row[length] = END
    return found


def _streams(
    trial: Trial, arrays: Mapping[str, np.ndarray], parts: tuple[str, ...], counts: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """x and y of the first `counts` samples of each part; of pairs of texts x is (N, 2, T). Of
    words those beyond the vocabulary are unknown.

    Raises:
      PartError: an array is missing, too short, or holds an unknown token.
    """
    sizes, name, x, y = trial.sizes, trial.task.name, [], []
    texts, columns = sizes.documents, sizes.seq_len
    shape = (-1, columns) if texts == 1 else (-1, texts, columns)
    for part, count in zip(parts, counts, strict=True):
        if f"{part}_offsets" not in arrays:
            raise PartError(f"task {name} needs the arrays of {part} samples; hand them to Pack")
        offsets, answers = arrays[f"{part}_offsets"], arrays[f"{part}_labels"]
        if len(answers) < count:
            there = f"{len(answers):,}"
            raise PartError(f"task {name} reads {count:,} {part} samples; there are {there}")
        tokens = arrays[f"{part}_tokens"]
        if trial.config.get("level") == "words":
            tokens = np.where(tokens < sizes.features, tokens, UNKNOWN).astype(tokens.dtype)
        x.append(padded(tokens, offsets[: texts * count + 1], columns).reshape(shape))
        y.append(labels(trial, f"{part}_labels", answers[:count]))
    found = {"x": np.concatenate(x), "y": np.concatenate(y)}
    if int(found["x"].max()) >= sizes.features:
        raise PartError(f"tokens of task {name} must be below {sizes.features}")
    return found


class ListOpsTask(SequenceTask):
    """Task `listops`: generated, or of the canonical files."""

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        config: Any = trial.config
        counts = SAMPLES["listops"](config)
        if config["source"] == "canonical":
            return _streams(trial, arrays, ("train", "val", "test"), counts)
        tokens, values = expressions(
            sum(counts),
            config["data_seed"],
            config["max_depth"],
            config["max_args"],
            (config["min_length"], config["max_length"]),
            config["seq_len"],
        )
        return {"x": tokens, "y": values}


class ReviewTask(SequenceTask):
    """Task `imdb`."""

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return _streams(trial, arrays, ("train", "test"), (25_000, 25_000))


class RetrievalTask(SequenceTask):
    """Task `aan`: pairs of texts."""

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        config: Any = trial.config
        return _streams(trial, arrays, ("train", "val", "test"), SAMPLES["aan"](config))


# ---- copying -------------------------------------------------------------------------------------


class CopyTask(SequenceTask):
    """Task `copy`: y are the pattern's bits (B, P, 7); a model answers with two logits a bit at
    every step, of which the last P are judged. The published program divides the mean over judged
    steps once more, by all time steps: that is the metric `published_loss`."""

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        config: Any = trial.config
        rng = np.random.default_rng(config["data_seed"])
        shape = sum(SAMPLES["copy"](config)), config["pattern"], COPY_BITS
        bits = rng.integers(0, 2, shape, np.uint8)
        return {"x": bits, "y": bits}

    def read(self, stored: jax.Array) -> jax.Array:
        """(B, 2 P + gap + 1, 8): bits in the first seven channels, a stop mark in the last."""
        samples, pattern, bits = stored.shape
        x = jnp.zeros((samples, self.sizes.seq_len, bits + 1))
        x = x.at[:, :pattern, :bits].set(stored.astype(jnp.float32))
        return x.at[:, self.sizes.seq_len - pattern - 1, bits].set(1.0)

    def answers(self, x: jax.Array, y: Any, every_step: bool) -> tuple[Shape, ...]:
        return ((*x.shape[:2], 2 * y.shape[2]),)

    def _judged(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        return outputs[:, -y.shape[1] :].reshape(*y.shape, 2)

    def losses(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        logits, bits = self._judged(outputs, y), y.astype(jnp.int32)
        found = optax.softmax_cross_entropy_with_integer_labels(logits, bits)
        return jnp.mean(found, (1, 2))

    def correct(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        right = jnp.argmax(self._judged(outputs, y), -1) == y
        return jnp.mean(right.astype(jnp.float32), (1, 2))

    def metrics(self, outputs: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
        return {"published_loss": self.losses(outputs, y) / self.sizes.seq_len}
