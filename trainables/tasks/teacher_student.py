"""Task `teacher_student`: identify a linear system from white noise and its response.

See docs/specs/zucchet2024.md, 2. A teacher h_t = A h_{t-1} + B x_t, y_t = C h_t + D x_t of `order`
real units answers N(0, 1) inputs; every batch is drawn anew on the device, so that the training
loss is the generalisation loss. The teacher depends on `teacher_seed`, `min_nu` and `max_phase`,
never on the trial's seed: as published, all seeds learn one system.

Shapes are suffixed: T time, B batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry_2x32

from trainables.core.random_keys import named_key
from trainables.declarations import Sizes, Trial
from trainables.layers.eigenvalue_init import pulled_matrix
from trainables.layers.impulse_response import causal, orbit, output_energy

Hparams = Mapping[str, jax.Array]
Schedule = dict[str, jax.Array]
System = tuple[jax.Array, jax.Array, jax.Array, jax.Array]
"""A (n, n), B (n,), C (n,), D ()."""


def _original_bits(words: jax.Array, count: int) -> jax.Array:
    """`count` random words of a key (2,), counters in two halves: JAX's generator before
    `jax_threefry_partitionable` was its default."""
    return threefry_2x32(words, jnp.arange(count, dtype=jnp.uint32))


def _original_normal(words: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """N(0, 1) as JAX drew it then: 23 random bits to (-1, 1), then the inverse error function."""
    bits = _original_bits(words, math.prod(shape))
    unit = jax.lax.bitcast_convert_type((bits >> 9) | jnp.uint32(0x3F800000), jnp.float32) - 1
    low = np.nextafter(np.float32(-1), np.float32(0))
    u = jnp.maximum(low, unit * (1 - low) + low)
    return (math.sqrt(2) * jax.lax.erf_inv(u)).reshape(shape)


def _draws(seed: jax.Array, order: int, prng: str) -> list[jax.Array]:
    """N(0, 1) for A (n, n), B (n, 1), C (1, n) and D (1, 1), each with a key of its own."""
    shapes = ((order, order), (order, 1), (1, order), (1, 1))
    key = jax.random.key(seed)
    if prng == "partitionable":
        keys = jax.random.split(key, 4)
        return [jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True)]
    keys = _original_bits(jax.random.key_data(key), 8).reshape(4, 2)
    return [_original_normal(k, s) for k, s in zip(keys, shapes, strict=True)]


def teacher(seed: Any, order: int, min_nu: Any, max_phase: Any, prng: str) -> System:
    """The system of a seed: A = N(0, 1) / sqrt(n) with its eigenvalues pulled into the ring
    [min_nu, 1), B ~ N(0, 1), C ~ N(0, 1) / sqrt(n), D ~ N(0, 1).

    Args:
      prng: "partitionable", JAX's generator today, or "original", that of the paper's time.
    """
    g, b, c, d = _draws(seed, order, prng)
    a = pulled_matrix(g / math.sqrt(order), min_nu, 1.0, max_phase)
    return a, b[:, 0], c[0] / math.sqrt(order), d[0, 0]


def response(system: System, length: int) -> jax.Array:
    """C A^t B for t = 0..length-1, and D at t = 0."""
    a, b, c, d = system
    rows = orbit(c, a, lambda rows, power: rows @ power, lambda p, q: p @ q, length)
    return (rows @ b).at[0].add(d)


class TeacherStudent:
    """The functions of a trial's task; targets are (x, k), inputs and the teacher's response.

    A model answers with outputs (B, T, 1), or, in mode "kernel", with its own response to an
    impulse (T,): the error is then the convolution of the difference of the two responses.
    """

    carries = False

    def __init__(self, sizes: Sizes, order: int, prng: str):
        self.sizes, self.order, self.prng = sizes, order, prng

    @classmethod
    def of(cls, trial: Trial) -> TeacherStudent:
        """The functions of a trial's task."""
        config: Any = trial.config
        return cls(trial.sizes, int(config["teacher_order"]), str(config["prng"]))

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Nothing: every batch is drawn."""
        return {}

    def response(self, hparams: Hparams) -> jax.Array:
        """The teacher's response (T,)."""
        seed, ring = hparams["teacher_seed"], (hparams["min_nu"], hparams["max_phase"])
        return response(teacher(seed, self.order, *ring, self.prng), self.sizes.seq_len)

    def scale(self, hparams: Hparams) -> jax.Array:
        """Loss of answering 0: the teacher's output energy, which losses are divided by."""
        return output_energy(self.response(hparams))

    def _schedule(self, keys: jax.Array, hparams: Hparams) -> Schedule:
        # The teacher is an entry of the schedule, so that it is made once an epoch, not in a step.
        k = jnp.broadcast_to(self.response(hparams), (len(keys), self.sizes.seq_len))
        return {"key": keys, "teacher": k, "weight": jnp.ones((len(keys), self.sizes.batch_size))}

    def training(self, key: jax.Array, hparams: Hparams, epoch: jax.Array) -> Schedule:
        keys = jax.random.split(named_key(key, "data", epoch), self.sizes.steps)
        return self._schedule(keys, hparams)

    def evaluation(self, key: jax.Array, hparams: Hparams) -> Schedule:
        sizes = self.sizes
        counts = [n // sizes.batch_size for n in (sizes.n_val, sizes.n_test)]
        keys = [
            jax.random.split(named_key(key, name), count)
            for name, count in zip(("validation", "test"), counts, strict=True)
        ]
        held = np.repeat(np.eye(2, dtype=np.float32), counts, axis=1)
        segments = jnp.broadcast_to(held[:, :, None], (*held.shape, sizes.batch_size))
        return {**self._schedule(jnp.concatenate(keys), hparams), "segments": segments}

    def probe(self, key: jax.Array, hparams: Hparams) -> Schedule:
        keys = jax.random.split(named_key(key, "data", 0), self.sizes.steps)[:1]
        return self._schedule(keys, hparams)

    def batch(self, data: Any, entry: Schedule, hparams: Hparams) -> tuple[jax.Array, Any, Any]:
        shape = self.sizes.batch_size, self.sizes.seq_len
        x = jax.random.normal(entry["key"], shape)
        return x[..., None], (x, entry["teacher"]), entry["weight"]

    def divided(self, batch: Any, samples: int, parts: int) -> Any:
        """A batch with a leading axis of parts, each with the teacher's response."""
        x, (u, k), weight = batch
        cut = [leaf.reshape(parts, samples // parts, *leaf.shape[1:]) for leaf in (x, u, weight)]
        return cut[0], (cut[1], jnp.broadcast_to(k, (parts, *k.shape))), cut[2]

    def answers(self, x: jax.Array, y: Any, every_step: bool) -> tuple[tuple[int, ...], ...]:
        return (*x.shape[:2], 1), (x.shape[1],)

    def losses(self, outputs: jax.Array, y: Any) -> jax.Array:
        """0.5 of the squared error, mean over time, (B,)."""
        x, k = y
        kernel = outputs.ndim == 1
        error = causal(x, outputs - k) if kernel else outputs[..., 0] - causal(x, k)
        return 0.5 * jnp.mean(error**2, axis=1)

    def correct(self, outputs: jax.Array, y: Any) -> jax.Array:
        """NaN: no answer is right or wrong."""
        return jnp.full(len(y[0]), jnp.nan)

    def metrics(self, outputs: jax.Array, y: Any) -> dict[str, jax.Array]:
        return {}
