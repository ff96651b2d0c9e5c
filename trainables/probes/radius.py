"""The probe `radius` of recurrent networks: one-step Jacobians at the current weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from trainables.core.engine import Labels, Measure, State
from trainables.core.random_keys import named_key, trial_key
from trainables.declarations import Trial
from trainables.lsc.rnn_jacobians import columns, transitions, walked
from trainables.models.rnn import cells_of
from trainables.tasks.base import probe_batch
from trainables.training.network import Network

_SAMPLES = 4
"""Of the probe batch, the first so many; the paper's mean over many moves by some .03."""
_LARGE = 600
"""States of more numbers than these are estimated by power iteration."""


def radius(network: Network, trial: Trial) -> tuple[Labels, Measure]:
    """Spectral radii of all transitions at the last time step of the probe batch, from states of 0.

    Returns:
      Labels kind and layer, and the function that gives radius and radius_std.
    """
    cells = cells_of(network.constants, network.sizes)
    found = transitions(len(cells), network.sizes.classes)
    samples = min(_SAMPLES, network.sizes.batch_size)
    estimate = "power" if max(cell.state_size for cell in cells) > _LARGE else "exact"

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        x = probe_batch(network.task, values, data)[0][:samples]
        key = named_key(trial_key(values["seed"]), "radius")
        net: Any = nnx.merge(network.graph, state["params"], state["rest"], copy=True)
        net.eval()
        (norms,) = walked(net, x, found, key, points=1, estimate=estimate)
        return {"radius": jnp.mean(norms, axis=1), "radius_std": jnp.std(norms, axis=1)}

    return columns(found), measure
