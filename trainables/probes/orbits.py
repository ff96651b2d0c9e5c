"""Probes `orbits`, `attractors` and `contraction` of recurrent nets under constant inputs.

See docs/specs/ribeiro2020.md, 4. They run between epochs, on a copy of the weights and with random
keys of their own, so that training is the same bit for bit with and without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from trainables.core.engine import Measure, OnHost, SharedColumns, State
from trainables.core.random_keys import named_key
from trainables.declarations import PartError, Trial
from trainables.probes import attractors, driven_net
from trainables.training.network import Network

_MOST_OUTPUTS = 8
TOKEN = -1
"""Number of the output that is the token fed back."""
_LOGITS = (0, 16, 17, 13, 15, 22, 26, 35, 75, 25, 2, 9)
"""Words whose logits are kept of a large vocabulary, by number of first appearance (WikiText-2:
end of line, of, the, comma, full stop, to, is, by, secret, Japan, Valkyria, unknown)."""


def output_count(classes: int) -> int:
    """Outputs recorded of a net with so many."""
    return classes if classes <= _MOST_OUTPUTS else 3 + sum(word < classes for word in _LOGITS)


def shown_outputs(y: jax.Array, key: jax.Array) -> jax.Array:
    """What is recorded of outputs (..., C): all, or the mean, two projections and single ones
    where there are many. The weights of a projection are U(0, 2), divided by C."""
    words = y.shape[-1]
    if words <= _MOST_OUTPUTS:
        return y
    weights = jax.random.uniform(named_key(key, "projections"), (words, 2), maxval=2.0)
    single = jnp.array([word for word in _LOGITS if word < words])
    return jnp.concatenate([y.mean(-1, keepdims=True), y @ weights / words, y[..., single]], -1)


def _input_count(network: Network, trial: Trial) -> int:
    return len(driven_net.inputs_of(network, trial, jax.random.key(0))[1])


def orbits(network: Network, trial: Trial) -> tuple[SharedColumns, Measure] | None:
    """Builds the probe `orbits`: outputs over time, after a burn-in of fixed length.

    With `orbit_feedback` the constant input is that of the first step alone; each later input is
    what the net has answered: the token of its highest logit, or its outputs themselves.

    Raises:
      PartError: feedback where outputs are no inputs.
    """
    if not driven_net.has_orbits(network):
        return None
    config: Any = trial.config
    first, length = int(config["orbit_burn_in"]), int(config["orbit_steps"])
    feedback, sizes = bool(config["orbit_feedback"]), network.sizes
    if feedback and sizes.features != sizes.classes:
        raise PartError(
            f"orbit_feedback feeds outputs back as inputs, and task {trial.task.name} has "
            f"{sizes.classes} outputs and {sizes.features} inputs; leave it out"
        )
    begin = driven_net.orbit_columns(trial, _input_count(network, trial))
    numbers = np.arange(output_count(sizes.classes), dtype=np.int32)
    if feedback and sizes.tokens:
        numbers = np.concatenate([np.array([TOKEN], np.int32), numbers])
    count, kept = len(numbers), length - first
    shared = {name: np.repeat(column, kept * count) for name, column in begin.items()}
    times = np.repeat(np.arange(first, length, dtype=np.int32), count)
    shared["t"] = np.tile(times, len(begin["input"]))
    shared["output"] = np.tile(numbers, kept * len(begin["input"]))

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        key = driven_net.lane_key(values)
        module = driven_net.module_of(network, state["params"], state["rest"])
        ready = driven_net.ready_layers(module)
        x, value = driven_net.inputs_of(network, trial, key)
        constant = module.embed(x[begin["input"]])

        def answered(y: jax.Array) -> jax.Array:
            return jnp.argmax(y, -1) if sizes.tokens else y

        def burnt_in(h: jax.Array, _: None) -> tuple[jax.Array, None]:
            return driven_net.advance(module, ready, h, constant), None

        def recorded(h: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            h = driven_net.advance(module, ready, h, constant)
            return h, shown_outputs(driven_net.read(module, ready, h), key)

        def fed_back(carry: Any, _: None) -> tuple[Any, jax.Array]:
            h, drive = carry
            h = driven_net.advance(module, ready, h, drive)
            y = driven_net.read(module, ready, h)
            answer, shown = answered(y), shown_outputs(y, key)
            if sizes.tokens:
                shown = jnp.concatenate([answer[..., None].astype(y.dtype), shown], -1)
            return (h, module.embed(answer)), shown

        h = driven_net.first_states(key, begin, driven_net.state_size(module))
        if feedback:
            carry, _ = lax.scan(fed_back, (h, constant), None, length=first)
            _, y = lax.scan(fed_back, carry, None, length=kept)
        else:
            h, _ = lax.scan(burnt_in, h, None, length=first)
            _, y = lax.scan(recorded, h, None, length=kept)  # (t, M, outputs)
        return {
            "input_value": jnp.repeat(value[begin["input"]], kept * count).astype(jnp.float32),
            "y": jnp.swapaxes(y, 0, 1).reshape(-1),
        }

    return shared, measure


def attractors_probe(network: Network, trial: Trial) -> tuple[SharedColumns, OnHost] | None:
    """Builds the probe `attractors`: what each orbit ends in, in float64."""
    if not driven_net.has_orbits(network):
        return None
    begin = driven_net.orbit_columns(trial, _input_count(network, trial))
    chunk = driven_net.chunk_of(network)
    outputs = jax.jit(
        lambda params, rest, window: _read(driven_net.module_of(network, params, rest), window)
    )
    config: Any = trial.config
    most = int(config["attractor_steps"])

    def measure(state: State, values: Mapping[str, Any], data: Any) -> dict[str, np.ndarray]:
        key = driven_net.lane_key(values)
        x, value = driven_net.inputs_of(network, trial, key)
        size = driven_net.state_size(driven_net.module_of(network, state["params"], state["rest"]))
        h = np.asarray(driven_net.first_states(key, begin, size), np.float64)
        tangent = np.asarray(jax.random.normal(named_key(key, "tangents"), h.shape), np.float64)
        x = driven_net.wide(np.asarray(x)[begin["input"]])
        with jax.enable_x64(True):
            params, rest = driven_net.wide((state["params"], state["rest"]))
            whole = driven_net.bound_chunk(chunk, params, rest, x)
            ends = attractors.follow(whole, h, tangent, most)
            y = np.asarray(outputs(params, rest, ends.window))
        group = begin["input"] * 1000 + np.unique(begin["std"], return_inverse=True)[1]
        return {
            "input_value": np.asarray(value)[begin["input"]].astype(np.float64),
            "kind": ends.kind,
            "period": ends.period,
            "amplitude": attractors.swing(y),
            "omega": attractors.dominant_frequency(y),
            "lyapunov": ends.lyapunov,
            "attractor": attractors.told_apart(ends, group),
            "residual": ends.residual,
            "steps": ends.steps,
        }

    return begin, OnHost(measure)


def _read(module: Any, window: jax.Array) -> jax.Array:
    """Outputs of a window of states, at most `_MOST_OUTPUTS` of them."""
    return driven_net.read(module, driven_net.ready_layers(module), window)[..., :_MOST_OUTPUTS]


_PAIR_STEPS = 200


def contraction(network: Network, trial: Trial) -> tuple[SharedColumns, Measure] | None:
    """Builds the probe `contraction`: how fast two states under one input meet, and bounds."""
    if not driven_net.has_orbits(network):
        return None
    inputs = _input_count(network, trial)

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        key = named_key(driven_net.lane_key(values), "pairs")
        module = driven_net.module_of(network, state["params"], state["rest"])
        ready = driven_net.ready_layers(module)
        x, value = driven_net.inputs_of(network, trial, driven_net.lane_key(values))
        drive = module.embed(x)
        pair = jax.random.normal(key, (2, inputs, driven_net.state_size(module)))

        def step(pair: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            pair = jax.vmap(lambda h: driven_net.advance(module, ready, h, drive))(pair)
            return pair, jnp.linalg.norm(pair[0] - pair[1], axis=-1)

        _, apart = lax.scan(step, pair, None, length=_PAIR_STEPS)
        log = jnp.log(jnp.maximum(apart, 1e-6))  # float32 tells states of size 1 no further apart
        steps = jnp.maximum(jnp.sum(apart > 1e-6, 0), 2)
        end = jnp.take_along_axis(log, (steps - 1)[None], 0)[0]
        bound, ratio = bounds_of(module, ready)
        full = jnp.full(inputs, 1.0)
        return {
            "input_value": value.astype(jnp.float32),
            "decay_rate": (end - log[0]) / (steps - 1),
            "bound": bound * full,
            "certificate": ratio * full,
        }

    return {"input": np.arange(inputs, dtype=np.int32)}, measure


def bounds_of(module: Any, ready: list[Any]) -> tuple[jax.Array, jax.Array]:
    """(upper bound of the step's Lipschitz constant, Miller and Hardt's ratio) of a single layer
    whose cell has `contraction_bounds`; NaN where none is known."""
    of_cell = getattr(module.cells[0], "contraction_bounds", None)
    if len(module.cells) > 1 or of_cell is None:
        return jnp.float32(jnp.nan), jnp.float32(jnp.nan)
    return of_cell(ready[0])
