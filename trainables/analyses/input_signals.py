"""Inputs of analyses: noise like words, or a file of the user's; how they correlate over time.

See docs/specs/zucchet2024.md, 5.8. Shapes are suffixed: N sequences, T time, B batch, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainables.analyses.hessians import Drawn
from trainables.core.engine import SharedColumns
from trainables.core.hparams import constants
from trainables.declarations import PartError, Trial
from trainables.tasks.sequence_file import WORDS, Components, surrogate


class Inputs:
    """What drives an analysis.

    Attributes:
      features: of a time step.
      components: of their autocorrelation; of a file's, by `fit`.
    """

    def __init__(
        self, arrays: Mapping[str, np.ndarray] | None, length: int, batch: int, features: int
    ):
        """
        Args:
          arrays: with `sequences` (N, T, F); None: noise like words, of `features`.
          length, batch: of what is asked for.

        Raises:
          PartError: the file has fewer sequences or time steps.
        """
        self.sequences_NTF = None if arrays is None else np.asarray(arrays["sequences"])
        self.length, self.batch, self.features = length, batch, features
        self.components = WORDS
        if self.sequences_NTF is None:
            return
        count, steps, self.features = self.sequences_NTF.shape
        if count < batch or steps < length:
            raise PartError(
                f"the file of inputs has {count} sequences of {steps} time steps; lower "
                f"signal_batch={batch} and signal_steps={length} to that"
            )
        self.components = fit(autocorrelation(self.sequences_NTF, min(steps // 2, 200)))

    def __call__(self, key: jax.Array) -> jax.Array:
        """Inputs (T, B, F)."""
        if self.sequences_NTF is None:
            return surrogate(key, self.length, self.batch, self.features)
        kept = self.sequences_NTF[: self.batch, : self.length]
        return jnp.asarray(np.swapaxes(kept, 0, 1), jnp.float32)


# ---- autocorrelation ---------------------------------------------------------------------------


def autocorrelation(sequences_NTF: np.ndarray, lags: int) -> np.ndarray:
    """R(d) = mean of x_t x_{t+d} over sequences, time and features, d = 0..lags, float64."""
    steps = sequences_NTF.shape[1]
    found = np.zeros(lags + 1)
    for sequence_TF in sequences_NTF:
        spectrum = np.fft.rfft(sequence_TF.astype(np.float64), 2 * steps, 0)
        power = np.sum(np.abs(spectrum) ** 2, 1)
        found += np.fft.irfft(power, 2 * steps)[: lags + 1]
    counts = (steps - np.arange(lags + 1)) * sequences_NTF.shape[2] * len(sequences_NTF)
    return found / counts


def fit(correlation: np.ndarray) -> Components:
    """(r0, rho) of a slow component and of white noise, whose sum r0 rho^d, and the rest at d = 0,
    is nearest to R(d), d = 0.., in squares over d >= 1."""
    lags = np.arange(1, len(correlation))
    rhos = 1 - np.geomspace(1, 1e-5, 4001)[:, None]
    with np.errstate(under="ignore"):
        powers = rhos**lags
    scale = np.maximum(powers @ correlation[1:], 0) / np.maximum(np.sum(powers**2, 1), 1e-300)
    left = np.sum((correlation[1:] - scale[:, None] * powers) ** 2, 1)
    best = int(np.argmin(left))
    slow, rho = float(scale[best]), float(rhos[best, 0])
    return (slow, rho), (max(float(correlation[0]) - slow, 0.0), 0.0)


class Autocorrelation(Drawn):
    """Stage `autocorrelation`: R(d) of the inputs, measured, and its fit by a slow component and
    white noise."""

    def __init__(self, trial: Trial, task: Mapping[str, np.ndarray] | None, values: Any):
        config: Any = constants(trial)
        lags = int(config["correlation_lags"])
        if task is None:
            length, batch = int(config["signal_steps"]), int(config["signal_batch"])
            key = jax.random.key(0)
            x_TBF = surrogate(key, length, batch, int(config["signal_width"]))
            sequences_NTF = np.asarray(jnp.swapaxes(x_TBF, 0, 1))
        else:
            sequences_NTF = np.asarray(task["sequences"])
        lags = min(lags, sequences_NTF.shape[1] - 1)
        found = autocorrelation(sequences_NTF, lags)
        (slow, rho), (white, _) = fit(found)
        d = np.arange(lags + 1)
        fitted = slow * rho**d + white * (d == 0)
        self.shared_columns: Mapping[str, SharedColumns] = {
            "autocorrelation": {
                "lag": d.astype(np.int32),
                "measured": found,
                "fitted": fitted,
                "slow": np.full(len(d), slow),
                "rho": np.full(len(d), rho),
                "white": np.full(len(d), white),
            }
        }
