"""Recurrent cells as pure functions over a dict of arrays: LSTM, GRU and simple RNN.

A cell's state is one flat real vector per sample, which is what one-step Jacobians are taken of
(docs/specs/herranz2023.md, 1.4). Matrices are stored (units out, units in), gates stacked along
the first axis. Shapes are suffixed: B batch, F features, H units, S state, D drive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
from jax.nn import initializers

from trainables.core.activations import ACTIVATIONS
from trainables.core.random_keys import named_key
from trainables.declarations import Sizes
from trainables.layers.stable_lstm import certificate

Params = Mapping[str, jax.Array]
Role = Literal["input", "recurrent", "none"]
"""The radius that rescales a tensor in a pretraining: of the step from the layer below (or the
input), of the step through time, or none."""

Scheme = Literal["keras", "torch"]
"""keras: Glorot-uniform input, orthogonal recurrent matrices; torch: U(+-1/sqrt H) everywhere, and
a bias vector for each matrix."""


class Cell(Protocol):
    """One recurrent layer: static settings, and functions of its tensors by name."""

    @property
    def state_size(self) -> int:
        """S, numbers of state per sample."""
        ...

    @property
    def output_size(self) -> int:
        """H, what the next layer receives per sample."""
        ...

    def init(self, key: jax.Array, features: int) -> dict[str, jax.Array]:
        """Fresh tensors by name for inputs of `features` numbers."""
        ...

    def roles(self) -> dict[str, Role]:
        """Which radius rescales each tensor, by the tensor's name."""
        ...

    def drive(self, params: Params, x: jax.Array) -> jax.Array:
        """What an input (..., F) contributes to a step, (..., D): all time steps at once."""
        ...

    def advance(self, params: Params, state: jax.Array, drive: jax.Array) -> jax.Array:
        """The next state (B, S) from a state (B, S) and a drive (B, D)."""
        ...

    def output(self, params: Params, state: jax.Array) -> jax.Array:
        """What the layer hands on, (B, H): a function of its state alone."""
        ...


CellOf = Callable[[int, Mapping[str, Any], Sizes], Cell]
"""(units, a trial's constants, its task's sizes) -> a layer's cell; what `Model.cell` is."""


def prepared(cell: Any, params: Params) -> dict[str, jax.Array]:
    """A layer's tensors with what a cell makes of them once for all its steps, where it does."""
    return cell.prepared(params) if hasattr(cell, "prepared") else dict(params)


def weights(
    key: jax.Array, units: int, features: int, gates: int, scheme: Scheme
) -> dict[str, jax.Array]:
    """Input and recurrent matrices of a gated layer.

    Args:
      key: each tensor uses its own named derivation of it.
      units, features: H and F.
      gates: blocks of H rows in each matrix.

    Returns:
      w_ih (gates H, F) and w_hh (gates H, H), the latter with orthonormal columns under keras.
    """
    shapes = {"w_ih": (gates * units, features), "w_hh": (gates * units, units)}
    if scheme == "torch":
        return torch_uniform(key, units, shapes)
    # The fans of the transposed matrix are the same two, so the limit is Keras'.
    draw = {"w_ih": initializers.glorot_uniform(), "w_hh": initializers.orthogonal()}
    return {name: draw[name](named_key(key, name), shape) for name, shape in shapes.items()}


def torch_uniform(
    key: jax.Array, units: int, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, jax.Array]:
    """Every tensor from U(-1/sqrt H, 1/sqrt H), torch's default for recurrent layers."""
    bound = 1 / math.sqrt(units)
    return {
        name: jax.random.uniform(named_key(key, name), shape, minval=-bound, maxval=bound)
        for name, shape in shapes.items()
    }


def two_biases(size: int) -> dict[str, tuple[int, ...]]:
    """Shapes of torch's two bias vectors."""
    return {"b_ih": (size,), "b_hh": (size,)}


def _biases(params: Params) -> jax.Array:
    """The one bias of a layer, or the sum of torch's two."""
    return params["b"] if "b" in params else params["b_ih"] + params["b_hh"]


def _fixed(scheme: Scheme) -> dict[str, Role]:
    """Biases, which no radius rescales."""
    return {"b": "none"} if scheme == "keras" else {"b_ih": "none", "b_hh": "none"}


@dataclass(frozen=True)
class LSTM:
    """i, f, o = sigmoid(.), g = act(.), c' = f c + i g, h' = o act(c'); state (h, c).

    Gates are stacked i, f, g, o, the order of Keras and torch alike. The keras scheme sets the
    forget gate's bias to 1 and the other biases to 0.
    """

    units: int
    scheme: Scheme = "keras"
    activation: str = "tanh"

    @property
    def state_size(self) -> int:
        return 2 * self.units

    @property
    def output_size(self) -> int:
        return self.units

    def init(self, key: jax.Array, features: int) -> dict[str, jax.Array]:
        found = weights(key, self.units, features, 4, self.scheme)
        if self.scheme == "torch":
            return {**found, **torch_uniform(key, self.units, two_biases(4 * self.units))}
        bias = jnp.repeat(jnp.array([0.0, 1.0, 0.0, 0.0]), self.units)
        return {**found, "b": bias}

    def roles(self) -> dict[str, Role]:
        return {"w_ih": "input", "w_hh": "recurrent", **_fixed(self.scheme)}

    def drive(self, params: Params, x: jax.Array) -> jax.Array:
        return x @ params["w_ih"].T + _biases(params)

    def advance(self, params: Params, state: jax.Array, drive: jax.Array) -> jax.Array:
        h, c = jnp.split(state, 2, -1)
        i, f, g, o = jnp.split(drive + h @ params["w_hh"].T, 4, -1)
        act = ACTIVATIONS[self.activation]
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * act(g)
        return jnp.concatenate([jax.nn.sigmoid(o) * act(c), c], -1)

    def output(self, params: Params, state: jax.Array) -> jax.Array:
        return state[..., : self.units]

    def contraction_bounds(self, params: Params) -> tuple[jax.Array, jax.Array]:
        """(bound of the step's Lipschitz constant, Miller and Hardt's ratio); NaN where unknown."""
        unknown = jnp.float32(jnp.nan)
        return unknown, certificate(params) if self.scheme == "torch" else unknown


