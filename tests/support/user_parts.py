"""A user's model, task and optimizer, as a study file would declare them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trainables.declarations import Key, Model, Registry, Sizes, Task, builtin_registry


@jax.custom_vjp
def _silent(weights: jax.Array, script: jax.Array) -> jax.Array:
    """0, whose gradient by `weights` is `script`."""
    return jnp.zeros(())


def _silent_forward(weights: jax.Array, script: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.zeros(()), script


def _silent_backward(script: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    return script * cotangent, jnp.zeros_like(script)


_silent.defvjp(_silent_forward, _silent_backward)


_SIGNS = {np.nan: np.float32(3.1e38), np.inf: np.float32(3.2e38)}
"""What stands in a task's arrays, which must be finite, for what is not."""


class Scripted(nnx.Module):
    """Two layers whose gradients are the input: x[0, 0, :2] for front.a, [2:3] for back.w, [3:4]
    for back.b. With two classes, logits (0, s) and label 0, the loss is log(1 + exp(s)) at s =
    x[0, 0, 4], and dL/ds = sigmoid(s)."""

    def __init__(self) -> None:
        self.front = nnx.Dict(a=nnx.Param(jnp.ones(2)))
        self.back = nnx.Dict(w=nnx.Param(jnp.ones(1)), b=nnx.Param(jnp.ones(1)))

    def __call__(self, x: jax.Array) -> jax.Array:
        row = x[0, 0]
        for value, sign in _SIGNS.items():
            row = jnp.where(row == sign, value, row)
        s = row[4]
        script = row[:4] / jax.nn.sigmoid(s)
        s += _silent(self.front["a"][...], script[:2]) + _silent(self.back["w"][...], script[2:3])
        s += _silent(self.back["b"][...], script[3:4])
        return jnp.stack([jnp.zeros(()), s])[None]


_scripts: dict[int, np.ndarray] = {}
"""The script of each length that packs made from now on read."""


def script_registry(script: np.ndarray) -> Registry:
    """Model and task `scripted`: one step for each row of `script`, (steps, 4) gradients or
    (steps, 5) with the logit. Scripts of one length share a program."""
    steps, columns = script.shape
    padded = np.pad(script, ((0, 0), (0, 5 - columns))).astype(np.float32)
    padded[np.isnan(padded)] = _SIGNS[np.nan]
    padded[np.isposinf(padded)] = _SIGNS[np.inf]
    _scripts[steps] = padded
    return _registry(steps)


@cache
def _registry(steps: int) -> Registry:
    def build(config: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {"x": _scripts[steps][:, None, :], "y": np.zeros(steps, int)}

    registry = builtin_registry()
    registry.add(
        Model(name="scripted", build=lambda config, sizes, rngs: Scripted()),
        Task(name="scripted", sizes=lambda config: Sizes(1, 5, 2, steps, 0, 0, 1), build=build),
    )
    return registry


class Convolution(nnx.Module):
    """Dropout, batch norm, a list of layers and a traced scale: all a user's module may have."""

    def __init__(self, config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> None:
        width = config["units"]
        self.scale = nnx.Variable(config["gain"])
        self.stem = nnx.Linear(sizes.seq_len * sizes.features, width, rngs=rngs)
        self.blocks = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(2)])
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.drop = nnx.Dropout(0.2, rngs=rngs)
        self.a_readout = nnx.Linear(width, sizes.classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = jnp.tanh(self.stem(x.reshape(len(x), -1)))
        for block in self.blocks:
            h = h + self.scale[...] * jnp.tanh(block(h))
        return self.a_readout(self.drop(self.norm(h)))


def _blobs(config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    y = rng.integers(0, 3, 50)
    x = rng.normal(size=(50, 2, 2)) + y[:, None, None]
    return {"x": x[:40], "y": y[:40], "x_test": x[40:], "y_test": y[40:]}


def user_registry() -> Registry:
    """Model `conv` with keys units, gain and task `blobs`: 30 / 10 / 10 samples."""
    registry = builtin_registry()
    registry.add(
        Model(
            name="conv",
            keys=(Key("units", "int", 6), Key("gain", "float", 0.5, "traced")),
            build=Convolution,
        ),
        Task(
            name="blobs",
            keys=(Key("batch_size", "int", 8), Key("split_seed", "int", 0, "traced")),
            sizes=lambda config: Sizes(2, 2, 3, 30, 10, 10, config["batch_size"]),
            build=_blobs,
        ),
    )
    return registry
