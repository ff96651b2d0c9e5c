"""Analyses of a recurrent grid without a network: Pascal's triangle, and how many paths there are.

See docs/specs/herranz2023.md, 1.1 and 6. The state of layer l at time t depends on that of layer l
at t - 1 and of layer l - 1 at t, so that a change spreads along every path of such steps. Shapes
are suffixed: T time steps, B samples, H units, L layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from trainables.core.engine import Analysis, SharedColumns, State
from trainables.core.hparams import constants
from trainables.core.norms import safe_norm
from trainables.core.random_keys import named_key, trial_key
from trainables.declarations import Trial

_INPUT_STD = 2.0
_CURVES = {  # curve -> its (steps, layers)
    "time": [(t, 5) for t in np.unique(np.rint(np.geomspace(1, 10_000, 200)).astype(int)).tolist()],
    "depth": [(5, layers) for layers in range(1, 101)],
    "both": [(100 * layers, layers) for layers in range(1, 101)],
}


def path_count(steps: int, layers: int) -> float:
    """C(steps + layers, steps), or infinity where no float64 holds it."""
    count = math.comb(steps + layers, steps)
    return float(count) if count.bit_length() < 1024 else math.inf


def log10_path_count(steps: int, layers: int) -> float:
    """log10 of C(steps + layers, steps), whatever its size."""
    return math.log10(math.comb(steps + layers, steps))


def grid_output(
    x_TBH: jax.Array, w_LHH: jax.Array, u_LHH: jax.Array, rho: jax.Array, rule: str
) -> jax.Array:
    """Top layer's states (T, B, H) of h^l_t = act(rho (x^l_t W_l + h^l_{t-1} U_l)), x^{l+1} = h^l.

    `act` is relu for the rule "he" and nothing for "linear".
    """

    def layer(x_TBH: jax.Array, own: Any) -> tuple[jax.Array, None]:
        w, u = own

        def step(h_BH: jax.Array, drive_BH: jax.Array) -> tuple[jax.Array, jax.Array]:
            h_BH = rho * (drive_BH + h_BH @ u)
            h_BH = jax.nn.relu(h_BH) if rule == "he" else h_BH
            return h_BH, h_BH

        return lax.scan(step, jnp.zeros_like(x_TBH[0]), x_TBH @ w)[1], None

    return lax.scan(layer, x_TBH, (w_LHH, u_LHH))[0]


def pascal_gradient(rho: jax.Array, layers: int, steps: int) -> jax.Array:
    """d sum_s y_s / d x_t of the linear grid for t = 0..T-1, in closed form.

    rho^L sum over d < T - t of C(d+L-1, L-1) rho^d: a path leaves x_t, goes up L layers and on for
    d steps. Summed in logarithms, since C alone may exceed float32.
    """
    d = np.arange(steps)
    log_count = np.array([math.log(math.comb(k + layers - 1, layers - 1)) for k in d.tolist()])
    terms = jnp.exp(jnp.asarray(log_count, jnp.float32) + (layers + d) * jnp.log(rho))
    return jnp.cumsum(terms)[::-1]


class Pascal(Analysis):
    """Stage `pascal`: the grid's output, and the gradient of its sum by the input of each step."""

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        self.rule, self.layers = str(config["grid_rule"]), int(config["grid_layers"])
        self.length, self.samples = int(config["grid_steps"]), int(config["grid_batch"])
        self.units = 1 if self.rule == "linear" else int(config["grid_units"])
        t = np.arange(self.length, dtype=np.int32)
        binomial = [path_count(self.layers, self.length - 1 - int(k)) for k in t]
        self.shared_columns: Mapping[str, SharedColumns] = {
            "pascal": {
                "sample": np.repeat(np.arange(self.samples, dtype=np.int32), self.length),
                "t": np.tile(t, self.samples),
                "binomial": np.tile(binomial, self.samples),
            }
        }

    def epoch(
        self, state: State, values: Mapping[str, jax.Array], epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        key, rho = trial_key(values["seed"]), values["rho"]
        shape = (self.layers, self.units, self.units)
        if self.rule == "linear":
            w = u = jnp.ones(shape)
        else:
            bound = math.sqrt(6 / self.units)
            w, u = (
                jax.random.uniform(named_key(key, name), shape, minval=-bound, maxval=bound)
                for name in ("w", "u")
            )
        x = _INPUT_STD * jax.random.normal(
            named_key(key, "x"), (self.length, self.samples, self.units)
        )

        def total(x: jax.Array) -> tuple[jax.Array, jax.Array]:
            y = grid_output(x, w, u, rho, self.rule)
            return jnp.sum(y), y

        slope, y = jax.grad(total, has_aux=True)(x)
        closed = pascal_gradient(rho, self.layers, self.length)
        closed = closed if self.rule == "linear" else jnp.full_like(closed, jnp.nan)
        columns = {
            "output": y[:, :, 0].T,
            "gradient": safe_norm(slope, axis=(-1,)).T,
            "closed_form": jnp.broadcast_to(closed, (self.samples, self.length)),
        }
        return state, {"probes": {"pascal": {n: c.reshape(-1) for n, c in columns.items()}}}


def path_sums(rho_t: Any, rho_l: Any, steps: int, layers: int) -> jax.Array:
    """Sum over the paths of t steps through time and l over depth of rho_t^t rho_l^l.

    By dynamic programming, P[t, l] = rho_t P[t-1, l] + rho_l P[t, l-1], so that no path is
    enumerated. With weights of 1 it counts paths, exactly below 2^24.

    Returns:
      P (steps + 1, layers + 1).
    """

    def across(left: jax.Array, from_below: jax.Array) -> tuple[jax.Array, jax.Array]:
        here = from_below + rho_l * left
        return here, here

    def row(before: jax.Array, first: jax.Array) -> tuple[jax.Array, jax.Array]:
        start = (rho_t * before).at[0].add(first)
        here = lax.scan(across, jnp.zeros_like(start[0]), start)[1]
        return here, here

    origin = jnp.zeros(steps + 1).at[0].set(1.0)
    return lax.scan(row, jnp.zeros(layers + 1), origin)[1]


class Binomial(Analysis):
    """Stage `binomial`: numbers of paths, exact integers found when the engine is built, and what
    paths of given weights add up to."""

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        self.length, self.layers = int(config["grid_steps"]), int(config["grid_layers"])
        curves = [(name, *point) for name, points in _CURVES.items() for point in points]
        names, steps, layers = (list(column) for column in zip(*curves, strict=True))
        up, over = np.mgrid[: self.length + 1, : self.layers + 1].reshape(2, -1)
        pairs = list(zip(up.tolist(), over.tolist(), strict=True))
        self.shared_columns: Mapping[str, SharedColumns] = {
            "binomial": {
                "curve": np.array(names, object),
                "steps": np.array(steps, np.int32),
                "layers": np.array(layers, np.int32),
                "paths": np.array([path_count(*p) for p in zip(steps, layers, strict=True)]),
                "log10_paths": np.array(
                    [log10_path_count(*p) for p in zip(steps, layers, strict=True)]
                ),
            },
            "paths": {
                "steps": up.astype(np.int32),
                "layers": over.astype(np.int32),
                "paths": np.array([path_count(*pair) for pair in pairs]),
                "diagonal_paths": np.array([float(math.comb(a, b)) for a, b in pairs]),
            },
        }

    def epoch(
        self, state: State, values: Mapping[str, jax.Array], epoch: jax.Array, data: Any
    ) -> tuple[State, dict[str, Any]]:
        rho_t, rho_l = values["rho_t"], values["rho_l"]
        curves = self.shared_columns["binomial"]
        paths = jnp.asarray(curves["log10_paths"], jnp.float32)
        weights = curves["steps"] * jnp.log10(rho_t) + curves["layers"] * jnp.log10(rho_l)
        sums = {
            "counted": path_sums(1.0, 1.0, self.length, self.layers),
            "weighted": path_sums(rho_t, rho_l, self.length, self.layers),
        }
        return state, {
            "probes": {
                "binomial": {"log10_bound": paths + weights},
                "paths": {name: column.reshape(-1) for name, column in sums.items()},
            }
        }
