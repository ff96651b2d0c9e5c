"""torch.nn's recurrent layers in NumPy, by the equations and the gate orders of its manual."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Arrays = Mapping[str, np.ndarray]


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def torch_outputs(kind: str, state: Arrays, x: np.ndarray, prefix: str = "rnn.") -> np.ndarray:
    """Outputs (B, T, H) of the top layer of a torch module LSTM, GRU or RNN, from states of 0.

    Args:
      state: weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, ..., each after `prefix`.
      x: (B, T, F).
    """
    layer = 0
    while f"{prefix}weight_ih_l{layer}" in state:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        w_ih, w_hh, b_ih, b_hh = (state[f"{prefix}{n}_l{layer}"].astype(float) for n in names)
        h, out = np.zeros((len(x), w_hh.shape[1])), []
        c = h
        for t in range(x.shape[1]):
            of_x, of_h = x[:, t] @ w_ih.T + b_ih, h @ w_hh.T + b_hh
            if kind == "LSTM":
                i, f, g, o = np.split(of_x + of_h, 4, 1)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
            elif kind == "GRU":
                (rx, zx, nx), (rh, zh, nh) = np.split(of_x, 3, 1), np.split(of_h, 3, 1)
                r, z = sigmoid(rx + rh), sigmoid(zx + zh)
                h = (1 - z) * np.tanh(nx + r * nh) + z * h
            else:
                h = np.tanh(of_x + of_h)
            out.append(h)
        x, layer = np.stack(out, 1), layer + 1
    return x


def torch_state(
    kind: str, rng: np.random.Generator, features: int, units: int, layers: int, classes: int
) -> dict[str, np.ndarray]:
    """A state_dict of such a module called `rnn`, and of a Linear called `decoder`, as drawn."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    found = {}
    for layer in range(layers):
        below = units if layer else features
        shapes = {"weight_ih": (gates * units, below), "weight_hh": (gates * units, units),
                  "bias_ih": (gates * units,), "bias_hh": (gates * units,)}  # fmt: skip
        for name, shape in shapes.items():
            found[f"rnn.{name}_l{layer}"] = rng.normal(size=shape).astype(np.float32)
    found["decoder.weight"] = rng.normal(size=(classes, units)).astype(np.float32)
    found["decoder.bias"] = rng.normal(size=classes).astype(np.float32)
    return found
