"""What gradient metrics cost: a pack's epoch against the same training without them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from benchmarks import packs_study
from benchmarks.timing import alternate
from orchestrator.worker.pack_run import load_arrays
from trainables.core.hparams import lane_values
from trainables.core.random_keys import trial_key
from trainables.declarations import builtin_registry
from trainables.packs.pack import Pack
from trainables.tasks.base import make_data, make_task
from trainables.training.epoch import Training

NETS: dict[str, dict[str, Any]] = {
    "20 x 64 RNN": packs_study.VANISHING,
    "30 x 128 network": packs_study.NETWORK,
}


def run() -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of an epoch of one trial, training, validation and test: without any metric but
    the loss, and with all of every epoch. The facts are what metrics add, in per cent."""
    registry = builtin_registry()
    seconds: dict[str, float] = {}
    facts: dict[str, float] = {}
    for name, config in NETS.items():
        trial = registry.resolve(config)
        arrays, _ = load_arrays(trial)
        pack = Pack([trial], arrays)
        pack.init()
        task = make_task(trial)
        assert task is not None
        engine = Training(trial, task, lane_values(trial))
        bare = _bare(engine, trial, make_data(trial, arrays))
        ways: dict[str, Callable[[], object]] = {
            f"{name}: bare": bare,
            f"{name}: with metrics": partial(pack.epoch, 1),
        }
        seconds |= alternate(ways, rounds=7)
        without, whole = (seconds[way] for way in ways)
        facts[f"{name}: per cent added"] = 100 * (whole / without - 1)
    return seconds, facts


def _bare(engine: Training, trial: Any, data: Any) -> Callable[[], object]:
    """The same model, task, batches and optimizer in the loop that a tutorial has, jitted whole;
    its state goes from call to call as the pack's does."""
    values = {name: jnp.asarray(value) for name, value in lane_values(trial).items()}
    first = engine.init(trial, values)
    gradient = jax.value_and_grad(engine.loss, has_aux=True)

    @partial(jax.jit, donate_argnums=0)
    def epoch(state: Any, data: Any) -> Any:
        optimizer = engine.optimizer(values)

        def step(carry: Any, entry: Any) -> Any:
            params, rest, moments = carry
            batch = engine.task.batch(data, entry, values)
            (loss, (rest, _)), gradients = gradient(params, rest, batch)
            updates, moments = optimizer.update(gradients, moments, params)
            return (optax.apply_updates(params, updates), rest, moments), loss

        schedule = engine.task.training(trial_key(values["seed"]), values, jnp.int32(1))
        start = state["params"], state["rest"], state["optimizer"]
        (params, rest, moments), losses = lax.scan(step, start, schedule)
        state = {**state, "params": params, "rest": rest, "optimizer": moments}
        return state, jnp.mean(losses), engine.evaluate(state, values, data)

    held = [jax.tree.map(jnp.copy, first)]

    def once() -> object:
        held[0], *found = epoch(held[0], data)
        return jax.device_get(found)

    return once
