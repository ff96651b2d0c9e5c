"""Probes of linear recurrences: their eigenvalues, and the size of their states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trainables.core.engine import Measure, SharedColumns, State
from trainables.core.hparams import lane_values
from trainables.declarations import Trial
from trainables.tasks.base import probe_batch
from trainables.training.network import Network


def _net(network: Network, state: State) -> Any:
    net: Any = nnx.merge(network.graph, state["params"], state["rest"], copy=True)
    net.eval()
    return net


def spectrum(network: Network, trial: Trial) -> tuple[SharedColumns, Measure]:
    """Builds the probe `spectrum`: a row a layer."""

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        net = _net(network, state)
        modulus = jnp.hypot(*net.eigenvalues())
        return {
            "radius": jnp.max(modulus, 1),
            "mean_modulus": jnp.mean(modulus, 1),
            "outside": jnp.sum(modulus > 1, 1),
            "state_norm": net.state_norms(probe_batch(network.task, values, data)[0]),
        }

    depth = int(trial.config["depth"] or 1)
    return {"layer": np.arange(depth, dtype=np.int32)}, measure


def eigenvalues(network: Network, trial: Trial) -> tuple[SharedColumns, Measure]:
    """Builds the probe `eigenvalues`: a row for each unit of each layer."""
    depth, units = int(trial.config["depth"] or 1), int(trial.config["width"] or 1)
    shared = {
        "layer": np.repeat(np.arange(depth, dtype=np.int32), units),
        "unit": np.tile(np.arange(units, dtype=np.int32), depth),
    }

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        net = _net(network, state)
        pairs = (*net.eigenvalues(), *net.first[...])
        names = ("re", "im", "first_re", "first_im")
        return {name: part.reshape(-1) for name, part in zip(names, pairs, strict=True)}

    return shared, measure


def moduli(network: Network, trial: Trial) -> tuple[SharedColumns, Measure]:
    """Builds the probe `moduli`: |eigenvalue| of each unit at the current weights."""

    def find(params: Any, rest: Any) -> jax.Array:
        module: Any = nnx.merge(network.graph, params, rest)
        return module.moduli()

    state = jax.eval_shape(lambda values: network.init(trial, values), dict(lane_values(trial)))
    count = jax.eval_shape(find, state["params"], state["rest"]).shape[0]

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        return {"modulus": find(state["params"], state["rest"])}

    return {"unit": np.arange(count, dtype=np.int32)}, measure
