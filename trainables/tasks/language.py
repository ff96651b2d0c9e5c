"""Language modelling: the next token of a stream that is cut into rows and read in order.

The training, validation and test streams are each cut into B rows of equal length. A batch is one
segment of every row, and the next batch is the segments that follow, so a carried state meets the
text it comes from. Nothing is shuffled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from trainables.core.random_keys import named_key
from trainables.declarations import PartError, Sizes, Trial
from trainables.declarations.tasks.language import chunks, segments, stream_lengths
from trainables.tasks.base import ArrayTask, Batch, Classification, Hparams, Schedule

PARTS = ("train", "val", "test")
_NO_TARGET = -1


def rows(stream: np.ndarray, batch: int) -> np.ndarray:
    """A stream (N,) as rows (batch, N // batch), each contiguous; the rest is dropped."""
    length = len(stream) // batch
    return stream[: batch * length].reshape(batch, length)


def padded(found: np.ndarray, length: int) -> np.ndarray:
    """Rows (B, N) as (B, k length + 1), filled up with -1 to k whole segments."""
    missing = -(found.shape[1] - 1) % length
    return np.pad(found, ((0, 0), (0, missing)), constant_values=_NO_TARGET)


@dataclass(frozen=True)
class Cut:
    """How the three streams lie side by side in one array of rows, and how they are read.

    Attributes:
      length: tokens of a segment, before time is repeated.
      columns: of a row of training, validation and test.
      segments: batches of each.
      last: targets of the last segment of each.
    """

    length: int
    columns: tuple[int, ...]
    segments: tuple[int, ...]
    last: tuple[int, ...]

    def starts(self, part: int) -> np.ndarray:
        """Column at which each segment of a part begins, (segments,) int32."""
        first = sum(self.columns[:part])
        return (first + self.length * np.arange(self.segments[part])).astype(np.int32)

    def shares(self, part: int) -> np.ndarray:
        """Targets of each segment of a part, as a share of `length`."""
        found = np.ones(self.segments[part], np.float32)
        found[-1:] = self.last[part] / self.length
        return found


class StreamTask(Classification):
    """Whole segments (task `wordptb`); data are the rows (B, columns) of all three parts.

    In the first `mlm_epochs` epochs, `mlm_rate` of a training batch's input tokens are replaced by
    tokens drawn uniformly; targets, validation and test stay as they are.
    """

    def __init__(self, sizes: Sizes, cut: Cut, reset: str, repeat: int = 1):
        """
        Args:
          reset: when what a module carries starts from 0: with each training "epoch" and before
            validation and test; "never"; or with every "segment".
          repeat: how often each input and target comes along time.
        """
        self.sizes, self.cut, self.reset, self.repeat = sizes, cut, reset, repeat

    @classmethod
    def of(cls, trial: Trial) -> StreamTask:
        """The functions of a trial's task."""
        config: Any = trial.config
        length = config["seq_len"]
        cut = Cut(length, stream_lengths(config), segments(config), (length,) * 3)
        return cls(trial.sizes, cut, config["state_reset"], config["time_repeat"])

    @classmethod
    def data(cls, trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The three streams (train_tokens, ...) as rows side by side, int32.

        Raises:
          ValueError: a stream is missing, or shorter than declared, or holds unknown tokens.
        """
        sizes, name, found = trial.sizes, trial.task.name, []
        for part, length in zip(PARTS, stream_lengths(trial.config), strict=True):
            stream, need = arrays.get(f"{part}_tokens"), length * sizes.batch_size
            if stream is None:
                raise PartError(f"task {name} needs the array {part}_tokens; hand it to Pack")
            if len(stream) < need:
                there = f"{len(stream):,}"
                raise PartError(f"task {name} reads {need:,} {part} tokens; there are {there}")
            if need and not 0 <= stream[:need].min() <= stream[:need].max() < sizes.features:
                raise PartError(f"tokens of task {name} must lie in 0..{sizes.features - 1}")
            found.append(cls.laid(rows(stream[:need], sizes.batch_size), trial))
        return {"rows": np.concatenate(found, axis=1).astype(np.int32)}

    @staticmethod
    def laid(found: np.ndarray, trial: Trial) -> np.ndarray:
        """A part's rows as they are kept."""
        return found

    @property
    def carries(self) -> bool:
        return self.reset != "segment"

    def _entries(self, *parts: int) -> Schedule:
        """First column, whether the carried state starts anew, and weights of parts' segments."""
        first = np.concatenate([np.arange(self.cut.segments[part]) == 0 for part in parts])
        shares = np.concatenate([self.cut.shares(part) for part in parts])
        entry = {
            "start": np.concatenate([self.cut.starts(part) for part in parts]),
            "reset": first if self.reset == "epoch" else np.full_like(first, not self.carries),
            "weight": np.repeat(shares[:, None], self.sizes.batch_size, 1),
        }
        return jax.tree.map(jnp.asarray, entry)

    def training(self, key: jax.Array, hparams: Hparams, epoch: jax.Array) -> Schedule:
        entries = self._entries(0)
        if "mlm_rate" not in hparams:
            return entries
        rate = jnp.where(epoch < hparams["mlm_epochs"], hparams["mlm_rate"], 0.0)
        return {
            **entries,
            "corrupt": jax.random.split(named_key(key, "mlm", epoch), self.sizes.steps),
            "rate": jnp.full(self.sizes.steps, rate, jnp.float32),
        }

    def evaluation(self, key: jax.Array, hparams: Hparams) -> Schedule:
        both = self._entries(1, 2)
        held = np.repeat(np.eye(2, dtype=np.float32), self.cut.segments[1:], axis=1)
        return {**both, "segments": jnp.asarray(held)[..., None] * both["weight"]}

    def probe(self, key: jax.Array, hparams: Hparams) -> Schedule:
        """The first training segment, from a state of 0."""
        entry = jax.tree.map(lambda leaf: leaf[:1], self._entries(0))
        return {**entry, "reset": jnp.ones(1, bool)}

    def batch(self, data: Any, entry: Schedule, hparams: Hparams) -> Batch:
        length = self.cut.length
        span = lax.dynamic_slice_in_dim(data["rows"], entry["start"], length + 1, axis=1)
        x, y = span[:, :-1], span[:, 1:]
        if "corrupt" in entry:
            where, what = jax.random.split(entry["corrupt"])
            hit = jax.random.uniform(where, x.shape) < entry["rate"]
            drawn = jax.random.randint(what, x.shape, 0, self.sizes.features, x.dtype)
            x = jnp.where(hit, drawn, x)
        if self.repeat > 1:
            x, y = (jnp.repeat(tokens, self.repeat, axis=1) for tokens in (x, y))
        return x, y, entry["weight"]

    def metrics(self, outputs: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
        """Cross-entropy in bits, and the perplexity as published: exp of each batch's mean
        cross-entropy, averaged over batches, so never below exp of the mean over all."""
        losses = self.losses(outputs, y)
        perplexity = jnp.full_like(losses, jnp.exp(jnp.mean(losses)))
        return {"bits_per_token": losses / jnp.log(2.0), "batch_perplexity": perplexity}


class Targets:
    """Losses of the targets (B, T) that are there; one that is missing is -1."""

    sizes: Sizes

    def constant_inputs(self, count: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Tokens to drive a net with, (count,) twice, drawn from the whole vocabulary."""
        tokens = jax.random.randint(key, (count,), 0, self.sizes.features)
        return tokens, tokens

    def losses(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        """Mean over a sample's targets."""
        there = y != _NO_TARGET
        losses = optax.softmax_cross_entropy_with_integer_labels(outputs, jnp.maximum(y, 0))
        return jnp.sum(jnp.where(there, losses, 0), 1) / jnp.maximum(jnp.sum(there, 1), 1)

    def correct(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        there = y != _NO_TARGET
        right = there & (jnp.argmax(outputs, -1) == y)
        return jnp.sum(right, 1) / jnp.maximum(jnp.sum(there, 1), 1)

    def metrics(self, outputs: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
        return {}


class ChunkTask(Targets, StreamTask):
    """Every target of a stream once (task `word_lm`, `docs/studies/ribeiro2020.md`): its last
    segment may be shorter, and its missing targets are -1 and count for nothing.

    Attributes:
      terms: losses of a full segment that a summed objective adds up.
    """

    @classmethod
    def of(cls, trial: Trial) -> ChunkTask:
        """The functions of a trial's task."""
        config: Any = trial.config
        length, counts = config["seq_len"], chunks(config)
        last = tuple((n - 2) % length + 1 for n in stream_lengths(config))
        cut = Cut(length, tuple(n * length + 1 for n in counts), counts, last)
        return cls(trial.sizes, cut, config["state_reset"])

    @staticmethod
    def laid(found: np.ndarray, trial: Trial) -> np.ndarray:
        return padded(found, trial.sizes.seq_len)

    @property
    def terms(self) -> int:
        return self.sizes.seq_len

    def batch(self, data: Any, entry: Schedule, hparams: Hparams) -> Batch:
        x, y, weight = super().batch(data, entry, hparams)
        return jnp.maximum(x, 0), y, weight


class PassageTask(Targets, ArrayTask):
    """Passages of words, and of each the last one from those before it (task `last_word`).

    Data are x (N, T), words that are read, and y (N, T), the word after each; the training
    passages, then those of validation and test. Short passages are filled up at their ends.
    """

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The passages of the three streams, a line each.

        Raises:
          PartError: a stream is missing, or has fewer passages than declared.
        """
        sizes, name = trial.sizes, trial.task.name
        whole = trial.config["trained_words"] == "all"
        (end,) = np.flatnonzero(arrays["vocabulary"] == "<eos>") if "vocabulary" in arrays else (0,)
        xs, ys = [], []
        for part, count in zip(PARTS, (sizes.n_train, sizes.n_val, sizes.n_test), strict=True):
            stream = arrays.get(f"{part}_tokens")
            if stream is None:
                raise PartError(f"task {name} needs the array {part}_tokens; hand it to Pack")
            lines = np.split(stream, np.flatnonzero(stream == end) + 1)
            found = [line[:-1] for line in lines if len(line) > 2][:count]
            if len(found) < count:
                there = f"{len(found):,}"
                raise PartError(f"task {name} reads {count:,} {part} passages; there are {there}")
            x = np.zeros((count, sizes.seq_len), np.int32)
            y = np.full_like(x, _NO_TARGET)
            for i, words in enumerate(found):
                kept = words[-sizes.seq_len - 1 :]
                x[i, : len(kept) - 1] = kept[:-1]
                first = 0 if whole and part == "train" else len(kept) - 2
                y[i, first : len(kept) - 1] = kept[first + 1 :]
            xs.append(x)
            ys.append(y)
        return {"x": np.concatenate(xs), "y": np.concatenate(ys)}

    def _split(self, hparams: Hparams) -> tuple[jax.Array, jax.Array]:
        train = self.sizes.n_train
        return jnp.arange(train), train + jnp.arange(self.sizes.n_val)
