"""Task `sequence_file`: predict the sequences of a file of the user's some steps ahead; without a
file, noise that correlates over time like words (docs/specs/zucchet2024.md, 5.8).

Shapes are suffixed: N sequences, M windows, T time, B batch, F features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from trainables.core.random_keys import named_key
from trainables.declarations import Trial
from trainables.declarations.tasks.sequence_file import NOISE_SHAPE
from trainables.tasks.base import ArrayTask, Shape

Components = tuple[tuple[float, float], ...]
"""(r0, rho) of components whose autocorrelations r0 rho^d add up."""

WORDS: Components = ((0.043056426671195, 0.997005254149726), (0.332, 0.0))
"""Those measured on BERT's embeddings of Wikipedia."""


def surrogate(key: jax.Array, length: int, batch: int, features: int) -> jax.Array:
    """Inputs (T, B, F): a slow AR(1) and white noise, independent over samples and features."""
    (slow, rho), (white, _) = WORDS
    shape = batch, features

    def step(x: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = rho * x + math.sqrt(1 - rho**2) * jax.random.normal(jax.random.fold_in(key, t), shape)
        return x, x

    start = jax.random.normal(named_key(key, "first"), shape)
    _, x_TBF = lax.scan(step, start, jnp.arange(length))
    noise = jax.random.normal(named_key(key, "white"), (length, *shape))
    return math.sqrt(slow) * x_TBF + math.sqrt(white) * noise


def windows(sequences_NTF: np.ndarray, length: int, lead: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and what follows `lead` steps later, (M, length, F) each: windows that do not overlap,
    of the first sequence first; steps at the end that fill none are left out."""
    count = (sequences_NTF.shape[1] - lead) // length
    features = sequences_NTF.shape[2]

    def cut(first: int) -> np.ndarray:
        kept = sequences_NTF[:, first : first + count * length]
        return np.ascontiguousarray(kept.reshape(-1, length, features), np.float32)

    return cut(0), cut(lead)


class SequenceFile(ArrayTask):
    """Half the squared error, mean over time and features, of outputs (B, T, F)."""

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        config: Any = trial.config
        sequences_NTF = arrays.get("sequences")
        if sequences_NTF is None:
            count, steps, features = NOISE_SHAPE
            noise_TNF = surrogate(jax.random.key(0), steps, count, features)
            sequences_NTF = np.asarray(jnp.swapaxes(noise_TNF, 0, 1))
        x, y = windows(sequences_NTF, config["seq_len"], config["lead"])
        return {"x": x, "y": y}

    def answers(self, x: jax.Array, y: Any, every_step: bool) -> tuple[Shape, ...]:
        return (y.shape,)

    def losses(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        return 0.5 * jnp.mean((outputs - y) ** 2, axis=(1, 2))

    def correct(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        """NaN: no answer is right or wrong."""
        return jnp.full(len(y), jnp.nan)

    def metrics(self, outputs: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
        return {}
