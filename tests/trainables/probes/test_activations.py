"""The probe `activations` against networks written out in NumPy, and dead units that are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.support.small_trials import SMALL
from trainables.core.hparams import lane_values
from trainables.declarations import Model, Trial, builtin_registry
from trainables.packs.pack import Pack
from trainables.tasks.base import make_data, make_task, probe_batch

Weights = Mapping[str, np.ndarray]
Rows = list[tuple[str, str, np.ndarray]]
"""Layer, function and values of each nonlinearity, (..., units)."""


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def _elman(w: Weights, x: np.ndarray) -> Rows:
    """The vanilla stack: layer after layer, each over all time steps; x (B, T, F)."""
    found = []
    for layer in range(3):
        own = {n: w[f"rnn.{layer}.{n}"].astype(float) for n in ("w_ih", "w_hh", "b_ih", "b_hh")}
        h, out = np.zeros((len(x), len(own["w_hh"]))), []
        for t in range(x.shape[1]):
            z = x[:, t] @ own["w_ih"].T + own["b_ih"] + h @ own["w_hh"].T + own["b_hh"]
            h = np.tanh(z)
            out.append(h)
        x = np.stack(out, 1)
        found.append((f"rnn.{layer}", "tanh", x))
    return [*found, ("readout", "none", x[:, -1] @ w["readout.w"].T + w["readout.b"])]


def _dense(w: Weights, x: np.ndarray) -> Rows:
    found, h = [], x.reshape(len(x), -1)
    for layer in range(3):
        h = np.maximum(h @ w[f"dense.{layer}.w"].T + w[f"dense.{layer}.b"], 0)
        found.append((f"dense.{layer}", "relu", h))
    return [*found, ("readout", "none", h @ w["readout.w"].T + w["readout.b"])]


def _lstm(w: Weights, x: np.ndarray, last: bool = False) -> Rows:
    """Layer after layer; the answer at every time step, or at the last."""
    kinds = {"f": "sigmoid", "i": "sigmoid", "g": "tanh", "o": "sigmoid", "c": "tanh"}
    found: Rows = []
    for layer in range(sum(name.endswith("w_hh") for name in w)):
        own = {n.rsplit(".", 1)[1]: v.astype(float) for n, v in w.items() if f"rnn.{layer}." in n}
        bias = sum(v for n, v in own.items() if n.startswith("b"))
        h, c = np.zeros((2, len(x), len(own["w_hh"]) // 4))
        seen: dict[str, list[np.ndarray]] = {name: [] for name in "figoc"}
        out = []
        for t in range(x.shape[1]):
            z = x[:, t] @ own["w_ih"].T + h @ own["w_hh"].T + bias
            i, f, g, o = np.split(z, 4, 1)
            i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
            c = f * c + i * g
            h = o * np.tanh(c)
            for name, value in zip("figoc", (f, i, g, o, np.tanh(c)), strict=True):
                seen[name].append(value)
            out.append(h)
        x = np.stack(out, 1)
        found += [(f"rnn.{layer}", kinds[name], np.stack(v)) for name, v in seen.items()]
    return [*found, ("readout", "none", x[:, -1:] @ w["readout.w"].T + w["readout.b"] if last
                     else x @ w["readout.w"].T + w["readout.b"])]  # fmt: skip


def _lstm_stack(w: Weights, x: np.ndarray) -> Rows:
    return _lstm(w, x, last=True)


def _expected(rows: Rows) -> dict[str, list[float]]:
    flat = {
        "tanh": lambda v: np.abs(v) >= 0.99,
        "sigmoid": lambda v: (v <= 0.01) | (v >= 0.99),
        "relu": lambda v: v == 0,
    }
    found: dict[str, list[float]] = {name: [] for name in ("mean", "std", "saturated", "dead")}
    for _, function, values in rows:
        found["mean"].append(values.mean())
        found["std"].append(values.std())
        closed = flat[function](values) if function in flat else None
        units = None if closed is None else closed.reshape(-1, closed.shape[-1]).all(0)
        found["saturated"].append(np.nan if closed is None else closed.mean())
        found["dead"].append(np.nan if units is None else units.mean())
    return found


def _batch(one: Trial) -> np.ndarray:
    """The probe batch of a task that draws its data."""
    values = {name: jnp.asarray(value) for name, value in lane_values(one).items()}
    task: Any = make_task(one)
    return np.asarray(probe_batch(task, values, make_data(one, {}))[0], float)


@pytest.mark.parametrize(
    ("config", "written_out"),
    [
        ({"model": "vanilla_rnn", "depth": 3, "init": "xavier"}, _elman),
        ({"model": "ffn", "depth": 3, "init": "glorot_normal"}, _dense),
        ({"model": "torch_lstm", "depth": 1, "init": None}, _lstm),
        ({"model": "lstm_stack", "depth": 3, "init": "xavier"}, _lstm_stack),
    ],
)
def test_rows_are_those_of_the_network_written_out(
    config: dict[str, Any], written_out: Callable[[Weights, np.ndarray], Rows]
) -> None:
    """Weights are enlarged, so that some values are saturated."""
    given = {k: v for k, v in {**SMALL, **config}.items() if v is not None}
    pack = Pack([builtin_registry().resolve({**given, "activations_every": 0})], {})
    pack.init()
    pack._state["params"] = jax.tree.map(lambda w: 4 * w, pack._state["params"])
    columns = pack.probe("activations")
    assert columns is not None
    rows = written_out(pack.weights(0), _batch(pack.trials[0]))
    assert columns["layer_name"].tolist() == [layer for layer, _, _ in rows]
    assert columns["function"].tolist() == [function for _, function, _ in rows]
    expected = _expected(rows)
    assert max(v for v in expected["saturated"] if v == v) > 0.05
    for name, values in expected.items():
        np.testing.assert_allclose(columns[name][0], values, rtol=1e-4, atol=1e-5)


class Inline(nnx.Module):
    """Two dense layers with nonlinearities between them; 3 of 8 units never leave the 0 of relu,
    and 1 of 4 never the top of the logistic function."""

    def __init__(self, features: int, classes: int, rngs: nnx.Rngs):
        self.first = nnx.Linear(features, 8, rngs=rngs)
        self.second = nnx.Linear(8, 4, rngs=rngs)
        self.answer = nnx.Linear(4, classes, rngs=rngs)
        low: Any = self.first.bias
        high: Any = self.second.bias
        low[...] = jnp.where(jnp.arange(8) < 3, -100.0, 100.0)
        self.second.kernel[...] = jnp.zeros((8, 4))
        high[...] = jnp.array([0.0, 0.0, 0.0, 90.0])

    def __call__(self, x: jax.Array) -> jax.Array:
        h = jnp.maximum(self.first(x[:, -1]), 0)
        h = jax.nn.gelu(1 - jax.nn.sigmoid(self.second(h)))
        return self.answer(jax.nn.gelu(h, approximate=False))


def test_dead_units_of_a_user_s_module() -> None:
    registry = builtin_registry()
    build = lambda config, sizes, rngs: Inline(sizes.features, sizes.classes, rngs)  # noqa: E731
    registry.add(Model(name="inline", version=1, build=build))
    base = {k: v for k, v in SMALL.items() if k not in ("depth", "width", "init")}
    one = registry.resolve({**base, "model": "inline", "activations_every": 0})
    pack = Pack([one], {})
    pack.init()
    columns = pack.probe("activations")
    assert columns is not None
    assert columns["layer_name"].tolist() == ["first", *["second"] * 3, "answer"]
    assert columns["function"].tolist() == ["relu", "sigmoid", "gelu", "gelu", "none"]
    assert columns["dead"][0].tolist()[:2] == [3 / 8, 1 / 4]
    assert columns["saturated"][0].tolist()[:2] == [3 / 8, 1 / 4]
    assert columns["mean"][0, 1] == pytest.approx((3 * 0.5 + 1) / 4)
    assert np.isnan(columns["dead"][0, 2:]).all()
