"""How signals and gradients of deep recurrent networks grow with memory, and a GRU against theory.

See docs/specs/zucchet2024.md, 5.8 and 5.9. Inputs are a surrogate of the published word embeddings:
independent features of autocorrelation R(0) = .375 and R(d) = .043 .997^d, as measured on them.
Shapes are suffixed: T time, B batch, H units, L layers.
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

from trainables.analyses import closed_forms
from trainables.core.engine import Analysis, SharedColumns, State
from trainables.core.hparams import constants
from trainables.core.random_keys import named_key, trial_key
from trainables.declarations import Sizes, Trial
from trainables.layers.chrono_gru import ChronoGRU
from trainables.models.residual import deep_recurrent

WORDS = ((0.043056426671195, 0.997005254149726), (0.332, 0.0))
"""(r0, rho) of the two components whose autocorrelations r0 rho^d add up to that of the words."""
EIGENVALUE_TENSORS = ("nu", "theta", "lambda_re", "lambda_im")


def surrogate(key: jax.Array, length: int, batch: int, features: int) -> jax.Array:
    """Inputs (T, B, F): a slow AR(1) and white noise, independent over samples and features."""
    (slow, rho), (white, _) = WORDS
    shape = batch, features

    def step(x: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = rho * x + math.sqrt(1 - rho**2) * jax.random.normal(jax.random.fold_in(key, t), shape)
        return x, x

    start = jax.random.normal(named_key(key, "first"), shape)
    _, x_TBF = lax.scan(step, start, jnp.arange(length))
    noise = jax.random.normal(named_key(key, "white"), (length, *shape))
    return math.sqrt(slow) * x_TBF + math.sqrt(white) * noise


class DeepSignals(Analysis):
    """Stage `deep_signals`: mean square output of each block, and mean squared gradients of its
    eigenvalues and of its other tensors, at initialisation.

    The loss is 0.5 mean (y_t - x_{t+1})^2, the next input; under `compat` it pairs y_t with
    x_{t-1}, as published.
    """

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        self.width, self.length = int(config["signal_width"]), int(config["signal_steps"])
        self.depth, self.batch = int(config["signal_depth"]), int(config["signal_batch"])
        self.model = {
            "depth": self.depth, "width": self.width, "deep_cell": config["deep_cell"],
            "norm": config["norm"], "scan_mode": "auto",
        }  # fmt: skip
        self.lag = -1 if config["compat_target"] else 1
        self.shared_columns: Mapping[str, SharedColumns] = {
            "deep_signals": {"layer": np.arange(self.depth, dtype=np.int32)}
        }

    def epoch(
        self, state: State, values: Mapping[str, jax.Array], epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        key, width = trial_key(values["seed"]), self.width
        sizes = Sizes(self.length, width, width, 0, 0, 0, self.batch)
        scaled = {name: values[name] for name in ("memory", "scale_x", "scale_h")}
        net = deep_recurrent(self.model | scaled, sizes, nnx.Rngs(named_key(key, "init")))
        graph, params = nnx.split(net)
        x_TBH = surrogate(named_key(key, "inputs"), self.length, self.batch, width)
        x_BTH = jnp.swapaxes(x_TBH, 0, 1)

        def loss(params: Any) -> tuple[jax.Array, jax.Array]:
            net = nnx.merge(graph, params)
            y, levels = net.watched(x_BTH, lambda w, flow: flow.out)
            target = jnp.roll(x_BTH, -self.lag, 1)
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

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        self.width, self.length = int(config["signal_width"]), int(config["signal_steps"])
        self.batch, self.lags = int(config["signal_batch"]), int(config["jacobian_steps"])
        lam = 1 - 1 / np.array(self._MEMORIES)
        step = 1e-4 * (1 - lam)

        def mixed(form: Any) -> np.ndarray:
            """d_a d_b form(a, b) at a = b, by differences."""
            signs = [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]
            return sum(s * form(lam + i * step, lam + j * step) for i, j, s in signs) / (
                4 * step**2
            )

        turn = (lam * (1 - lam)) ** 2
        own = closed_forms.gated_correlation(lam, lam, WORDS)
        slope = mixed(lambda a, b: closed_forms.gated_correlation(a, b, WORDS))
        self.shared_columns: Mapping[str, SharedColumns] = {
            "gated_jacobian": {"t": np.arange(self.lags + 1, dtype=np.int32)},
            "gated_signals": {
                "memory": np.array(self._MEMORIES),
                "energy": own,
                "sensitivity": slope * turn,
            },
        }

    def epoch(
        self, state: State, values: Mapping[str, jax.Array], epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        key = trial_key(values["seed"])
        x_TBH = surrogate(named_key(key, "inputs"), self.length, self.batch, self.width)
        probes = {"gated_jacobian": self._jacobian(key, values, x_TBH),
                  "gated_signals": self._simple(x_TBH)}  # fmt: skip
        return state, {"probes": probes}

    def _jacobian(
        self, key: jax.Array, values: Mapping[str, jax.Array], x_TBH: jax.Array
    ) -> dict[str, jax.Array]:
        gru = ChronoGRU(self.width)
        memory = values["memory_min"], values["memory_max"]
        scales = values["scale_x"], values["scale_h"]
        w = gru.init(named_key(key, "init"), self.width, memory, *scales)
        drive_TBGH = gru.drive(w, x_TBH)[: self.lags]
        state_BH = jnp.zeros_like(x_TBH[0])

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

    def _simple(self, x_TBH: jax.Array) -> dict[str, jax.Array]:
        """Finite-horizon values at the last step of leaky units, by simulation."""
        lam = 1 - 1 / jnp.array(self._MEMORIES)

        def step(carry: Any, x_BH: jax.Array) -> tuple[Any, None]:
            h, slope = carry
            x = x_BH[..., None]
            return (lam * h + (1 - lam) * x, lam * slope + h - x), None

        zeros = jnp.zeros((*x_TBH.shape[1:], len(self._MEMORIES)))
        (h, slope), _ = lax.scan(step, (zeros, zeros), x_TBH)
        turn = (lam * (1 - lam)) ** 2
        return {"measured_energy": jnp.mean(h**2, (0, 1)),
                "measured_sensitivity": turn * jnp.mean(slope**2, (0, 1))}  # fmt: skip


def _on_and_off(matrix_BHH: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean entry on the diagonal, root mean square entry off it, and the largest one there."""
    size = matrix_BHH.shape[-1]
    off = matrix_BHH * (1 - jnp.eye(size))
    on = jnp.mean(jnp.diagonal(matrix_BHH, axis1=1, axis2=2))
    count = max(size * (size - 1), 1)
    return on, jnp.sqrt(jnp.mean(jnp.sum(off**2, (1, 2))) / count), jnp.max(jnp.abs(off))