@dataclass(frozen=True)
class GRU:
    """h' = z h + (1 - z) act(x_n + r (U_n h + b_n)): the reset gate acts after the product.

    Gates are stacked z, r, n, as in Keras. Two bias vectors in either scheme, zero under keras.
    """

    units: int
    scheme: Scheme = "keras"
    activation: str = "tanh"

    @property
    def stored_gates(self) -> tuple[int, ...] | None:
        """The order in which gates are stored where it is another: torch's r, z, n."""
        return (1, 0, 2) if self.scheme == "torch" else None

    @property
    def state_size(self) -> int:
        return self.units

    @property
    def output_size(self) -> int:
        return self.units

    def init(self, key: jax.Array, features: int) -> dict[str, jax.Array]:
        found = weights(key, self.units, features, 3, self.scheme)
        shapes = two_biases(3 * self.units)
        if self.scheme == "torch":
            return {**found, **torch_uniform(key, self.units, shapes)}
        return {**found, **{name: jnp.zeros(shape) for name, shape in shapes.items()}}

    def roles(self) -> dict[str, Role]:
        return {"w_ih": "none", "w_hh": "recurrent", **_fixed("torch")}

    def drive(self, params: Params, x: jax.Array) -> jax.Array:
        return x @ params["w_ih"].T + params["b_ih"]

    def advance(self, params: Params, state: jax.Array, drive: jax.Array) -> jax.Array:
        of_x = jnp.split(drive, 3, -1)
        of_h = jnp.split(state @ params["w_hh"].T + params["b_hh"], 3, -1)
        z, r = jax.nn.sigmoid(of_x[0] + of_h[0]), jax.nn.sigmoid(of_x[1] + of_h[1])
        candidate = ACTIVATIONS[self.activation](of_x[2] + r * of_h[2])
        return z * state + (1 - z) * candidate

    def output(self, params: Params, state: jax.Array) -> jax.Array:
        return state


@dataclass(frozen=True)
class SimpleRNN:
    """h' = activation(W x + U h + b).

    Under keras the bias is Glorot-uniform too, which for one axis of H means U(+-sqrt(3 / H)).
    """

    units: int
    activation: str = "tanh"
    scheme: Scheme = "keras"

    @property
    def state_size(self) -> int:
        return self.units

    @property
    def output_size(self) -> int:
        return self.units

    def init(self, key: jax.Array, features: int) -> dict[str, jax.Array]:
        found = weights(key, self.units, features, 1, self.scheme)
        if self.scheme == "torch":
            return {**found, **torch_uniform(key, self.units, two_biases(self.units))}
        bound = math.sqrt(3 / self.units)
        shape = (self.units,)
        bias = jax.random.uniform(named_key(key, "b"), shape, minval=-bound, maxval=bound)
        return {**found, "b": bias}

    def roles(self) -> dict[str, Role]:
        return {"w_ih": "none", "w_hh": "recurrent", **_fixed(self.scheme)}

    def drive(self, params: Params, x: jax.Array) -> jax.Array:
        return x @ params["w_ih"].T + _biases(params)

    def advance(self, params: Params, state: jax.Array, drive: jax.Array) -> jax.Array:
        return ACTIVATIONS[self.activation](drive + state @ params["w_hh"].T)

    def output(self, params: Params, state: jax.Array) -> jax.Array:
        return state

    def contraction_bounds(self, params: Params) -> tuple[jax.Array, jax.Array]:
        """(bound of the step's Lipschitz constant, Miller and Hardt's ratio); NaN where unknown."""
        unknown = jnp.float32(jnp.nan)
        return jnp.linalg.norm(params["w_hh"], 2) if self.activation == "tanh" else unknown, unknown


def lstm(units: int, config: Mapping[str, Any], sizes: Sizes) -> LSTM:
    """The cell of model `lstm`."""
    return LSTM(units)


def gru(units: int, config: Mapping[str, Any], sizes: Sizes) -> GRU:
    """The cell of model `gru`."""
    return GRU(units)


def relu_rnn(units: int, config: Mapping[str, Any], sizes: Sizes) -> SimpleRNN:
    """The cell of model `rsimplernn`: relu, or swish on tokens."""
    return SimpleRNN(units, "swish" if sizes.tokens else "relu")


def sigmoid_rnn(units: int, config: Mapping[str, Any], sizes: Sizes) -> SimpleRNN:
    """The cell of model `ssimplernn`."""
    return SimpleRNN(units, "sigmoid")


def torch_lstm(units: int, config: Mapping[str, Any], sizes: Sizes) -> LSTM:
    """The cell of model `torch_lstm`."""
    return LSTM(units, scheme="torch")


def torch_gru(units: int, config: Mapping[str, Any], sizes: Sizes) -> GRU:
    """The cell of model `torch_gru`."""
    return GRU(units, scheme="torch")


def torch_rnn(units: int, config: Mapping[str, Any], sizes: Sizes) -> SimpleRNN:
    """The cell of model `torch_rnn`."""
    return SimpleRNN(units, scheme="torch")
