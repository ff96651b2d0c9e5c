"""A chaotic LSTM of two units, and the straight line of weights that leads through it.

docs/specs/ribeiro2020.md, 1.3: no biases, no input, W(s) = s W from the zero LSTM (s = 0) on. The
analyses are stages without training; their rows are found when the engine is built, in float64.
Shapes are suffixed: M orbits, T time steps, S = 4 numbers of state (h, c).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from trainables.analyses.hessians import Drawn
from trainables.core.derivatives import in_space, on_line
from trainables.core.engine import SharedColumns
from trainables.core.hparams import constants
from trainables.declarations import Trial
from trainables.layers.gated import LSTM
from trainables.probes import attractors

CELL = LSTM(2, scheme="torch")
WEIGHTS = np.array(
    [[-1, -4], [-3, -2], [-2, 6], [0, -6], [-1, -6], [6, -9], [4, 1], [-9, -7]], np.float64
)
"""Recurrent weights of the gates i, f, g, o at s = 1."""
START = np.full(4, 0.5)
STARTS = {"standard": START, "origin": np.full(4, 1e-3)}

_BATCH = 256
"""Points whose derivatives are found at once."""


def advance(weights: jax.Array, state: jax.Array) -> jax.Array:
    """The next state (4,) under recurrent weights (8, 2)."""
    return CELL.advance({"w_hh": weights}, state, jnp.zeros(8, state.dtype))


def orbit(weights: jax.Array, start: Any, length: int) -> jax.Array:
    """States (T, 4) after 1..T steps."""

    def step(state: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        state = advance(weights, state)
        return state, state

    return lax.scan(step, jnp.asarray(start), None, length=length)[1]


def origin_modulus(s: np.ndarray) -> np.ndarray:
    """Largest |eigenvalue| of the step's Jacobian at the origin, a fixed point for every s."""
    jacobian = jax.vmap(jax.jacfwd(lambda z, s: advance(s * WEIGHTS, z)), (None, 0))
    return np.max(np.abs(np.linalg.eigvals(np.asarray(jacobian(jnp.zeros(4), s)))), -1)


# ---- orbits and what they end in ---------------------------------------------------------------


