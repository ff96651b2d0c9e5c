"""Task `teacher_student`: identify a linear system from white noise and its response.

See docs/specs/zucchet2024.md, 2. A teacher (`teacher_systems`) answers Gaussian inputs; every batch
is drawn anew on the device, so that the training loss is the generalisation loss. The teacher
depends on `teacher_seed`, its ring of eigenvalues and its static keys, never on the trial's seed:
as published, all seeds learn one system.

Shapes are suffixed: T time, B batch, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainables.core.random_keys import named_key
from trainables.declarations import Sizes, Trial
from trainables.layers.impulse_response import convolved, output_energy
from trainables.tasks.teacher_systems import Form

Hparams = Mapping[str, jax.Array]
Schedule = dict[str, jax.Array]


@dataclass(frozen=True)
class Signals:
    """What is fixed of inputs and outputs: inputs "gaussian" or "constant", and the standard
    deviation of the outputs' noise."""

    inputs: str = "gaussian"
    noise: float = 0.0


class TeacherStudent:
    """The functions of a trial's task; targets are (x, k) and perhaps noise, inputs and the
    teacher's response. Of one input, x is (B, T); of one input and output, k is (T,).

    A model answers with outputs (B, T, O), or, in mode "kernel", with its own response to an
    impulse, (T,) or (1, T, O, I): the error is then the convolution of the difference of the two
    responses.
    """

    carries = False

    def __init__(self, sizes: Sizes, form: Form, signals: Signals):
        self.sizes, self.form, self.signals = sizes, form, signals

    @classmethod
    def of(cls, trial: Trial) -> TeacherStudent:
        """The functions of a trial's task."""
        config: Any = trial.config
        form = Form(
            config["teacher_order"], config["d_input"], config["d_output"], config["teacher_form"],
            config["teacher_maps"], config["teacher_norm"], config["prng"],
        )  # fmt: skip
        return cls(trial.sizes, form, Signals(config["input_type"], config["output_noise"]))

    @staticmethod
    def data(trial: Trial, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Nothing: every batch is drawn."""
        return {}

    def response(self, hparams: Hparams) -> jax.Array:
        """The teacher's response, (T,) or (T, O, I)."""

        def own(name: str) -> jax.Array:
            value = hparams[f"teacher_{name}"]
            return jnp.where(jnp.isnan(value), hparams[name], value)

        ring = own("min_nu"), hparams["teacher_max_nu"], own("max_phase")
        return self.form.response(hparams["teacher_seed"], ring, self.sizes.seq_len)

    def scale(self, hparams: Hparams) -> jax.Array:
        """Loss of answering 0: the energy of the teacher's outputs, which losses are divided by."""
        k = self.response(hparams)
        mean, spread = hparams["input_mean"], hparams["input_std"] ** 2
        level = jnp.cumsum(k, 0)  # the answer to inputs of 1
        if self.signals.inputs == "constant":
            drawn = spread * 0.5 * jnp.mean(jnp.sum(level.reshape(len(k), -1) ** 2, 1))
        else:
            drawn = spread * output_energy(k)
        steady = level[:, None] if k.ndim == 1 else jnp.sum(level, 2)
        fixed = mean**2 * 0.5 * jnp.mean(jnp.sum(steady**2, 1))
        return drawn + fixed + 0.5 * self.form.outputs * self.signals.noise**2

    def _schedule(self, keys: jax.Array, hparams: Hparams) -> Schedule:
        # The teacher is an entry of the schedule, so that it is made once an epoch, not in a step.
        k = self.response(hparams)
        k = jnp.broadcast_to(k, (len(keys), *k.shape))
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
        inputs, outputs = (() if n == 1 else (n,) for n in (self.form.inputs, self.form.outputs))
        x = jax.random.normal(entry["key"], (*shape, *inputs))
        x = hparams["input_mean"] + hparams["input_std"] * x
        if self.signals.inputs == "constant":
            x = jnp.broadcast_to(x[:, :1], x.shape)
        y: tuple[jax.Array, ...] = (x, entry["teacher"])
        if self.signals.noise:
            drawn = jax.random.normal(named_key(entry["key"], "noise"), (*shape, *outputs))
            y = (*y, self.signals.noise * drawn)
        return x.reshape(*shape, self.form.inputs), y, entry["weight"]

    def divided(self, batch: Any, samples: int, parts: int) -> Any:
        """A batch with a leading axis of parts, each with the teacher's response."""
        x, (u, k, *noise), weight = batch
        cut = [
            leaf.reshape(parts, samples // parts, *leaf.shape[1:])
            for leaf in (x, weight, u, *noise)
        ]
        return cut[0], (cut[2], jnp.broadcast_to(k, (parts, *k.shape)), *cut[3:]), cut[1]

    def answers(self, x: jax.Array, y: Any, every_step: bool) -> tuple[tuple[int, ...], ...]:
        k = y[1].shape
        return (*x.shape[:2], self.form.outputs), (k if len(k) == 1 else (1, *k))

    def losses(self, outputs: jax.Array, y: Any) -> jax.Array:
        """0.5 of the squared error, mean over time and sum over outputs, (B,)."""
        x, k, *noise = y
        if outputs.ndim in (1, 4):
            error = convolved(x, (outputs if outputs.ndim == 1 else outputs[0]) - k)
        else:
            error = (outputs[..., 0] if k.ndim == 1 else outputs) - convolved(x, k)
        for drawn in noise:
            error = error - drawn.reshape(error.shape)
        squares = error**2 if k.ndim == 1 else jnp.sum(error**2, 2)
        return 0.5 * jnp.mean(squares, axis=1)

    def correct(self, outputs: jax.Array, y: Any) -> jax.Array:
        """NaN: no answer is right or wrong."""
        return jnp.full(len(y[0]), jnp.nan)

    def metrics(self, outputs: jax.Array, y: Any) -> dict[str, jax.Array]:
        return {}
