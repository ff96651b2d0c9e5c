"""How linear recurrences at initialisation grow, overflow and remember: docs/specs/bar2025.md, 5.

Analyses of one layer. Shapes are suffixed: T time, N units, B sequences, H inputs, D delays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from trainables.core.engine import Analysis, SharedColumns, State
from trainables.core.hparams import constants
from trainables.core.norms import safe_norm
from trainables.core.random_keys import named_key, trial_key
from trainables.declarations import Trial
from trainables.declarations.layers.glorot_init import (
    EDGE_OFFSET,
    EULER,
    LEAST_WIDTH,
    RADII,
    SCALED,
    edge_terms,
)
from trainables.layers.block_linear import BlockCell
from trainables.layers.glorot_init import glorot_matrix, scale, spectrum, state_matrix
from trainables.layers.lru import LruCell
from trainables.layers.tap import tap

_CLASSES = 10
_POINTS = 120
"""Time steps shown of a sequence."""
_OVERFLOW = math.log(float(np.finfo(np.float32).max))
_BURN_IN = 500
_RIDGE = 1e-6
"""Of the decoder, per step and in units of the states' mean square."""


def moduli(matrix: jax.Array) -> jax.Array:
    """|eigenvalues| of (N, N), largest first."""
    return -jnp.sort(-jnp.abs(jnp.linalg.eigvals(matrix)))


