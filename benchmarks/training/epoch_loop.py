"""An epoch of task `sine` as one compiled program against a Python loop over its jitted step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.timing import alternate
from trainables.core.hparams import lane_values
from trainables.core.random_keys import trial_key
from trainables.declarations import builtin_registry
from trainables.packs.pack import Pack

CONFIG = {
    "model": "torch_lstm", "task": "sine", "optimizer": "torch_adam", "width": 32, "seq_len": 200,
    "n_sequences": 100,
}  # fmt: skip


def run() -> dict[str, float]:
    """Seconds of an epoch of ten steps, 32 units, 200 time steps, losses read once an epoch or, as
    the published loop does, once a step."""
    trial = builtin_registry().resolve(CONFIG)
    pack = Pack([trial], {})
    pack.init()
    pack.compile()
    engine: Any = pack._engine
    values = {name: jnp.asarray(value) for name, value in lane_values(trial).items()}
    data = jax.tree.map(jnp.asarray, pack._data)
    schedule = engine.task.training(trial_key(values["seed"]), values, jnp.int32(0))
    entries = [jax.tree.map(lambda leaf, i=i: leaf[i], schedule) for i in range(engine.steps)]
    held = {"state": engine.init(trial, values)}

    @jax.jit
    def step(state: Any, entry: Any) -> Any:
        state, seen = engine.step(state, values, engine.task.batch(data, entry, values))
        return state, seen["scalars"]

    def one_program() -> None:
        pack.epoch(0)

    def python_loop() -> None:
        for entry in entries:
            held["state"], scalars = step(held["state"], entry)
            scalars.tolist()

    return alternate({"one program": one_program, "python loop": python_loop})
