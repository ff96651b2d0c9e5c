"""Task `word_lm`: the next word of contiguous streams, every target judged once.

Study `ribeiro2020`, section 2.3. Training, validation and test are each cut into B streams; chunk
k + 1 of a stream follows chunk k, so that a carried state meets the text it comes from. A stream's
last chunk may be shorter: its missing targets are -1 and count for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from trainables.declarations import Sizes, Trial
from trainables.declarations.tasks.text import chunks, stream_lengths
from trainables.tasks.base import Batch, Classification, Hparams, Schedule
from trainables.tasks.text import PARTS, rows

_NO_TARGET = -1


def padded(stream: np.ndarray, batch: int, length: int) -> np.ndarray:
    """A stream (N,) as rows (batch, k length + 1), filled up with -1 to whole chunks."""
    found = rows(stream, batch)
    missing = -(found.shape[1] - 1) % length
    return np.pad(found, ((0, 0), (0, missing)), constant_values=_NO_TARGET)


class LanguageTask(Classification):
    """Cross-entropy of logits (B, T, V); data are the padded rows of all three parts side by side.

    Attributes:
      counts: chunks of training, validation and test.
      terms: losses of a full chunk that a summed objective adds up.
    """

    def __init__(self, sizes: Sizes, counts: tuple[int, ...], last: tuple[int, ...], reset: str):
        """`last`: targets of the last chunk of each part."""
        self.sizes, self.counts, self.last, self.reset = sizes, counts, last, reset
        self.terms = sizes.seq_len

    @classmethod
    def of(cls, trial: Trial) -> LanguageTask:
        """The functions of a trial's task."""
        config: Any = trial.config
        lengths = stream_lengths(config)
        last = tuple((n - 2) % config["seq_len"] + 1 for n in lengths)
        return cls(trial.sizes, chunks(config), last, config["state_reset"])

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The rows, int32.

        Raises:
          ValueError: a stream is missing, or shorter than declared, or holds unknown tokens.
        """
        sizes, found = trial.sizes, []
        for part, length in zip(PARTS, stream_lengths(trial.config), strict=True):
            stream, need = arrays.get(f"{part}_tokens"), length * sizes.batch_size
            if stream is None:
                raise ValueError(f"task word_lm needs the array {part}_tokens; hand it to Pack")
            if len(stream) < need:
                raise ValueError(f"task word_lm reads {need:,} {part} tokens of {len(stream):,}")
            stream = np.asarray(stream[:need], np.int32)
            if not 0 <= stream.min() <= stream.max() < sizes.features:
                raise ValueError(f"tokens of task word_lm must lie in 0..{sizes.features - 1}")
            found.append(padded(stream, sizes.batch_size, sizes.seq_len))
        return {"rows": np.concatenate(found, axis=1)}

    @property
    def carries(self) -> bool:
        return self.reset != "segment"

    def _entries(self, part: int) -> dict[str, np.ndarray]:
        """First column, whether the carried state starts anew, and weights of a part's chunks."""
        length, count = self.sizes.seq_len, self.counts[part]
        first = sum(n * length + 1 for n in self.counts[:part])
        share = np.ones(count, np.float32)
        share[-1] = self.last[part] / length
        return {
            "start": (first + length * np.arange(count)).astype(np.int32),
            "reset": np.arange(count) == 0 if self.carries else np.ones(count, bool),
            "weight": np.repeat(share[:, None], self.sizes.batch_size, 1),
        }

    def training(self, key: jax.Array, hparams: Hparams, epoch: jax.Array) -> Schedule:
        return jax.tree.map(jnp.asarray, self._entries(0))

    def evaluation(self, key: jax.Array, hparams: Hparams) -> Schedule:
        parts = [self._entries(1), self._entries(2)]
        both = {n: jnp.concatenate([p[n] for p in parts]) for n in parts[0]}
        held = np.repeat(np.eye(2, dtype=np.float32), self.counts[1:], axis=1)
        return {**both, "segments": jnp.asarray(held)[..., None] * both["weight"]}

    def probe(self, key: jax.Array, hparams: Hparams) -> Schedule:
        """The first training chunk, from a state of 0."""
        entry = jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), self._entries(0))
        return {**entry, "reset": jnp.ones(1, bool)}

    def constant_inputs(self, count: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Tokens to drive a net with, (count,) twice, drawn from the whole vocabulary."""
        tokens = jax.random.randint(key, (count,), 0, self.sizes.features)
        return tokens, tokens

    def batch(self, data: Any, entry: Schedule, hparams: Hparams) -> Batch:
        span = lax.dynamic_slice_in_dim(
            data["rows"], entry["start"], self.sizes.seq_len + 1, axis=1
        )
        return jnp.maximum(span[:, :-1], 0), span[:, 1:], entry["weight"]

    def losses(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        """Mean over a chunk's targets."""
        there = y != _NO_TARGET
        losses = optax.softmax_cross_entropy_with_integer_labels(outputs, jnp.maximum(y, 0))
        return jnp.sum(jnp.where(there, losses, 0), 1) / jnp.maximum(jnp.sum(there, 1), 1)

    def correct(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        there = y != _NO_TARGET
        right = there & (jnp.argmax(outputs, -1) == y)
        return jnp.sum(right, 1) / jnp.maximum(jnp.sum(there, 1), 1)

    def metrics(self, outputs: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
        return {}
