"""How far the radii of one-step Jacobians, met along a path through time, are from independent.

docs/specs/herranz2023.md, 1.1 and 6: the bound on a gradient's growth multiplies mean radii, as
if they were uncorrelated. Shapes are suffixed: T time steps, B samples, H units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.nn import initializers
from jax.scipy.special import betainc

from trainables.core.engine import Analysis, SharedColumns, State
from trainables.core.hparams import constants
from trainables.core.random_keys import named_key, trial_key
from trainables.declarations import Trial
from trainables.layers.alif import ALIF
from trainables.layers.gated import GRU, LSTM, Cell
from trainables.lsc.radius_loss import spectral_radius
from trainables.lsc.rnn_jacobians import transitions, walked
from trainables.models.rnn import RecurrentNet
from trainables.tasks.base import TaskRuntime, probe_batch
from trainables.training.network import Hparams, Network


def interactions(y_BT: jax.Array, most: int) -> jax.Array:
    """|mean over samples of e_k(y)| for k = 2..`most`, in the type of y.

    e_k is the sum over t_1 < .. < t_k of y_{t_1} .. y_{t_k}, the elementary symmetric polynomial:
    found in T k steps, as the coefficients of (1 + y_1 z) .. (1 + y_T z), where the published
    program enumerates the C(T, k) choices.
    """

    def factor(e_BK: jax.Array, y_B: jax.Array) -> tuple[jax.Array, None]:
        return e_BK.at[:, 1:].add(y_B[:, None] * e_BK[:, :-1]), None

    start = jnp.zeros((len(y_BT), most + 1), y_BT.dtype).at[:, 0].set(1)
    return jnp.abs(jnp.mean(lax.scan(factor, start, y_BT.T)[0], axis=0))[2:]


def pixels(x: jax.Array, side: int) -> jax.Array:
    """Images of any layout with one number a pixel and colour, as grey levels in 0..1 over time.

    Colours are averaged, levels stretched to 0..1 over all images, which are then resized to
    (side, side) by linear interpolation.

    Args:
      x: (B, T, F); T F is a square number of pixels, or three times one, colour by colour.

    Returns:
      (side^2, B).

    Raises:
      ValueError: x holds no square images.
    """
    count = math.prod(x.shape[1:])
    colours = 1 if math.isqrt(count) ** 2 == count else 3
    own = math.isqrt(count // colours)
    if colours * own**2 != count:
        raise ValueError(f"{count} numbers a sample are no square image")
    images = x.reshape(len(x), colours, own, own).mean(1)
    low, high = images.min(), images.max()
    images = (images - low) / jnp.where(high > low, high - low, 1)
    resized = jax.image.resize(images, (len(x), side, side), "linear", antialias=False)
    return resized.reshape(len(x), -1).T


def input_radii(cell: Cell, params: Any, x_TBF: jax.Array) -> jax.Array:
    """Radii (T - 1, B) of d y_{t+1} / d x_t, y a cell's output, F as wide as that output."""

    def after(x: jax.Array, state: jax.Array, following: jax.Array) -> jax.Array:
        state = cell.advance(params, state[None], cell.drive(params, x[None]))
        state = cell.advance(params, state, cell.drive(params, following[None]))
        return cell.output(params, state)[0]

    def step(state: jax.Array, here: Any) -> tuple[jax.Array, jax.Array]:
        jacobians = jax.vmap(jax.jacrev(after))(here[0], state, here[1])
        return cell.advance(params, state, cell.drive(params, here[0])), spectral_radius(jacobians)

    start = jnp.zeros((x_TBF.shape[1], cell.state_size))
    return lax.scan(step, start, (x_TBF[:-1], x_TBF[1:]))[1]


