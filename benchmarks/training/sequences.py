"""What bar2025's training saves: an epoch as one program, and uint8 gathered on the device."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.timing import alternate
from trainables.core.hparams import lane_values
from trainables.core.random_keys import trial_key
from trainables.declarations import Trial, builtin_registry
from trainables.tasks.base import make_data, make_task
from trainables.training.epoch import Training

STEPS = 60
_COPY = {
    "model": "deep_lru", "task": "copy", "pooling": "none", "depth": 2, "d_model": 16, "width": 16,
    "batch_size": 16, "n_train": 16 * STEPS, "n_val": 16, "n_test": 16, "dropout": 0.0,
    "optimizer": "adamw_groups",
}  # fmt: skip
BATCH, LENGTH, TOKENS, FEATURES = 32, 4096, 135, 192


def _engine(config: dict[str, Any]) -> tuple[Trial, Any, Any, Any]:
    trial = builtin_registry().resolve(config)
    task: Any = make_task(trial)
    values = {name: jnp.asarray(v) for name, v in lane_values(trial).items()}
    data = jax.tree.map(jnp.asarray, make_data(trial, {}))
    return trial, Training(trial, task, lane_values(trial)), values, data


def run() -> dict[str, float]:
    """Seconds of 60 training steps (2 blocks of 16 LRU units, batch 16, 48 time steps) as one scan
    and as a Python loop over the same compiled step; and of embedding 32 x 4,096 characters in 192
    features from uint8 by gather, and from one-hot float32."""
    trial, training, values, data = _engine(_COPY)
    state = jax.jit(lambda v: training.init(trial, v))(values)
    schedule = training.task.training(trial_key(values["seed"]), values, jnp.int32(0))
    entries = [jax.tree.map(lambda leaf, i=i: leaf[i], schedule) for i in range(STEPS)]

    def step(state: Any, entry: Any) -> Any:
        return training.step(state, values, training.task.batch(data, entry, values))

    one = jax.jit(step)
    whole = jax.jit(lambda state, entries: lax.scan(step, state, entries))

    def loop() -> None:
        found = state
        for entry in entries:
            found, seen = one(found, entry)
        jax.block_until_ready((found, seen))

    rng = np.random.default_rng(0)
    ids = jnp.asarray(rng.integers(0, TOKENS, (BATCH, LENGTH)), jnp.uint8)
    w = jnp.asarray(rng.normal(size=(TOKENS, FEATURES)), jnp.float32)
    gather = jax.jit(lambda ids, w: jnp.sum(w[ids.astype(jnp.int32)]))
    hot = jax.jit(lambda hot, w: jnp.sum(hot @ w))
    host = np.asarray(ids)

    def from_hot() -> None:
        # As a loader without gather does: the unit vectors are made on the host, then sent.
        jax.block_until_ready(hot(jnp.asarray(np.eye(TOKENS, dtype=np.float32)[host]), w))

    return alternate(
        {
            "60 steps, one scan": lambda: jax.block_until_ready(whole(state, schedule)),
            "60 steps, Python loop": loop,
            "embedding, uint8 gather": lambda: jax.block_until_ready(gather(jnp.asarray(host), w)),
            "embedding, one-hot": from_hot,
        },
        rounds=3,
    )
