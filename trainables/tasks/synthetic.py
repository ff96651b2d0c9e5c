"""Tasks `sine` and `temporal_order`: synthetic sequences in a fixed order, never shuffled.

See docs/specs/ribeiro2020.md, 2.1 and 2.2. Data are made on the host, once: training sequences,
then validation. Shapes are suffixed: N sequences, T time, B batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainables.declarations import Sizes, Trial
from trainables.declarations.tasks.synthetic import window_starts
from trainables.tasks.base import Batch, Classification, Hparams, Schedule, Shape


class Ordered:
    """Batches of consecutive sequences; data are x and y with a leading axis of sequences, and
    x_held and y_held where validation sequences have another length.

    Attributes:
      terms: losses of a sequence that a summed objective adds up.
    """

    carries = False

    def __init__(self, sizes: Sizes, terms: int, apart: bool = False):
        """`apart`: validation sequences lie in separate arrays."""
        self.sizes, self.terms, self.apart = sizes, terms, apart

    def _batches(self, first: int, count: int) -> Schedule:
        """Indices (batches, B) of `count` sequences from `first` on, and weights; the last batch is
        filled up with the first sequences again, of weight 0."""
        size = self.sizes.batch_size
        slots = np.arange(-(-count // size) * size)
        shape = -1, size
        index = jnp.asarray(first + slots % max(count, 1), jnp.int32).reshape(shape)
        return {"index": index, "weight": jnp.asarray(slots < count, jnp.float32).reshape(shape)}

    def training(self, key: jax.Array, hparams: Hparams, epoch: jax.Array) -> Schedule:
        return self._batches(0, self.sizes.n_train)

    def evaluation(self, key: jax.Array, hparams: Hparams) -> Schedule:
        found = self._batches(0 if self.apart else self.sizes.n_train, self.sizes.n_val)
        held = found["weight"]
        if self.apart:
            found["held"] = jnp.ones(len(held), bool)
        return {**found, "segments": jnp.stack([held, jnp.zeros_like(held)])}

    def probe(self, key: jax.Array, hparams: Hparams) -> Schedule:
        """Each sequence once: without those that fill a batch up."""
        found = self._batches(0, self.sizes.n_train)
        return jax.tree.map(lambda leaf: leaf[:1, : self.sizes.n_train], found)

    def batch(self, data: Any, entry: Schedule, hparams: Hparams) -> Batch:
        at, held = entry["index"], "_held" if "held" in entry else ""
        return data[f"x{held}"][at], data[f"y{held}"][at], entry["weight"]


def sine_waves(low: float, high: float, count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """(omega (N,), sin(omega t) (N, T) for t = 1..T), float64: evenly spaced frequencies."""
    omega = np.linspace(low, high, count)
    return omega, np.sin(omega[:, None] * np.arange(1, length + 1))


class SineTask(Ordered):
    """Mean squared error of outputs (B, T, 1) at every step; inputs (B, T, 1) are constant.

    Attributes:
      frequencies: lowest and highest frequency.
    """

    def __init__(self, sizes: Sizes, frequencies: tuple[float, float], apart: bool = False):
        super().__init__(sizes, sizes.seq_len, apart)
        self.frequencies = frequencies

    @classmethod
    def of(cls, trial: Trial) -> SineTask:
        """The functions of a trial's task."""
        config: Any = trial.config
        apart = config["val_seq_len"] is not None
        return cls(trial.sizes, (config["min_freq"], config["max_freq"]), apart)

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        config: Any = trial.config
        shape = config["min_freq"], config["max_freq"], config["n_sequences"]
        found = {}
        for held, length in (("", config["seq_len"]), ("_held", config["val_seq_len"])):
            if length is not None:
                omega, y = sine_waves(*shape, length)
                found |= {f"x{held}": omega.astype(np.float32), f"y{held}": y.astype(np.float32)}
        return found

    def constant_inputs(self, count: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Frequencies to drive a net with, (count, 1) and (count,), evenly spaced."""
        omega = jnp.linspace(*self.frequencies, count)
        return omega[:, None], omega

    def batch(self, data: Any, entry: Schedule, hparams: Hparams) -> Batch:
        omega, y, weight = super().batch(data, entry, hparams)
        shape = *y.shape, 1
        return jnp.broadcast_to(omega[:, None, None], shape), y, weight

    def answers(self, x: jax.Array, y: Any, every_step: bool) -> tuple[Shape, ...]:
        return ((*y.shape, 1),)

    def losses(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean((outputs[..., 0] - y) ** 2, axis=1)

    def correct(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        """NaN: no answer is right or wrong."""
        return jnp.full(len(y), jnp.nan)

    def metrics(self, outputs: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
        return {}

    def scale(self, hparams: Hparams) -> None:
        return None


def temporal_order(
    seed: int, count: int, length: int, symbols: int, distractors: int, starts: tuple[int, ...],
    width: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(symbols (N, T), classes (N,)), relevant symbols numbered first.

    The published generator's order of draws, from NumPy's legacy Mersenne twister: for each
    sequence a distractor for every step, those later overwritten included, then for each window a
    position and the symbol there. The class reads the symbols as digits, the first the highest.
    """
    rng = np.random.RandomState(seed)
    x, y = np.empty((count, length), np.int32), np.zeros(count, np.int32)
    for n in range(count):
        x[n] = symbols + rng.randint(distractors, size=length)
        for start in starts:
            position, symbol = rng.randint(start, start + width), rng.randint(symbols)
            x[n, position] = symbol
            y[n] = y[n] * symbols + symbol
    return x, y


class TemporalOrderTask(Ordered, Classification):
    """Cross-entropy of the logits at the last step; inputs are symbols as unit vectors."""

    @classmethod
    def of(cls, trial: Trial) -> TemporalOrderTask:
        """The functions of a trial's task."""
        return cls(trial.sizes, 1, trial.config["val_seq_len"] is not None)

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        config: Any = trial.config
        longer = config["val_seq_len"]
        lengths = config["seq_len"], longer or config["seq_len"]
        parts = [
            temporal_order(
                config["data_seed"] + part, count, lengths[part], config["n_symbols"],
                config["n_distractors"], window_starts(config), config["position_symbols_len"],
            )
            for part, count in enumerate((config["n_sequences"], config["n_sequences_val"]))
        ]  # fmt: skip
        if longer is not None:
            (x, y), (x_held, y_held) = parts
            return {"x": x, "y": y, "x_held": x_held, "y_held": y_held}
        x, y = (np.concatenate(found) for found in zip(*parts, strict=True))
        return {"x": x, "y": y}

    def constant_inputs(self, count: int, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """All symbols to drive a net with, as unit vectors, and their numbers."""
        symbols = jnp.arange(self.sizes.features)
        return jax.nn.one_hot(symbols, self.sizes.features), symbols

    def batch(self, data: Any, entry: Schedule, hparams: Hparams) -> Batch:
        symbols, y, weight = super().batch(data, entry, hparams)
        return jax.nn.one_hot(symbols, self.sizes.features), y, weight

    def answers(self, x: jax.Array, y: Any, every_step: bool) -> tuple[Shape, ...]:
        return ((*x.shape[:2], self.sizes.classes),)

    def losses(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        return super().losses(outputs[:, -1], y)

    def correct(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        return super().correct(outputs[:, -1], y)

    def metrics(self, outputs: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
        return {}
