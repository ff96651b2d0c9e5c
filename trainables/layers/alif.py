"""Adaptive spiking cells (ALIF) and the surrogate derivative of their spikes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.nn import initializers

from trainables.core.random_keys import named_key
from trainables.declarations import Sizes
from trainables.layers.gated import Params, Role

SURROGATES = {
    "fast_sigmoid": lambda x: 1 / jnp.square(1 + 2 * x),
    "triangle": lambda x: jnp.maximum(0.0, 1 - x),
    "gaussian": lambda x: jnp.exp(-jnp.square(x)),
    "exponential": lambda x: jnp.exp(-2 * x),
    "arctan": lambda x: 1 / (1 + jnp.square(jnp.pi * x)),
}
"""Slopes that stand for a spike's, 1 at the threshold, by x = sharpness |u|."""


@partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def spike(
    u: jax.Array, height: float = 0.5, sharpness: float = 1.0, shape: str = "fast_sigmoid"
) -> jax.Array:
    """1 where u > 0, else 0, with the derivative height f(sharpness |u|) in its place, f the
    `SURROGATES` of that name, by default 1 / (1 + 2 x)^2.

    Its derivative is an ordinary function of u, so that losses of a Jacobian can be differentiated
    again, in either mode.
    """
    return (u > 0).astype(u.dtype)


@spike.defjvp
def _spike_jvp(
    height: float, sharpness: float, shape: str, primals: Any, tangents: Any
) -> tuple[jax.Array, jax.Array]:
    (u,), (du,) = primals, tangents
    if shape == "fast_sigmoid":  # its rounding is that of stores of before there were others
        slope = height / jnp.square(1 + 2 * sharpness * jnp.abs(u))
    else:
        slope = height * SURROGATES[shape](sharpness * jnp.abs(u))
    return spike(u, height, sharpness, shape), slope * du


def decay(tau: jax.Array) -> jax.Array:
    """exp(-1 / tau), and its limit 0 where tau is not positive.

    A trained time constant may cross 0, where the bare formula jumps from 0 to infinity.
    """
    positive = tau > 1e-6
    return jnp.where(positive, jnp.exp(-1 / jnp.where(positive, tau, 1.0)), 0.0)


@dataclass(frozen=True)
class ALIF:
    """Leaky integrate-and-fire neurons with an adaptive threshold (docs/specs/herranz2023.md, 2.2).

    a' = d(tau_a) a + (1 - d(tau_a)) z;  th' = threshold + beta a'
    v' = d(tau_v) v + W x + (U with no diagonal) z - stop_gradient(th' z);  z' = spike(v' - th')
    with d(tau) = exp(-1 / tau) per step, and state (v, a), from which the last spike z is computed
    again. Every neuron has its own tau_v, tau_a, threshold and beta, all trained.

    Attributes:
      units: neurons H.
      adaptation: mean initial tau_a, in time steps.
      signed: beta from N(0, (beta / sqrt F)^2), of both signs; else positive around `beta`.
      tau_v, threshold, beta: mean initial values.
      spread: standard deviation of initial values, before the cut at two, as a share of the mean.
      surrogate, height, sharpness: of the spike's derivative.
    """

    units: int
    adaptation: float
    signed: bool = False
    tau_v: float = 0.1
    threshold: float = 0.01
    beta: float = 1.8
    spread: float = 3 / 7
    surrogate: str = "fast_sigmoid"
    height: float = 0.5
    sharpness: float = 1.0
    float32_tensors: ClassVar[tuple[str, ...]] = ("tau_v", "tau_a", "threshold", "beta")

    @property
    def state_size(self) -> int:
        return 2 * self.units

    @property
    def output_size(self) -> int:
        return self.units

    def init(self, key: jax.Array, features: int) -> dict[str, jax.Array]:
        glorot, shape = initializers.glorot_uniform(), (self.units,)

        def around(name: str, mean: float) -> jax.Array:
            """Normal around `mean` with `spread` of it as deviation, cut at two deviations."""
            drawn = jax.random.truncated_normal(named_key(key, name), -2.0, 2.0, shape)
            return mean * (1 + self.spread * drawn)

        normal = jax.random.normal(named_key(key, "beta"), shape)
        return {
            "w_ih": glorot(named_key(key, "w_ih"), (self.units, features)),
            "w_hh": glorot(named_key(key, "w_hh"), (self.units, self.units)),
            "tau_v": around("tau_v", self.tau_v),
            "tau_a": around("tau_a", self.adaptation),
            "threshold": around("threshold", self.threshold),
            "beta": self.beta / math.sqrt(features) * normal
            if self.signed
            else around("beta", self.beta),
        }

    def roles(self) -> dict[str, Role]:
        of_time: dict[str, Role] = {"w_hh": "recurrent", "tau_v": "recurrent", "tau_a": "recurrent"}
        return {"w_ih": "input", "threshold": "input", "beta": "input", **of_time}

    def drive(self, params: Params, x: jax.Array) -> jax.Array:
        return x @ params["w_ih"].T

    def advance(self, params: Params, state: jax.Array, drive: jax.Array) -> jax.Array:
        v, a = jnp.split(state, 2, -1)
        z = self.output(params, state)
        kept = decay(params["tau_a"])
        a = kept * a + (1 - kept) * z
        reset = jax.lax.stop_gradient((params["threshold"] + params["beta"] * a) * z)
        w_hh = params["w_hh"] * (1 - jnp.eye(self.units))
        v = decay(params["tau_v"]) * v + drive + z @ w_hh.T - reset
        return jnp.concatenate([v, a], -1)

    def output(self, params: Params, state: jax.Array) -> jax.Array:
        v, a = jnp.split(state, 2, -1)
        above = v - (params["threshold"] + params["beta"] * a)
        return spike(above, self.height, self.sharpness, self.surrogate)


def alif(units: int, config: Mapping[str, Any], sizes: Sizes) -> ALIF:
    """The cell of models `malsnn` and `lsnn`: adaptation lasts half a sequence at first, unless
    `neuron_tau_a` says otherwise."""
    return _neurons(units, config, sizes, signed=False)


def signed_alif(units: int, config: Mapping[str, Any], sizes: Sizes) -> ALIF:
    """The cell of model `malsnnb`, whose adaptation is of either sign."""
    return _neurons(units, config, sizes, signed=True)


def _neurons(units: int, config: Mapping[str, Any], sizes: Sizes, signed: bool) -> ALIF:
    lasts = config["neuron_tau_a"]
    return ALIF(
        units,
        adaptation=sizes.seq_len // 2 if lasts is None else lasts,
        signed=signed,
        tau_v=config["neuron_tau_v"],
        threshold=config["neuron_threshold"],
        beta=config["neuron_beta"],
        spread=config["neuron_spread"],
        surrogate=config["surrogate"],
        height=config["surrogate_height"],
        sharpness=config["surrogate_sharpness"],
    )