class Covariance(Analysis):
    """Stage `covariance`: one recurrent layer at initialisation, reading images pixel by pixel.

    A pixel p becomes the softmax of p w, w a fixed Glorot-uniform vector; at each of all but the
    last of T steps the radius of d y_{t+1} / d x_t is centred over the samples.
    """

    def __init__(self, trial: Trial, task: TaskRuntime, values: Mapping[str, Any]):
        config: Any = constants(trial)
        self.task, units = task, int(config["cov_units"])
        self.side, self.samples = int(config["cov_side"]), int(config["cov_batch"])
        self.cell: Cell = {
            "lstm": LSTM(units, activation="relu"),
            "gru": GRU(units, activation="relu"),
            "alif": ALIF(units, adaptation=self.side**2 / 2),
        }[str(config["cov_net"])]
        self.most = int(config["cov_order"])
        orders = np.arange(2, self.most + 1, dtype=np.int32)
        self.shared_columns: Mapping[str, SharedColumns] = {"covariance": {"order": orders}}

    def radii(self, values: Mapping[str, jax.Array], data: Any) -> jax.Array:
        """Radii (T - 1, B) of the task's probe batch."""
        key = trial_key(values["seed"])
        x = pixels(probe_batch(self.task, values, data)[0][: self.samples], self.side)
        own, units = named_key(key, "init"), self.cell.output_size
        w = initializers.glorot_uniform()(named_key(own, "embedding"), (1, units))
        inputs = jax.nn.softmax(x[:, :, None] * w[0])
        return input_radii(self.cell, self.cell.init(named_key(own, "rnn", 0), units), inputs)

    def epoch(
        self, state: State, values: Mapping[str, jax.Array], epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        radii = self.radii(values, data)
        centred = radii - jnp.mean(radii, axis=1, keepdims=True)
        found = interactions(centred.T, self.most)
        return state, {"probes": {"covariance": {"interaction": found}}}


def forgetting(radii_TLB: jax.Array) -> dict[str, jax.Array]:
    """Radii at each time against those at the first, over samples.

    Returns:
      covariance (of samples), correlation (Pearson's r) and p_value (two-sided, of no correlation
      between normal samples, by Student's t with B - 2 degrees of freedom), each (T, L).
    """
    samples = radii_TLB.shape[-1]
    centred = radii_TLB - jnp.mean(radii_TLB, axis=-1, keepdims=True)
    covariance = jnp.sum(centred * centred[0], axis=-1) / (samples - 1)
    deviation = jnp.sqrt(jnp.sum(centred**2, axis=-1) / (samples - 1))
    correlation = jnp.clip(covariance / (deviation * deviation[0]), -1, 1)
    p_value = betainc((samples - 2) / 2, 0.5, 1 - correlation**2)
    return {"covariance": covariance, "correlation": correlation, "p_value": p_value}


class Decay(Network):
    """Stage `decay`: radii of d s_{t+1} / d s_t in every layer of a recurrent net, at its first
    weights or those of a pretraining, along the task's probe batch."""

    def __init__(self, trial: Trial, task: TaskRuntime, traced: Mapping[str, np.ndarray]):
        super().__init__(trial, task, traced)
        config: Any = self.constants
        self.steps, self.samples = 1, int(config["decay_batch"])
        self.burn_in, layers = int(config["decay_burn_in"]), int(config["depth"])
        after = self.sizes.seq_len - self.burn_in
        self.points = after if config["decay_steps"] is None else min(after, config["decay_steps"])
        if self.points < 1:
            raise ValueError(f"decay_burn_in leaves none of {self.sizes.seq_len} time steps")
        self.wanted = transitions(layers, self.sizes.classes, "rec")
        t = np.arange(self.burn_in, self.burn_in + self.points, dtype=np.int32)
        layer = np.arange(layers, dtype=np.int32)
        self.shared_columns: Mapping[str, SharedColumns] = {
            "decay": {"layer": np.tile(layer, len(t)), "t": np.repeat(t, layers)}
        }

    def epoch(
        self, state: State, values: Hparams, epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        """Measures once; the state stays as it is."""
        key = trial_key(values["seed"])
        last = self.burn_in + self.points
        x = probe_batch(self.task, values, data)[0][: self.samples, :last]
        net: RecurrentNet = nnx.merge(self.graph, state["params"], state["rest"], copy=True)
        net.eval()
        radii = walked(net, x, self.wanted, named_key(key, "decay"), last)
        found = forgetting(radii[self.burn_in :])
        return state, {"probes": {"decay": {n: c.reshape(-1) for n, c in found.items()}}}
