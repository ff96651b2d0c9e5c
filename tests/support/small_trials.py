"""What the tests of this folder share: small trials, and a stack written as slow loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trainables.core.hparams import build_config, lane_values
from trainables.core.layout import by_path
from trainables.declarations import Registry, Sizes, Trial, builtin_registry
from trainables.models.residual_block import Block
from trainables.packs.pack import EpochResult, Pack
from trainables.tasks.base import make_task
from trainables.training.network import Network

SMALL = {
    "model": "vanilla_rnn",
    "task": "gaussian",
    "depth": 3,
    "width": 5,
    "seq_len": 7,
    "features": 2,
    "classes": 4,
    "batch_size": 6,
    "steps_per_epoch": 4,
    "init": "default",
}
"""A trial that compiles and runs fast."""


def trial(registry: Registry | None = None, **config: Any) -> Trial:
    """`SMALL` with changes."""
    return (registry or builtin_registry()).resolve({**SMALL, **config})


def network(one: Trial) -> Network:
    """What a trial trains, built abstractly: no number is drawn and nothing is compiled."""
    task: Any = make_task(one)
    return Network(one, task, lane_values(one))


def tensors_of(one: Trial) -> list[tuple[int, str, str, tuple[int, ...]]]:
    """(layer, layer's name, name, shape) of each parameter tensor of the model, as it is built."""
    net = network(one)
    shapes: Any = jax.eval_shape(lambda values: net.init(one, values), lane_values(one))["params"]
    leaves = {path: np.broadcast_to(np.float32(0), s.shape) for path, s in by_path(shapes).items()}
    named = net.layout.named(leaves)
    return [
        (slot.layer, slot.layer_name, slot.tensor, named[f"{slot.layer_name}.{slot.tensor}"].shape)
        for slot in net.layout.slots
    ]


def check_rows(one: Trial) -> int:
    """The declared numbers of tensors and layers are those of the module, each with its row of
    `layers`. Returns how many numbers the tensors hold."""
    tensors, net = tensors_of(one), network(one)
    layers = dict.fromkeys((layer, name) for layer, name, _, _ in tensors)
    assert one.model.rows is not None
    assert one.model.rows(one.config, one.sizes) == (len(tensors), len(layers))
    rows = [(r.layer, r.layer_name, r.tensor, r.tensor_index) for r in net.layout.rows]
    want = [(layer, name, tensor, i) for i, (layer, name, tensor, _) in enumerate(tensors)]
    assert rows == want + [(layer, name, "*", -1) for layer, name in layers]
    return sum(int(np.prod(shape)) for _, _, _, shape in tensors)


def module_of(one: Trial, sizes: Sizes | None = None, seed: int = 0) -> Any:
    """The module of a trial's model as it is drawn, for other sizes than the task's where given."""
    values = {name: jnp.asarray(value) for name, value in lane_values(one).items()}
    rngs = nnx.Rngs(jax.random.key(seed))
    return one.model.builder()(build_config(one, values), sizes or one.sizes, rngs)


def step_of(block: Block, w: Any, state: Any, a: Any, extra: Any = 0) -> tuple[Any, Any]:
    """The step form of a residual block with prenorm, written out, without dropout: next state
    (B, S), with `extra` added to it, and output (B, H) of a (B, H)."""
    u = block.read(w, a)
    state = block.cell.advance(w, state, block.cell.drive(w, u)) + extra
    return state, a + block.branch(w, block.cell.output(w, state, u))


_RANGES = {  # of weights that are no factors of sums
    "nu": (-3.0, -0.2),
    "theta": (0.0, 0.5),
    "gamma": (-1.5, 0.0),
    "norm_scale": (0.6, 1.4),
    "tau_v": (0.3, 3.0),
    "tau_a": (1.0, 5.0),
    "threshold": (0.0, 0.1),
    "beta": (0.0, 1.0),
}


def filled(build: Callable[[], Any], seed: int) -> Any:
    """The module that `build` makes, its weights drawn by NumPy, all else 0.

    Every tensor counts: none is 0 or 1. Drawn as `build` draws them they would take dozens of small
    programs.
    """
    graph, params, rest = nnx.split(nnx.eval_shape(build), nnx.Param, ...)
    rng = np.random.default_rng([seed, 5])

    def weight(path: Any, leaf: Any) -> jax.Array:
        names = jax.tree_util.keystr(path)
        low, high = next((ends for n, ends in _RANGES.items() if f"'{n}'" in names), (-0.6, 0.6))
        return jnp.asarray(rng.uniform(low, high, leaf.shape).astype(leaf.dtype))

    def other(leaf: Any) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key(seed)
        return jnp.asarray(np.zeros(leaf.shape, leaf.dtype))

    params = jax.tree_util.tree_map_with_path(weight, params)
    return nnx.merge(graph, params, jax.tree.map(other, rest))


def same(a: Any, b: Any) -> bool:
    """Bit equality of arrays, NaN equal to NaN."""
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def lane_of(result: EpochResult, lane: int) -> dict[str, np.ndarray]:
    """Everything a result says about one lane, flat."""
    groups = {"epochs": result.epochs, "layers": result.layers, "steps": result.steps}
    found = {f"{g}/{name}": column[lane] for g, cs in groups.items() for name, column in cs.items()}
    found |= {f"metrics/{name}": column[lane] for name, column in result.metrics.items()}
    for probe, columns in result.probes.items():
        # The others are shared by all lanes.
        own = {name: column for name, column in columns.items() if column.ndim == 2}
        found |= {f"{probe}/{name}": column[lane] for name, column in own.items()}
    return {**found, "bad_step": result.bad_step[lane], "finished": result.finished[lane]}


def assert_same_lane(a: EpochResult, i: int, b: EpochResult, j: int) -> None:
    """Lane i of a and lane j of b agree to the last bit."""
    left, right = lane_of(a, i), lane_of(b, j)
    differing = [name for name in left if not same(left[name], right[name])]
    assert left.keys() == right.keys()
    assert not differing


def state_of(pack: Pack, lane: int) -> dict[str, np.ndarray]:
    return {path: leaf[lane] for path, leaf in pack.state().items()}


def assert_same_state(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    assert not [path for path in a if not same(a[path], b[path])]


class SlowStack:
    """The recurrent stack of docs/specs/vanishing.md, 1, in float64, sample by sample.

    Weights are named as by `Pack.weights`; alpha None means no skips.
    """

    def __init__(self, weights: dict[str, np.ndarray], activation: str, alpha: float | None):
        self.w = {name: np.asarray(value, np.float64) for name, value in weights.items()}
        self.depth = sum(name.endswith("w_hh") for name in self.w)
        self.relu, self.alpha = activation == "relu", alpha

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Logits (B, C), states h (L, T, B, H) and layer outputs of the same shape."""
        samples, length, _ = x.shape
        width = len(self.w["rnn.0.b_ih"])
        h = np.zeros((self.depth, length, samples, width))
        out = np.zeros_like(h)
        for b in range(samples):
            for layer in range(self.depth):
                name, before = f"rnn.{layer}.", np.zeros(width)
                for t in range(length):
                    below = x[b, t].astype(np.float64) if layer == 0 else out[layer - 1, t, b]
                    z = self.w[name + "w_ih"] @ below + self.w[name + "b_ih"]
                    z += self.w[name + "w_hh"] @ before + self.w[name + "b_hh"]
                    before = h[layer, t, b] = np.maximum(z, 0) if self.relu else np.tanh(z)
                    skip = layer > 0 and self.alpha is not None
                    out[layer, t, b] = below + self.alpha * before if skip else before
        logits = out[-1, -1] @ self.w["readout.w"].T + self.w["readout.b"]
        return logits, h, out

    def loss(self, x: np.ndarray, y: np.ndarray) -> float:
        logits = self.forward(x)[0]
        return float(
            np.mean([np.log(np.sum(np.exp(z))) - z[k] for z, k in zip(logits, y, strict=True)])
        )

    def gradients(self, x: np.ndarray, y: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """dL/dw by name and the total dL/dh (L, T, B, H), by back-propagation through time."""
        logits, h, out = self.forward(x)
        samples, length, _ = x.shape
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        p[np.arange(samples), y] -= 1
        p /= samples
        g = {name: np.zeros_like(value) for name, value in self.w.items()}
        g["readout.w"], g["readout.b"] = p.T @ out[-1, -1], p.sum(0)
        d_out, d_h = np.zeros_like(h), np.zeros_like(h)
        d_out[-1, -1] = p @ self.w["readout.w"]
        for layer in reversed(range(self.depth)):
            name = f"rnn.{layer}."
            skip = layer > 0 and self.alpha is not None
            for t in reversed(range(length)):
                for b in range(samples):
                    d_h[layer, t, b] += (self.alpha if skip else 1) * d_out[layer, t, b]
                    here = h[layer, t, b]
                    dz = d_h[layer, t, b] * ((here > 0) if self.relu else 1 - here**2)
                    below = x[b, t] if layer == 0 else out[layer - 1, t, b]
                    g[name + "w_ih"] += np.outer(dz, below)
                    g[name + "b_ih"] += dz
                    g[name + "b_hh"] += dz
                    if t:
                        g[name + "w_hh"] += np.outer(dz, h[layer, t - 1, b])
                        d_h[layer, t - 1, b] += self.w[name + "w_hh"].T @ dz
                    if layer:
                        d_out[layer - 1, t, b] += self.w[name + "w_ih"].T @ dz
                        d_out[layer - 1, t, b] += d_out[layer, t, b] if skip else 0
        return g, d_h
