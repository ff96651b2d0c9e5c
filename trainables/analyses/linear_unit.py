"""Signals in one linear unit, simulated beside their closed forms; and a unit that learns another.

See docs/specs/zucchet2024.md, 5.1 to 5.3. Closed forms are float64, found when an engine is built.
Shapes are suffixed: B samples, E eigenvalues.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from trainables.analyses import closed_forms
from trainables.core.engine import Analysis, SharedColumns, State
from trainables.core.hparams import constants
from trainables.core.random_keys import named_key, trial_key
from trainables.declarations import Trial

_MEMORIES = np.concatenate([[1.0, 2.0], np.geomspace(4, 10_000, 25), [10.0, 100.0]])
"""1 / (1 - lambda) of the eigenvalues, in steps; .5, .9, .99 and .9999 are among them."""
_CORRELATIONS = (0.0, 0.9, 0.99, 0.999, 1.0)
_SETTLED = 20
"""A simulation counts where it lasts so many times the unit's memory."""


class ScalarSignals(Analysis):
    """Stage `scalar_signals`: E[h^2] and E[(dh/dlambda)^2] of h_t = lambda h_{t-1} + x_t.

    Inputs are N(0, 1) with correlation rho from step to step. Measured at the last step over
    samples, NaN for units that have not settled by then.
    """

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        self.steps_simulated = int(config["signal_steps"])
        self.samples = int(config["signal_samples"])
        self.lam = np.sort(1 - 1 / _MEMORIES)
        lam, rho = np.meshgrid(self.lam, _CORRELATIONS)
        lam, rho = lam.ravel(), rho.ravel()
        gamma = 1 - lam**2
        with np.errstate(divide="ignore", invalid="ignore"):  # ln 0 at lambda 0
            normalised = closed_forms.normalised_sensitivity(lam, rho)
        self.shared_columns: Mapping[str, SharedColumns] = {
            "scalar_signals": {
                "lambda": lam,
                "rho": rho,
                "energy": closed_forms.state_energy(lam, rho),
                "sensitivity": closed_forms.sensitivity(lam, rho),
                "normalised_energy": gamma * closed_forms.state_energy(lam, rho),
                "normalised_sensitivity": np.where(lam > 0, normalised, 0.0),
            }
        }

    def epoch(
        self, state: State, values: Mapping[str, jax.Array], epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        key, lam = trial_key(values["seed"]), jnp.asarray(self.lam, jnp.float32)

        def simulated(rho: float) -> tuple[jax.Array, jax.Array]:
            own = named_key(key, "inputs", round(1000 * rho))

            def step(carry: Any, t: jax.Array) -> tuple[Any, None]:
                x_B, h_BE, slope_BE = carry
                noise = jax.random.normal(jax.random.fold_in(own, t), x_B.shape)
                x_B = rho * x_B + np.sqrt(1 - rho**2) * noise
                return (x_B, lam * h_BE + x_B[:, None], lam * slope_BE + h_BE), None

            first = jax.random.normal(named_key(own, "first"), (self.samples,))
            zeros = jnp.zeros((self.samples, len(self.lam)))
            start = (first, zeros, zeros)
            (_, h, slope), _ = lax.scan(step, start, jnp.arange(self.steps_simulated))
            return jnp.mean(h**2, 0), jnp.mean(slope**2, 0)

        found = [simulated(rho) for rho in _CORRELATIONS]
        settled = np.tile(_SETTLED / (1 - self.lam) <= self.steps_simulated, len(_CORRELATIONS))
        columns = {
            name: jnp.where(settled, jnp.concatenate([pair[i] for pair in found]), jnp.nan)
            for i, name in enumerate(("measured_energy", "measured_sensitivity"))
        }
        return state, {"probes": {"scalar_signals": columns}}


# ---- a unit that learns another ----------------------------------------------------------------


def modulus_and_phase(
    w: Mapping[str, jax.Array], form: str
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(nu, 1 - nu^2, theta) of parameters: nu = tanh w_nu; theta by `form`: polar theta = w_theta,
    exp theta = exp w_theta, opt theta = w_theta (1 - nu^2) / (nu sqrt(1 + nu^2))."""
    nu, gap = jnp.tanh(w["nu"]), 1 / jnp.cosh(w["nu"]) ** 2
    theta = w["theta"]
    if form == "exp":
        theta = jnp.exp(theta)
    elif form == "opt":
        theta = theta * gap / (nu * jnp.sqrt(1 + nu**2))
    return nu, gap, theta


def stored_phase(nu: float, theta: float, form: str) -> float:
    """w_theta of a modulus and phase: the inverse of `modulus_and_phase`."""
    if form == "exp":
        return float(np.log(theta))
    return float(theta * nu * np.sqrt(1 + nu**2) / (1 - nu**2)) if form == "opt" else theta


def unit_loss(
    nu: jax.Array, gap: jax.Array, theta: jax.Array, target: tuple[float, float]
) -> jax.Array:
    """`closed_forms.student_loss` for white inputs, without the differences that cost float32 its
    digits.

    With p = |l|^2, q = |s|^2 and D = |l - s|^2, 1 - p and 1 - q being known as they are, it is
    D (1 - p q) / (2 (1 - p)(1 - q)((1 - p)(1 - q) + D)), as |1 - l conj s|^2 = (1-p)(1-q) + D.
    """
    own, turn = target
    other = 1 - own**2
    apart = (nu - own) ** 2 + 4 * nu * own * jnp.sin((theta - turn) / 2) ** 2
    both = gap * other
    return apart * (gap + other - both) / (2 * both * (both + apart))


class Landscape(Analysis):
    """Stage `landscape`: the loss along training of one complex unit that learns another."""

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        self.form, self.rule = str(config["phase_form"]), str(config["landscape_rule"])
        self.length = int(config["landscape_steps"])
        late = np.unique(np.geomspace(1, self.length, 400).astype(np.int32))
        self.shown = np.concatenate([[0], late]).astype(np.int32)
        self.shared_columns: Mapping[str, SharedColumns] = {"landscape": {"step": self.shown}}

    def epoch(
        self, state: State, values: Mapping[str, jax.Array], epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        nu, turn, start = 0.99, np.pi / 100, np.pi / 4
        w = {"nu": jnp.arctanh(jnp.float32(nu)),
             "theta": jnp.float32(stored_phase(nu, start, self.form))}  # fmt: skip
        lr = values["landscape_lr"]
        rule = optax.adam(lr) if self.rule == "adam" else optax.sign_sgd(lr)

        def loss(w: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            nu_w, gap, theta = modulus_and_phase(w, self.form)
            return unit_loss(nu_w, gap, theta, (nu, turn)), (nu_w, theta)

        def step(carry: Any, _: None) -> tuple[Any, jax.Array]:
            w, moments = carry
            (value, (modulus, phase)), slope = jax.value_and_grad(loss, has_aux=True)(w)
            update, moments = rule.update(slope, moments, w)
            return (optax.apply_updates(w, update), moments), jnp.stack([value, modulus, phase])

        _, rows = lax.scan(step, (w, rule.init(w)), None, length=self.length + 1)
        below = rows[:, 0] < 1e-2
        first = jnp.where(jnp.any(below), jnp.argmax(below), -1)
        columns = {n: rows[self.shown, i] for i, n in enumerate(("loss", "modulus", "phase"))}
        columns["first_below"] = jnp.full(len(self.shown), first, jnp.int32)
        return state, {"probes": {"landscape": columns}}
