"""Language modelling: the next token of a stream that is cut into rows and read in order.

The training, validation and test streams are each cut into B rows of equal length. A batch is one
segment of every row, and the next batch is the segments that follow, so a carried state meets the
text it comes from. Nothing is shuffled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from trainables.core.random_keys import named_key
from trainables.declarations import Sizes, Trial
from trainables.declarations.tasks.text import row_lengths, segments
from trainables.tasks.base import Batch, Classification, Hparams, Schedule, TaskRuntime

PARTS = ("train", "val", "test")


def rows(stream: np.ndarray, batch: int) -> np.ndarray:
    """A stream (N,) as rows (batch, N // batch), each contiguous; the rest is dropped."""
    length = len(stream) // batch
    return stream[: batch * length].reshape(batch, length)


@dataclass(frozen=True)
class Cut:
    """How the three streams lie in one array of rows, and how they are read.

    Attributes:
      length: tokens of a segment, before time is repeated.
      lengths: tokens a row of training, validation and test, which follow each other.
      segments: batches of each.
    """

    length: int
    lengths: tuple[int, int, int]
    segments: tuple[int, int, int]

    def starts(self, part: int) -> np.ndarray:
        """Column at which each segment of a part begins, (segments,) int32."""
        first = sum(self.lengths[:part])
        return (first + self.length * np.arange(self.segments[part])).astype(np.int32)


class StreamTask(Classification):
    """Next-token prediction (task `wordptb`); data are the rows (B, columns) of all three parts.

    In the first `mlm_epochs` epochs, `mlm_rate` of a training batch's input tokens are replaced by
    tokens drawn uniformly; targets, validation and test stay as they are.
    """

    def __init__(
        self, sizes: Sizes, cut: Cut, repeat: int, reset: Literal["epoch", "never", "segment"]
    ):
        """
        Args:
          repeat: how often each input and target comes along time.
          reset: when what a module carries starts from 0: with each training epoch and before
            validation and test; not at all; or with every batch.
        """
        self.sizes, self.cut, self.repeat, self.reset = sizes, cut, repeat, reset

    @classmethod
    def of(cls, trial: Trial) -> TaskRuntime:
        config: Any = trial.config
        cut = Cut(config["seq_len"], row_lengths(config), segments(config))
        return cls(trial.sizes, cut, config["time_repeat"], config["state_reset"])

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"rows": _rows(trial, arrays)}

    @property
    def carries(self) -> bool:
        return self.reset != "segment"

    def _entries(self, parts: tuple[int, ...]) -> Schedule:
        starts = [self.cut.starts(part) for part in parts]
        firsts = [np.arange(len(s)) == 0 for s in starts]
        reset = np.concatenate(firsts) if self.reset == "epoch" else np.concatenate(starts) < 0
        if self.reset == "segment":
            reset = ~reset
        found = np.concatenate(starts)
        weight = jnp.ones((len(found), self.sizes.batch_size))
        return {"start": jnp.asarray(found), "reset": jnp.asarray(reset), "weight": weight}

    def training(self, key: jax.Array, hparams: Hparams, epoch: jax.Array) -> Schedule:
        rate = jnp.where(epoch < hparams["mlm_epochs"], hparams["mlm_rate"], 0.0)
        return {
            **self._entries((0,)),
            "corrupt": jax.random.split(named_key(key, "mlm", epoch), self.sizes.steps),
            "rate": jnp.full(self.sizes.steps, rate, jnp.float32),
        }

    def evaluation(self, key: jax.Array, hparams: Hparams) -> Schedule:
        held = np.repeat(np.eye(2), self.cut.segments[1:], axis=1)
        shape = *held.shape, self.sizes.batch_size
        spread = np.broadcast_to(held[..., None], shape).astype(np.float32)
        return {**self._entries((1, 2)), "segments": jnp.asarray(spread)}

    def probe(self, key: jax.Array, hparams: Hparams) -> Schedule:
        """The first training segment, from a state of 0."""
        entry = jax.tree.map(lambda leaf: leaf[:1], self._entries((0,)))
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
        x, y = (jnp.repeat(tokens, self.repeat, axis=1) for tokens in (x, y))
        return x, y, entry["weight"]

    def metrics(self, outputs: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
        """Cross-entropy in bits, and the perplexity as published: exp of each batch's mean
        cross-entropy, averaged over batches, so never below exp of the mean over all."""
        losses = self.losses(outputs, y)
        perplexity = jnp.full_like(losses, jnp.exp(jnp.mean(losses)))
        return {"bits_per_token": losses / jnp.log(2.0), "batch_perplexity": perplexity}


def _rows(trial: Trial, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The three streams of a task's arrays (train_tokens, ...) as rows side by side, int32.

    Raises:
      ValueError: a stream is missing, or shorter than declared, or holds unknown tokens.
    """
    sizes, name = trial.sizes, trial.task.name
    found = []
    for part, length in zip(PARTS, row_lengths(trial.config), strict=True):
        stream = arrays.get(f"{part}_tokens")
        if stream is None:
            raise ValueError(f"task {name} needs the array {part}_tokens; hand it to Pack")
        need = length * sizes.batch_size
        if len(stream) < need:
            raise ValueError(f"task {name} reads {need:,} {part} tokens; there are {len(stream):,}")
        if need and not 0 <= stream[:need].min() <= stream[:need].max() < sizes.features:
            raise ValueError(f"tokens of task {name} must lie in 0..{sizes.features - 1}")
        found.append(rows(stream[:need], sizes.batch_size))
    return np.concatenate(found, axis=1).astype(np.int32)
