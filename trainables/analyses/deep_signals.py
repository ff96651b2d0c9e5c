"""How signals and gradients of deep recurrent networks grow with memory, and a GRU against theory.

See docs/specs/zucchet2024.md, 5.8 and 5.9. Inputs are a file of the user's, or a surrogate of the
published word embeddings (`input_signals`).
Shapes are suffixed: T time, B batch, H units, L layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from trainables.analyses import closed_forms
from trainables.analyses.input_signals import Inputs
from trainables.core.engine import Analysis, SharedColumns, State
from trainables.core.hparams import constants
from trainables.core.random_keys import named_key, trial_key
from trainables.declarations import Sizes, Trial
from trainables.layers.chrono_gru import ChronoGRU
from trainables.models.residual import deep_recurrent
from trainables.tasks.sequence_file import Components

EIGENVALUE_TENSORS = ("nu", "theta", "lambda_re", "lambda_im")


class DeepSignals(Analysis):
    """Stage `deep_signals`: mean square output of each block, and mean squared gradients of its
    eigenvalues and of its other tensors, at initialisation.

    The loss is 0.5 mean (y_t - x_{t+1})^2, the next input; under `compat` it pairs y_t with
    x_{t-1}, as published.
    """

    def __init__(
        self, trial: Trial, task: Mapping[str, np.ndarray] | None, values: Mapping[str, Any]
    ):
        config: Any = constants(trial)
        self.width, self.length = int(config["signal_width"]), int(config["signal_steps"])
        self.depth, self.batch = int(config["signal_depth"]), int(config["signal_batch"])
        self.model = {
            "depth": self.depth, "width": self.width, "deep_cell": config["deep_cell"],
            "norm": config["norm"], "scan_mode": "auto",
        }  # fmt: skip
        self.lag = -1 if config["compat_target"] else 1
        self.inputs = Inputs(task, self.length, self.batch, self.width)
        self.shared_columns: Mapping[str, SharedColumns] = {
            "deep_signals": {"layer": np.arange(self.depth, dtype=np.int32)}
        }

    def epoch(
        self, state: State, values: Mapping[str, jax.Array], epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        key, features = trial_key(values["seed"]), self.inputs.features
        sizes = Sizes(self.length, features, features, 0, 0, 0, self.batch)
        scaled = {name: values[name] for name in ("memory", "scale_x", "scale_h")}
        net = deep_recurrent(self.model | scaled, sizes, nnx.Rngs(named_key(key, "init")))
        graph, params = nnx.split(net)
        x_BTF = jnp.swapaxes(self.inputs(named_key(key, "inputs")), 0, 1)

        def loss(params: Any) -> tuple[jax.Array, jax.Array]:
            net = nnx.merge(graph, params)
            y, levels = net.watched(x_BTF, lambda w, flow: flow.out)
            target = jnp.roll(x_BTF, -self.lag, 1)
            kept = slice(None, -1) if self.lag > 0 else slice(1, None)
            error = (y - target)[:, kept]
            return 0.5 * jnp.mean(error**2), jnp.mean(levels**2, (1, 2, 3))

        slope, energy_L = jax.grad(loss, has_aux=True)(params)
        slopes = nnx.merge(graph, slope).blocks.values()

        def mean_square(names: list[str]) -> jax.Array:
            leaves = [slopes[n].reshape(self.depth, -1) for n in names]
            if not leaves:
                return jnp.full(self.depth, jnp.nan)
            return jnp.mean(jnp.concatenate(leaves, 1) ** 2, 1)

        # By name: sums in another order differ in their last bit.
        others = sorted(slopes.keys() - EIGENVALUE_TENSORS)
        columns = {
            "energy": energy_L,
            "modulus_gradient": mean_square([n for n in ("nu", "lambda_re") if n in slopes]),
            "phase_gradient": mean_square([n for n in ("theta", "lambda_im") if n in slopes]),
            "eigenvalue_gradient": mean_square([n for n in EIGENVALUE_TENSORS if n in slopes]),
            "other_gradient": mean_square(others),
        }
        return state, {"probes": {"deep_signals": columns}}


class GatedSignals(Analysis):
    """Stage `gated_signals`: a GRU at initialisation against a leaky unit of eigenvalue 1 - 1/T.

    Two probes: `gated_jacobian`, mean entries on and off the diagonal of d h_t / d h_0, and
    `gated_signals`, E[h^2] and E[(dh/db_z)^2] of the simple layer beside their closed forms.
    """

    _MEMORIES = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)

    def __init__(
        self, trial: Trial, task: Mapping[str, np.ndarray] | None, values: Mapping[str, Any]
    ):
        config: Any = constants(trial)
        self.width, self.length = int(config["signal_width"]), int(config["signal_steps"])
        self.batch, self.lags = int(config["signal_batch"]), int(config["jacobian_steps"])
        self.inputs = Inputs(task, self.length, self.batch, self.width)
        lam = 1 - 1 / np.array(self._MEMORIES)
        energy, sensitivity = leaky_theory(lam, self.inputs.components)
        self.shared_columns: Mapping[str, SharedColumns] = {
            "gated_jacobian": {"t": np.arange(self.lags + 1, dtype=np.int32)},
            "gated_signals": {
                "memory": np.array(self._MEMORIES),
                "energy": energy,
                "sensitivity": sensitivity,
            },
        }

    def epoch(
        self, state: State, values: Mapping[str, jax.Array], epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        key = trial_key(values["seed"])
        x_TBF = self.inputs(named_key(key, "inputs"))
        probes = {"gated_jacobian": self._jacobian(key, values, x_TBF),
                  "gated_signals": self._simple(x_TBF)}  # fmt: skip
        return state, {"probes": probes}

    def _jacobian(
        self, key: jax.Array, values: Mapping[str, jax.Array], x_TBF: jax.Array
    ) -> dict[str, jax.Array]:
        gru = ChronoGRU(self.width)
        memory = values["memory_min"], values["memory_max"]
        scales = values["scale_x"], values["scale_h"]
        w = gru.init(named_key(key, "init"), self.inputs.features, memory, *scales)
        drive_TBGH = gru.drive(w, x_TBF)[: self.lags]
        state_BH = jnp.zeros((self.batch, self.width))

        def step(carry: Any, drive_BGH: jax.Array) -> tuple[Any, Any]:
            h_BH, product_BHH = carry

            def advance(h: jax.Array, drive: jax.Array) -> jax.Array:
                return gru.advance(w, h, drive)

            jacobian = jax.vmap(jax.jacfwd(advance))(h_BH, drive_BGH)
            product = jacobian @ product_BHH
            return (gru.advance(w, h_BH, drive_BGH), product), _on_and_off(product)

        eye = jnp.broadcast_to(jnp.eye(self.width), (self.batch, self.width, self.width))
        _, rows = lax.scan(step, (state_BH, eye), drive_TBGH)
        first = _on_and_off(eye)
        return {
            name: jnp.concatenate([start[None], column])
            for name, start, column in zip(
                ("diagonal", "off_diagonal", "off_largest"), first, rows, strict=True
            )
        }

    def _simple(self, x_TBF: jax.Array) -> dict[str, jax.Array]:
        """Finite-horizon values at the last step of leaky units, by simulation."""
        lam = 1 - 1 / jnp.array(self._MEMORIES)

        def step(carry: Any, x_BF: jax.Array) -> tuple[Any, None]:
            h, slope = carry
            x = x_BF[..., None]
            return (lam * h + (1 - lam) * x, lam * slope + h - x), None

        zeros = jnp.zeros((*x_TBF.shape[1:], len(self._MEMORIES)))
        (h, slope), _ = lax.scan(step, (zeros, zeros), x_TBF)
        turn = (lam * (1 - lam)) ** 2
        return {"measured_energy": jnp.mean(h**2, (0, 1)),
                "measured_sensitivity": turn * jnp.mean(slope**2, (0, 1))}  # fmt: skip


def leaky_theory(lam: np.ndarray, components: Components) -> tuple[np.ndarray, np.ndarray]:
    """(E[h^2], E[(dh/db_z)^2]) of leaky units h_t = l h_{t-1} + (1 - l) x_t, l = sig(b_z)."""
    step = 1e-4 * (1 - lam)

    def form(i: int, j: int) -> np.ndarray:
        return closed_forms.gated_correlation(lam + i * step, lam + j * step, components)

    signs = [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]
    mixed = sum(sign * form(i, j) for i, j, sign in signs) / (4 * step**2)  # d_a d_b at a = b
    return form(0, 0), np.asarray(mixed) * (lam * (1 - lam)) ** 2


class GatedNetwork(Analysis):
    """Stage `gated_network`: a whole GRU, whose gates read inputs (scale_x) and states (scale_h),
    beside the theory of gates that are constant.

    The candidate state is W x, so that with both scales 0 the layer is exactly the theory's, and
    what is measured beyond that is the gates' doing. (dh_i/db_z,i)^2 counts every path, those
    through other units' states included.
    """

    def __init__(
        self, trial: Trial, task: Mapping[str, np.ndarray] | None, values: Mapping[str, Any]
    ):
        config: Any = constants(trial)
        self.width, self.length = int(config["signal_width"]), int(config["signal_steps"])
        self.inputs = Inputs(task, self.length, int(config["signal_batch"]), self.width)
        self.shared_columns: Mapping[str, SharedColumns] = {"gated_network": {}}

    def epoch(
        self, state: State, values: Mapping[str, jax.Array], epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        key, memory = trial_key(values["seed"]), values["gate_memory"]
        gru, scales = ChronoGRU(self.width, simple=True), (values["scale_x"], values["scale_h"])
        # A gate of bias log(T - 1) keeps (T - 1) / T.
        kept = memory - 1, memory - 1
        w = gru.init(named_key(key, "init"), self.inputs.features, kept, *scales)
        x_TBF = self.inputs(named_key(key, "inputs"))
        start = jnp.zeros((x_TBF.shape[1], self.width))

        def last(bias_H: jax.Array) -> jax.Array:
            own = {**w, "b_ih": w["b_ih"].at[1].set(bias_H)}
            drive_TBGH = gru.drive(own, x_TBF)

            def step(h: jax.Array, drive: jax.Array) -> tuple[jax.Array, None]:
                return gru.advance(own, h, drive), None

            return lax.scan(step, start, drive_TBGH)[0]

        bias_H = w["b_ih"][1]
        h_BH, slope_BHH = last(bias_H), jax.jacfwd(last)(bias_H)
        own = jnp.diagonal(slope_BHH, axis1=1, axis2=2)
        lam = 1 - 1 / memory
        energy, sensitivity = _theory(lam, self.inputs.components)
        row = {
            "memory": memory,
            "energy": energy,
            "sensitivity": sensitivity,
            "measured_energy": jnp.mean(h_BH**2),
            "measured_sensitivity": jnp.mean(own**2),
        }
        return state, {"probes": {"gated_network": {n: v[None] for n, v in row.items()}}}


def _theory(lam: jax.Array, components: Components) -> tuple[jax.Array, jax.Array]:
    """`leaky_theory` of a traced eigenvalue, by derivatives."""

    def form(a: jax.Array, b: jax.Array) -> jax.Array:
        return closed_forms.gated_correlation(a, b, components)

    mixed = jax.jacfwd(jax.grad(form, 0), 1)(lam, lam)
    return form(lam, lam), mixed * (lam * (1 - lam)) ** 2


def _on_and_off(matrix_BHH: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean entry on the diagonal, root mean square entry off it, and the largest one there."""
    size = matrix_BHH.shape[-1]
    off = matrix_BHH * (1 - jnp.eye(size))
    on = jnp.mean(jnp.diagonal(matrix_BHH, axis1=1, axis2=2))
    count = max(size * (size - 1), 1)
    return on, jnp.sqrt(jnp.mean(jnp.sum(off**2, (1, 2))) / count), jnp.max(jnp.abs(off))