def _orthonormalised(tangents: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rows (M, K, S) by Gram and Schmidt, and the logarithms of the lengths taken out (M, K)."""
    rows: list[jax.Array] = []
    logs = []
    for k in range(tangents.shape[1]):
        v = tangents[:, k]
        for row in rows:
            v = v - jnp.sum(v * row, -1, keepdims=True) * row
        length = jnp.linalg.norm(v, axis=-1)
        rows.append(v / jnp.where(length > 0, length, 1.0)[:, None])
        logs.append(jnp.log(jnp.maximum(length, 1e-300)))
    return jnp.stack(rows, 1), jnp.stack(logs, 1)


@cache
def _chunk() -> Callable[..., Any]:
    """(s (M,), states (M, 4), tangents (M, 4, 4)) -> as `attractors.Chunk`."""

    def pushed(s: jax.Array, state: jax.Array, tangents: jax.Array) -> tuple[jax.Array, jax.Array]:
        step, push = jax.linearize(lambda z: advance(s * WEIGHTS, z), state)
        return step, jax.vmap(push)(tangents)

    def run(s: jax.Array, states: jax.Array, tangents: jax.Array) -> Any:
        def one(carry: Any, _: None) -> Any:
            states, tangents, total = carry
            states, tangents = jax.vmap(pushed)(s, states, tangents)
            tangents, logs = _orthonormalised(tangents)
            return (states, tangents, total + logs), states

        start = states, tangents, jnp.zeros(tangents.shape[:2], states.dtype)
        (states, tangents, total), seen = lax.scan(one, start, None, length=attractors.WINDOW)
        return states, tangents, total, seen

    return jax.jit(run)


def ends_of(s: np.ndarray, starts: np.ndarray, most: int) -> attractors.Ends:
    """What the orbits of W(s) from `starts` (M, 4) end in, with all four Lyapunov exponents; after
    at least a quarter of `most` steps, so that exponents are means over many."""
    with jax.enable_x64(True):
        run = _chunk()
        # Directions that no orbit is special to.
        tangents = np.tile(np.linalg.qr(np.vander([0.3, 0.7, 1.1, 1.9]))[0], (len(s), 1, 1))
        return attractors.follow(lambda x, v: run(s, x, v), starts, tangents, most, most // 4)


class Scan(Drawn):
    """Stage `chaos_scan`: the orbit diagram of the family, and the kind of attractor along it."""

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        points, keep = int(config["scan_points"]), int(config["scan_keep"])
        line = np.linspace(float(config["scan_from"]), float(config["scan_to"]), points)
        names = list(STARTS) if config["scan_starts"] == "both" else [str(config["scan_starts"])]
        s, name = np.tile(line, len(names)), np.repeat(np.array(names, object), points)
        ends = ends_of(s, np.stack([STARTS[n] for n in name]), int(config["scan_steps"]))
        with jax.enable_x64(True):
            modulus = origin_modulus(line)
        h = ends.window[..., :2]
        last = h[-keep:]
        columns = {
            "s": s,
            "start": name,
            "kind": ends.kind,
            "period": ends.period,
            **{f"lyapunov{k + 1}": ends.spectrum[:, k] for k in range(4)},
            "amplitude": attractors.swing(h),
            "attractor": attractors.told_apart(ends, np.unique(s, return_inverse=True)[1]),
            "residual": ends.residual,
            "steps": ends.steps,
            "origin_modulus": np.tile(modulus, len(names)),
        }
        diagram = {
            "s": np.repeat(s, len(last)),
            "start": np.repeat(name, len(last)),
            "t": np.tile(np.arange(len(last), dtype=np.int32), len(s)),
            **{f"h{k + 1}": last[:, :, k].T.reshape(-1) for k in range(2)},
        }
        self.shared_columns: Mapping[str, SharedColumns] = {
            "chaos_scan": columns,
            "orbit_diagram": diagram,
        }


# ---- cost along the line -----------------------------------------------------------------------


def cost(weights: jax.Array, target: jax.Array, share: jax.Array) -> jax.Array:
    """Squared distance of both units to a target orbit (T, 2), weighted by `share` (T,) over time
    and averaged over units."""
    h = orbit(weights, START, len(target))[:, :2]
    return share @ jnp.mean((h - target) ** 2, -1)


def _derivatives(s: jax.Array, share: jax.Array, target: jax.Array) -> dict[str, jax.Array]:
    _, slope, bend = on_line(lambda a: cost(a * WEIGHTS, target, share), s)
    flat = WEIGHTS.ravel()

    def of_weights(w: jax.Array) -> jax.Array:
        return cost(w.reshape(WEIGHTS.shape), target, share)

    gradient, turned = in_space(of_weights, s * flat, jnp.asarray(flat))
    return {"slope": slope, "bend": bend, "grad_norm": gradient, "hvp_norm": turned}


def between(first: int, end: int, length: int) -> np.ndarray:
    """Equal shares of steps first..end-1 of `length`."""
    t = np.arange(length)
    return ((t >= first) & (t < end)) / (end - first)


def costs(s: np.ndarray, share: np.ndarray) -> dict[str, np.ndarray]:
    """Cost, its derivatives along the line, and norms of gradient and Hessian-vector product in all
    sixteen weights, each (M,), for shares (M, T) of time steps.

    The target is the orbit of s = 1 out of the same compiled orbits: made another way it would be
    another orbit after a hundred steps.
    """
    length = share.shape[1]

    def run(s: jax.Array, share: jax.Array) -> dict[str, jax.Array]:
        every = jnp.append(s, 1.0)
        h = jax.vmap(lambda a: orbit(a * WEIGHTS, START, length)[:, :2])(every)
        distance = jnp.mean((h - h[-1])[:-1] ** 2, -1)

        def one(pair: Any) -> dict[str, jax.Array]:
            s, share = pair
            return _derivatives(s, share, h[-1])

        found = lax.map(one, (s, share), batch_size=_BATCH)
        return {"cost": jnp.sum(share * distance, -1), **found}

    with jax.enable_x64(True):
        return {name: np.asarray(v) for name, v in jax.jit(run)(s, share).items()}


class CostLine(Drawn):
    """Stage `chaos_cost`: the cost profile along the line."""

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        line = np.linspace(
            float(config["scan_from"]), float(config["scan_to"]), int(config["scan_points"])
        )
        s = np.union1d(line, [1.0])
        length = int(config["cost_steps"])
        share = between(int(config["cost_burn_in"]), length, length)
        found = costs(s, np.broadcast_to(share, (len(s), length)))
        self.shared_columns: Mapping[str, SharedColumns] = {"chaos_cost": {"s": s, **found}}


def power_costs(theta: np.ndarray, share: np.ndarray) -> dict[str, np.ndarray]:
    """As `costs` of x_t = theta^t and V = sum of x_t^2 by shares, whose derivatives are known."""

    def one(theta: jax.Array, share: jax.Array) -> dict[str, jax.Array]:
        def cost(a: jax.Array) -> jax.Array:
            return share @ a ** (2 * jnp.arange(1, len(share) + 1, dtype=a.dtype))

        value, slope, bend = on_line(cost, theta)
        gradient, turned = in_space(lambda w: cost(w[0]), theta[None], jnp.ones(1))
        return {
            "cost": value, "slope": slope, "bend": bend, "grad_norm": gradient, "hvp_norm": turned,
        }  # fmt: skip

    with jax.enable_x64(True):
        return {name: np.asarray(v) for name, v in jax.jit(jax.vmap(one))(theta, share).items()}


class CostLength(Drawn):
    """Stage `chaos_length`: cost, slope and bend of whole orbits by their length, at fixed s."""

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        at = np.array([float(text) for text in str(config["at"]).split(":")])
        most = int(config["most_steps"])
        lengths = np.arange(20, most + 1, 10, dtype=np.int32)
        length, s = (grid.ravel() for grid in np.meshgrid(lengths, at, indexing="ij"))
        make = {"power": power_costs, "chaotic_lstm": costs}[str(config["family"])]
        found = make(s, np.stack([between(0, int(n), most) for n in length]))
        self.shared_columns: Mapping[str, SharedColumns] = {
            "chaos_length": {"length": length, "s": s, **found}
        }


class CostPlane(Drawn):
    """Stage `chaos_plane`: the cost of s1 W + s2 R over a grid, R of weights drawn from U(0, 1)."""

    def __init__(self, trial: Trial, task: None, values: Mapping[str, Any]):
        config: Any = constants(trial)
        points = int(config["plane_points"])
        s1 = np.union1d(np.linspace(0, 2, points), [1.0])
        s2 = np.union1d(np.linspace(-0.5, 0.5, points), [0.0])
        drawn = np.random.default_rng(int(config["plane_seed"])).uniform(size=WEIGHTS.shape)
        a, b = (grid.ravel() for grid in np.meshgrid(s1, s2, indexing="ij"))
        length, first = int(config["cost_steps"]), int(config["cost_burn_in"])
        home = int(np.flatnonzero((a == 1) & (b == 0))[0])

        def run(a: jax.Array, b: jax.Array) -> jax.Array:
            weights = a[:, None, None] * WEIGHTS + b[:, None, None] * drawn
            h = jax.vmap(lambda w: orbit(w, START, length)[first:, :2])(weights)
            return jnp.mean((h - h[home]) ** 2, (1, 2))

        with jax.enable_x64(True):
            found = np.asarray(jax.jit(run)(a, b))
        self.shared_columns: Mapping[str, SharedColumns] = {
            "chaos_plane": {"s1": a, "s2": b, "cost": found}
        }
