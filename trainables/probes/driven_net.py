"""A recurrent net under constant inputs as a map of its flat state. docs/specs/ribeiro2020.md, 4.

Shapes are suffixed: M orbits, S numbers of state (all layers side by side), W steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from trainables.core.random_keys import named_key, trial_key
from trainables.declarations import Trial
from trainables.declarations.probes.orbits import stds
from trainables.probes.attractors import WINDOW, Chunk
from trainables.training.network import Network

Inputs = tuple[jax.Array, jax.Array]
"""Constant inputs (I, F), or tokens (I,), and the number that stands for each in tables (I,)."""


def has_orbits(network: Any) -> bool:
    """Whether a network can be driven by inputs its task names."""
    return isinstance(network, Network) and hasattr(network.task, "constant_inputs")


def inputs_of(network: Network, trial: Trial, key: jax.Array) -> Inputs:
    """The constant inputs of a trial's task."""
    task: Any = network.task
    config: Any = trial.config
    return task.constant_inputs(int(config["orbit_inputs"]), named_key(key, "orbit inputs"))


def module_of(network: Network, params: Any, rest: Any) -> Any:
    """The net at these weights, without dropout."""
    module: Any = nnx.merge(network.graph, params, rest, copy=True)
    module.eval()
    return module


def state_size(module: Any) -> int:
    """S."""
    return sum(cell.state_size for cell in module.cells)


def advance(module: Any, ready: list[Any], state: jax.Array, x: jax.Array) -> jax.Array:
    """The next state (M, S) under inputs x (M, F); `ready` are the layers' `params`."""
    own = jnp.split(state, np.cumsum([c.state_size for c in module.cells])[:-1], -1)
    below, found = x, []
    for cell, w, layer in zip(module.cells, ready, own, strict=True):
        found.append(cell.advance(w, layer, cell.drive(w, below)))
        below = cell.output(w, found[-1])
    return jnp.concatenate(found, -1)


def read(module: Any, ready: list[Any], state: jax.Array) -> jax.Array:
    """The net's outputs (..., C) in a state (..., S)."""
    own = state[..., -module.cells[-1].state_size :]
    return module.logits(module.cells[-1].output(ready[-1], own))


def ready_layers(module: Any) -> list[Any]:
    """Every layer's tensors, ready for its steps."""
    return [module.params(layer) for layer in range(module.depth)]


def orbit_columns(trial: Trial, inputs: int) -> dict[str, np.ndarray]:
    """Columns input, start and std of the M = stds x starts x inputs orbits, inputs the fastest."""
    config: Any = trial.config
    count, spreads = int(config["orbit_starts"]), stds(config)
    order = np.arange(len(spreads) * count * inputs)
    return {
        "input": (order % inputs).astype(np.int32),
        "start": (order // inputs % count).astype(np.int32),
        "std": np.repeat(np.asarray(spreads), count * inputs),
    }


def first_states(key: jax.Array, columns: Mapping[str, np.ndarray], size: int) -> jax.Array:
    """(M, S) from N(0, std^2), from the trial's seed alone: the same at every snapshot, and scaled
    copies of each other for several std."""
    std = columns["std"]
    each = len(std) // len(np.unique(std))
    unit = jax.random.normal(named_key(key, "orbits"), (each, size), jnp.float32)
    return jnp.tile(unit, (len(std) // each, 1)) * jnp.asarray(std, jnp.float32)[:, None]


def wide(tree: Any) -> Any:
    """A tree with its float32 arrays in float64, on the host."""

    def widened(leaf: Any) -> Any:
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return np.asarray(leaf, np.float64) if floating else leaf

    return jax.tree.map(widened, tree)


def _grown(tangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    norm = jnp.linalg.norm(tangent, axis=-1)
    safe = jnp.where(norm > 0, norm, 1.0)
    return tangent / safe[:, None], jnp.log(jnp.maximum(norm, 1e-300))


def tangent_chunk(step: Callable[[jax.Array], jax.Array], state: Any, tangent: Any) -> Any:
    """`attractors.Chunk` of a map of states (M, S)."""

    def one(carry: Any, _: None) -> Any:
        state, tangent, total = carry
        state, tangent = jax.jvp(step, (state,), (tangent,))
        tangent, growth = _grown(tangent)
        return (state, tangent, total + growth), state

    start = state, tangent, jnp.zeros(len(state), state.dtype)
    (state, tangent, total), seen = lax.scan(one, start, None, length=WINDOW)
    return state, tangent, total, seen


def chunk_of(network: Network) -> Callable[..., Any]:
    """(params, rest, inputs (M, ...), states, tangents) -> as `attractors.Chunk`, compiled once."""

    def run(params: Any, rest: Any, x: jax.Array, state: jax.Array, tangent: jax.Array) -> Any:
        module = module_of(network, params, rest)
        ready, drive = ready_layers(module), module.embed(x)
        return tangent_chunk(lambda s: advance(module, ready, s, drive), state, tangent)

    return jax.jit(run)


def bound_chunk(chunk: Callable[..., Any], params: Any, rest: Any, x: Any) -> Chunk:
    """`chunk` at fixed weights and inputs."""
    return lambda state, tangent: chunk(params, rest, x, state, tangent)


def lane_key(values: Mapping[str, Any]) -> jax.Array:
    """The root key of a lane."""
    return trial_key(values["seed"])