class Radii(Analysis):
    """Stage `radii`: inits differ by a number, so that all share the matrices drawn."""

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        self.width, self.draws = int(config["matrix_width"]), int(config["draws"])
        self.inits = [i for i in SCALED if i != "rescaled" or self.width >= LEAST_WIDTH]
        divisors = [float(scale(init, self.width, EDGE_OFFSET)) for init in self.inits]
        mean, sd = RADII.get(self.width, (math.nan, math.nan))
        edge = math.nan
        if self.width >= LEAST_WIDTH:
            a, b = edge_terms(self.width)
            edge = a + b * EULER
        self.divisors = np.array(divisors)

        def spread(value: float) -> np.ndarray:
            return np.repeat(value / self.divisors, self.draws)

        self.shared_columns: Mapping[str, SharedColumns] = {
            "radii": {
                "init": np.repeat(np.array(self.inits, object), self.draws),
                "draw": np.tile(np.arange(self.draws, dtype=np.int32), len(self.inits)),
                "table_mean": spread(mean),
                "table_sd": spread(sd),
                "edge_mean": spread(edge),
            }
        }

    def epoch(
        self, state: State, values: Mapping[str, jax.Array], epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        keys = jax.random.split(named_key(trial_key(values["seed"]), "radii"), self.draws)
        # One after the other: several eigendecompositions at a time would need their own memory.
        found = lax.map(lambda key: moduli(glorot_matrix(key, self.width)), keys)
        scaled = found[None] / jnp.asarray(self.divisors, jnp.float32)[:, None, None]
        columns = {
            "radius": scaled[..., 0].reshape(-1),
            "outside": jnp.sum(scaled > 1, -1).reshape(-1),
        }
        return state, {"probes": {"radii": columns}}


def first_bad(finite_T: jax.Array) -> jax.Array:
    """The first step that is False, or -1."""
    return jnp.where(jnp.all(finite_T), -1, jnp.argmin(finite_T))


class Divergence(Analysis):
    """Stage `divergence`: the state matrix is a parameter, so that inits share a program."""

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        self.width, self.length = int(config["matrix_width"]), int(config["length"])
        self.inputs, self.dense = int(config["inputs"]), config["recurrence"] == "dense"
        self.sequences = int(config["sequences"])
        self.cell: Any = (
            BlockCell(self.width, 1, _CLASSES)
            if self.dense
            else LruCell(_CLASSES, self.width, "cartesian", "none")
        )
        late = np.unique(np.rint(np.linspace(0, self.length - 1, _POINTS)).astype(np.int32))
        self.shown = late
        self.shared_columns: Mapping[str, SharedColumns] = {
            "divergence": {"t": late},
            "overflow": {},
        }

    def init(self, trial: Trial, values: Mapping[str, jax.Array]) -> State:
        key = named_key(trial_key(values["seed"]), "init")
        own = key, self.width, str(trial.config["init"]), values["edge_offset"]
        if self.dense:
            params = {"a": state_matrix(*own)[None]}
        else:
            params = dict(zip(("lambda_re", "lambda_im"), spectrum(*own), strict=True))
        return {"params": params, "alive": jnp.bool_(True)}

    def _maps(self, key: jax.Array) -> dict[str, jax.Array]:
        n, h = self.width, self.inputs
        b, c = (n, h), (_CLASSES, n)
        if self.dense:
            names = {"b": (b, h), "c": (c, n)}
        else:
            names = {"b_re": (b, 2 * h), "b_im": (b, 2 * h), "c_re": (c, n)}
        return {
            name: jax.random.normal(named_key(key, name), shape) / math.sqrt(fan)
            for name, (shape, fan) in names.items()
        }

    def epoch(
        self, state: State, values: Mapping[str, jax.Array], epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        key = trial_key(values["seed"])
        shape = self.length, self.sequences, self.inputs
        u_TBH = jax.random.normal(named_key(key, "inputs"), shape)
        labels = jax.random.randint(named_key(key, "labels"), shape[1:2], 0, _CLASSES)
        maps = self._maps(named_key(key, "maps"))

        def loss(w: dict[str, jax.Array], gauges_T: jax.Array) -> tuple[jax.Array, jax.Array]:
            drive = jax.vmap(tap)(self.cell.drive(w, u_TBH), gauges_T)
            h = self.cell.states(w, drive, "scan")
            logits = self.cell.read(w, jnp.mean(h, 0))
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return jnp.mean(losses), h.reshape(self.length, -1)

        w = state["params"] | maps
        gauges = jnp.zeros(self.length)
        (value, h), (slopes, over_time) = jax.value_and_grad(loss, (0, 1), has_aux=True)(w, gauges)

        def norm(names: tuple[str, ...]) -> jax.Array:
            return safe_norm(jnp.stack([safe_norm(slopes[n]) for n in names if n in slopes]))

        finite = jnp.all(jnp.isfinite(h), 1)
        overflow = first_bad(finite)
        modulus = self._moduli(state["params"])
        row = {
            "radius": modulus[0],
            "outside": jnp.sum(modulus > 1),
            "overflow_step": overflow,
            "square_step": first_bad(jnp.isfinite(jnp.sum(h * h, 1))),
            "expected_step": jnp.where(modulus[0] > 1, _OVERFLOW / jnp.log(modulus[0]), jnp.nan),
            "loss": value,
            "grad_a": norm(("a", "lambda_re", "lambda_im")),
            "grad_b": norm(("b", "b_re", "b_im")),
            "grad_c": norm(("c", "c_re")),
        }
        columns = {
            "state_norm": safe_norm(h, axis=(1,))[self.shown]
            / math.sqrt(self.width * self.sequences),
            "grad_norm": over_time[self.shown],
        }
        probes = {"divergence": columns, "overflow": {n: v[None] for n, v in row.items()}}
        return state, {"probes": probes, "bad_step": overflow.astype(jnp.int32)}

    def _moduli(self, params: Mapping[str, jax.Array]) -> jax.Array:
        if self.dense:
            return moduli(params["a"][0])
        return -jnp.sort(-jnp.hypot(params["lambda_re"], params["lambda_im"]))


class DelayMemory(Analysis):
    """Stage `delay_memory`: ridge regression of u_{t-d} on h_t + noise, h_t = A h_{t-1} + b u_t."""

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        self.width, self.delays = int(config["matrix_width"]), int(config["max_delay"])
        self.fit, self.held = int(config["fit_steps"]), int(config["held_steps"])
        delays = np.arange(self.delays + 1, dtype=np.int32)
        self.shared_columns: Mapping[str, SharedColumns] = {"delay_memory": {"delay": delays}}

    def init(self, trial: Trial, values: Mapping[str, jax.Array]) -> State:
        key = named_key(trial_key(values["seed"]), "init")
        own = self.width, str(trial.config["init"]), values["edge_offset"]
        return {"params": {"a": state_matrix(key, *own)}, "alive": jnp.bool_(True)}

    def epoch(
        self, state: State, values: Mapping[str, jax.Array], epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        key, a, n = trial_key(values["seed"]), state["params"]["a"], self.width
        start = max(_BURN_IN, self.delays)
        u_T = jax.random.normal(named_key(key, "inputs"), (start + self.fit + self.held,))
        b = jax.random.normal(named_key(key, "b"), (n,)) / math.sqrt(n)

        def step(h: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
            h = a @ h + b * u
            return h, h

        _, every = lax.scan(step, jnp.zeros(n), u_T)
        h_TN = every[start:]
        h_TN = h_TN / jnp.sqrt(jnp.mean(h_TN**2))
        noise = jax.random.normal(named_key(key, "noise"), h_TN.shape)
        h_TN = h_TN + values["state_noise"] * noise
        past = jnp.arange(self.delays + 1)
        targets_TD = jax.vmap(lambda d: lax.dynamic_slice(u_T, (start - d,), (len(h_TN),)))(past).T
        fit, y = h_TN[: self.fit], targets_TD[: self.fit]
        gram = fit.T @ fit + _RIDGE * self.fit * jnp.eye(n)
        readout = jax.scipy.linalg.solve(gram, fit.T @ y, assume_a="pos")
        held = targets_TD[self.fit :]
        error = jnp.mean((held - h_TN[self.fit :] @ readout) ** 2, 0)
        columns = {
            "r2": 1 - error / jnp.var(held, 0),
            "radius": jnp.broadcast_to(moduli(a)[0], error.shape),
        }
        bad = first_bad(jnp.all(jnp.isfinite(every), 1))
        return state, {"probes": {"delay_memory": columns}, "bad_step": bad.astype(jnp.int32)}
