"""A pack's bare step (loss, gradient, update; nothing measured), and the least it can take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax
from jax import lax

from benchmarks.gpu.roofline import operations, size
from trainables.core.hparams import lane_values, stack_lanes
from trainables.core.lanes import Strategy, over_lanes
from trainables.core.random_keys import trial_key
from trainables.declarations import Trial
from trainables.tasks.base import make_data, make_task


def measure(
    trials: Sequence[Trial],
    arrays: Mapping[str, np.ndarray],
    strategy: Strategy,
    rates: Mapping[str, float],
    repeats: int,
    limit: float,
) -> dict[str, Any]:
    """An epoch of bare steps over all lanes in one program, beside its floor.

    Args:
      rates: as of `roofline.measured`.
      repeats: epochs to time, unless they exceed `limit` seconds together.

    Returns:
      bare_s: median seconds of a lane's step.
      step_flops, epoch_flops: operations of matrix products, of a lane's bare step and of the whole
        epoch of `Pack` (106 steps and evaluation, say).
      step_bytes: a lane's weights and moments, read and written once a step, and its batch's
        inputs, read once. What the step's inner values move is not counted.
      floor_s: max(step_flops / peak, step_bytes / bandwidth).
      floor_is: which of the two.
    """
    first, own = trials[0], [lane_values(trial) for trial in trials]
    task: Any = make_task(first)
    engine: Any = first.stage.builder()(first, task, own[0])

    def step(state: Any, values: Any, entry: Any, data: Any) -> Any:
        grad = jax.value_and_grad(engine.loss, has_aux=True)
        batch = task.batch(data, entry, values)
        (loss, (rest, _)), gradients = grad(state["params"], state["rest"], batch)
        rule = engine.optimizer(values)
        updates, moments = rule.update(gradients, state["optimizer"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        return {**state, "params": params, "rest": rest, "optimizer": moments}, loss

    def schedule(values: Any) -> Any:
        return task.training(trial_key(values["seed"]), values, 0)

    def one(state: Any, values: Any, data: Any) -> Any:
        return lax.scan(lambda s, e: step(s, values, e, data), state, schedule(values))

    def run(state: Any, values: Any, data: Any) -> Any:
        alive = state["alive"]
        return over_lanes(lambda s, v: one(s, v, data), state, values, alive, strategy)

    data, values = jax.device_put((make_data(first, arrays), stack_lanes(own)))
    init = jax.jit(lambda values: engine.init(first, values))
    state = jax.vmap(init)(values)
    program = jax.jit(run, donate_argnums=0).lower(state, values, data).compile()
    state, _ = jax.block_until_ready(program(state, values, data))
    seconds: list[float] = []
    while len(seconds) < repeats and sum(seconds) <= limit:
        begun = time.perf_counter()
        state, _ = jax.block_until_ready(program(state, values, data))
        seconds.append(time.perf_counter() - begun)

    lane, entries = jax.eval_shape(init, own[0]), jax.eval_shape(schedule, own[0])
    entry = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), entries)
    x, *_ = jax.eval_shape(task.batch, data, entry, own[0])
    flops = operations(step, lane, own[0], entry, data)
    moved = 2 * size([lane["params"], lane["optimizer"]]) + size(x)
    floors = {"operations": flops / rates["flops_per_s"], "bytes": moved / rates["bytes_per_s"]}
    return {
        "bare_s": statistics.median(seconds) / len(trials) / engine.steps,
        "step_flops": flops,
        "epoch_flops": operations(engine.epoch, lane, own[0], np.int32(0), data),
        "step_bytes": moved,
        "floor_s": max(floors.values()),
        "floor_is": max(floors, key=lambda name: floors[name]),
    }
