"""One linear recurrent layer as a whole model: docs/specs/zucchet2024.md, 1.1 to 1.3.

Shapes are suffixed: T time, B batch, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import nnx

from trainables.core.layout import LayerOutput, Slot
from trainables.core.variables import Tensors
from trainables.declarations import PartError, Sizes
from trainables.declarations.models.linear_rnn import executes
from trainables.layers.block_linear import BlockCell
from trainables.layers.eigenvalue_init import diagonal_tensors
from trainables.layers.lru import LruCell, Params
from trainables.layers.s4 import S4Cell
from trainables.layers.state_dtype import float32_tensors
from trainables.layers.tap import tap


class LinearCell(Protocol):
    """A linear layer as pure functions of its tensors; see `lru.LruCell`."""

    @property
    def state_size(self) -> int: ...

    def drive(self, params: Params, u: jax.Array) -> jax.Array: ...

    def advance(self, params: Params, state: jax.Array, drive: jax.Array) -> jax.Array: ...

    def states(self, params: Params, drive: jax.Array, mode: str) -> jax.Array: ...

    def output(self, params: Params, state: jax.Array, u: jax.Array) -> jax.Array: ...

    def impulse(self, params: Params, length: int) -> jax.Array: ...

    def moduli(self, params: Params) -> jax.Array: ...


_FIXED = {"b": 1, "b_re": 1, "b_im": 0, "c": 1, "c_re": 1, "c_im": 0, "d": 0}
"""Tensors of B, C and D, and what multiplies the identity to give them where they are fixed."""


class LinearNet(nnx.Module):
    """A linear recurrent layer without biases or nonlinearity, states from 0 in every batch.

    In mode "recurrent" a call gives outputs (B, T, O) of inputs x (B, T, I), or of tokens (B, T)
    read as unit vectors. In mode "kernel" it gives the layer's response to unit impulses, which
    says the same: the task convolves. It is (T,) of one input and one output, else (1, T, O, I).

    Attributes:
      cell: the layer's functions.
      execution: "recurrent" or "kernel".
    """

    depth = 1

    def __init__(
        self, cell: LinearCell, tensors: Params, features: int, execution: str, scan_mode: str,
        maps: bool = True,
    ):  # fmt: skip
        """
        Args:
          maps: whether B, C and D are parameters; else the identity, the identity and 0, of a layer
            of as many inputs and outputs as units.
        """
        self.cell, self.features = cell, features
        self.float32_tensors = float32_tensors(cell)
        self.execution, self.scan_mode = execution, scan_mode
        self.fixed = () if maps else tuple(name for name in tensors if name in _FIXED)
        self.layer = Tensors({n: leaf for n, leaf in tensors.items() if n not in self.fixed})

    def values(self) -> Params:
        """The layer's tensors by name, those that are no parameters included."""
        fixed = {name: _FIXED[name] * jnp.eye(self.features) for name in self.fixed}
        return self.layer.values() | fixed

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.execution == "kernel":
            k_TOI = self.cell.impulse(self.values(), x.shape[1])
            return k_TOI[:, 0, 0] if k_TOI.shape[1:] == (1, 1) else k_TOI[None]
        return self._run(x, None)

    def tapped(self, x: jax.Array, gauges: jax.Array) -> jax.Array:
        """Outputs (B, T, O) in either mode, with a `tap` on every state; gauges (1, T).

        The tap is on the drive of a step, whose derivative is that of the state it is added to.
        """
        return self._run(x, gauges[0])

    def outputs_by_layer(self, x: jax.Array) -> tuple[LayerOutput, ...]:
        """Of a call: its answer, over time or over the lags of a response."""
        answer = self(x)
        kernel = answer[0] if answer.ndim == 4 else answer
        over_time = kernel if self.execution == "kernel" else jnp.swapaxes(answer, 0, 1)
        return (LayerOutput("rnn.0", over_time),)

    def moduli(self) -> jax.Array:
        """|eigenvalue| of each unit, largest first."""
        return self.cell.moduli(self.values())

    def _run(self, x: jax.Array, gauges_T: jax.Array | None) -> jax.Array:
        w = self.values()
        if x.ndim == 2:
            x = jax.nn.one_hot(x, self.features, dtype=w["d"].dtype)
        u_TBI = jnp.swapaxes(x, 0, 1)
        drive = self.cell.drive(w, u_TBI)
        if gauges_T is not None:
            drive = jax.vmap(tap)(drive, gauges_T)
        states = self.cell.states(w, drive, self.scan_mode)
        return jnp.swapaxes(self.cell.output(w, states, u_TBI), 0, 1)

    def slots(self) -> tuple[Slot, ...]:
        """One recurrent layer, its tensors in order."""
        return tuple(Slot(f"layer/{t}", None, 0, "rnn.0", t) for t in self.layer.names)


def _net(cell: LinearCell, tensors: Params, config: Mapping[str, Any], sizes: Sizes) -> LinearNet:
    features, maps = sizes.features, config.get("maps", True)
    if not maps and {features, sizes.classes} != {config["width"]}:
        raise PartError(
            f"maps=false makes inputs and outputs the states of model {config['model']}, so its "
            f"width must be their number; task {config['task']} has {features} and {sizes.classes}"
        )
    return LinearNet(cell, tensors, features, executes(config), config["scan_mode"], maps)


_SPECTRA = {"exp": "exp", "default": "cartesian", "polar": "polar", "scaled_exp": "scaled_exp"}


def gamma_of(lru_param: str, lru_gamma: str) -> str:
    """The row of `lru.GAMMAS`: a learned gamma is stored as its logarithm beside `exp` only."""
    if lru_gamma != "learned":
        return lru_gamma
    return "log" if lru_param == "exp" else "raw"


def lru(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> LinearNet:
    """Builds model `lru`; the ring of eigenvalues is traced."""
    shape = config["width"], sizes.features, sizes.classes
    spectrum = _SPECTRA[config["lru_param"]]
    gamma = gamma_of(config["lru_param"], config["lru_gamma"])
    bounds = config["min_nu"], config["max_nu"], config["max_phase"]
    tensors = diagonal_tensors(rngs.params(), shape, spectrum, gamma, bounds, config["compat"])
    return _net(LruCell(sizes.classes, config["width"], spectrum, gamma), tensors, config, sizes)


def linear_rnn(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> LinearNet:
    """Builds model `linear_rnn`; the ring of eigenvalues is traced."""
    rotations = config["block_form"] == "rotation"
    cell = BlockCell(config["width"], config["heads"], sizes.classes, rotations)
    bounds = config["min_nu"], config["max_nu"], config["max_phase"]
    tensors = cell.init(rngs.params(), sizes.features, *bounds)
    return _net(cell, tensors, config, sizes)


def s4(config: Mapping[str, Any], sizes: Sizes, rngs: nnx.Rngs) -> LinearNet:
    """Builds model `s4`; the bounds of moduli are traced."""
    cell = S4Cell(config["width"], sizes.features, config["delta"] == "channel")
    bounds = config["min_nu"], config["max_nu"]
    tensors = cell.init(rngs.params(), config["s4_init"], bounds, config["compat"])
    return _net(cell, tensors, config, sizes)
