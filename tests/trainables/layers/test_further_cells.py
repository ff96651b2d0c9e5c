"""Cells that feed no published figure: formulas step by step, and what a Legendre memory is for."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial import legendre

from trainables.declarations import builtin_registry
from trainables.layers.alif import spike
from trainables.layers.further_cells.independent import IndRNN
from trainables.layers.further_cells.lmu import LMU, legendre_memory
from trainables.packs.pack import Pack

T, B, F, H = 6, 2, 3, 4


def run(cell: Any, w: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Outputs (T, B, H) from a state of 0."""
    state, found = jnp.zeros((B, cell.state_size)), []
    for t in range(T):
        state = cell.advance(w, state, cell.drive(w, x[t]))
        found.append(cell.output(w, state))
    return np.stack(found)


def drawn(cell: Any, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    first = cell.init(jax.random.key(seed), F)
    assert cell.roles().keys() == first.keys()
    w = {n: (v + 0.3 * rng.normal(size=v.shape)).astype(np.float32) for n, v in first.items()}
    return w, rng.normal(size=(T, B, F)).astype(np.float32)


def test_independent_units_are_their_formula(seed: int) -> None:
    cell = IndRNN(H)
    w, x = drawn(cell, seed)
    h, want = np.zeros((B, H)), []
    for t in range(T):
        h = np.maximum(x[t] @ w["w_ih"].T + w["u"] * h + w["b"], 0)
        want.append(h)
    np.testing.assert_allclose(run(cell, w, x), want, rtol=1e-5, atol=1e-6)


def test_legendre_memory_units_are_their_formula(seed: int) -> None:
    cell = LMU(H, order=5, window=12.0)
    w, x = drawn(cell, seed)
    a, b = legendre_memory(5, 12.0)
    h, m, want = np.zeros((B, H)), np.zeros((B, 5)), []
    for t in range(T):
        u = x[t] @ w["e_x"] + h @ w["e_h"] + m @ w["e_m"]
        m = m @ a.T + u[:, None] * b
        h = np.tanh(x[t] @ w["w_ih"].T + h @ w["w_hh"].T + m @ w["w_mh"].T)
        want.append(h)
    np.testing.assert_allclose(run(cell, w, x), want, rtol=1e-4, atol=1e-5)


def test_a_legendre_memory_holds_its_window(seed: int) -> None:
    """A slow signal is read back at any delay up to the window: that is what A and B are for."""
    window, order = 100.0, 12
    a, b = legendre_memory(order, window)
    rng = np.random.default_rng(seed)
    phases = rng.uniform(0, 6, 3)
    time = np.arange(400)
    waves = np.outer(np.arange(1, 4), 2 * np.pi * time / 200) + phases[:, None]
    signal = np.sin(waves).sum(0)
    m = np.zeros(order)
    for value in signal:
        m = a @ m + b * value
    for delay in (0, 20, 50, 80, 100):
        read = legendre.legval(2 * delay / window - 1, m)
        assert read == pytest.approx(signal[-1 - delay] if delay else signal[-1], abs=0.12)


@pytest.mark.parametrize(
    ("shape", "slope"),
    [("fast_sigmoid", lambda x: (1 + 2 * x) ** -2.0), ("triangle", lambda x: max(0, 1 - x)),
     ("gaussian", lambda x: np.exp(-x * x)), ("exponential", lambda x: np.exp(-2 * x)),
     ("arctan", lambda x: 1 / (1 + (np.pi * x) ** 2))],
)  # fmt: skip
def test_surrogates_are_the_slopes_that_they_name(shape: str, slope: Any) -> None:
    for u in (-1.5, -0.2, 0.1, 0.4):
        found = jax.grad(lambda u: spike(u, 0.3, 1.5, shape))(jnp.float32(u))
        assert float(found) == pytest.approx(0.3 * slope(1.5 * abs(u)), rel=1e-5)
        assert float(spike(jnp.float32(u), 0.3, 1.5, shape)) == (u > 0)


def test_the_constants_of_an_lsnn_stay() -> None:
    """In training and in pretraining."""
    small = {"task": "gaussian", "seq_len": 12, "features": 6, "classes": 3, "batch_size": 8,
             "widths": "6", "depth": 1, "neuron_tau_v": 3.0}  # fmt: skip
    own = {"train": {"lr": 0.5}, "lsc": {"lsc_steps": 3, "lsc_batch": 2, "lsc_lr": 0.05}}
    for stage, given in own.items():
        one = builtin_registry().resolve({"model": "lsnn", "stage": stage, **small, **given})
        pack = Pack([one], {})
        pack.init()
        before = pack.state()
        pack.epoch(0)
        after, root = pack.state(), "params" if stage == "train" else "work"
        for name in ("tau_v", "tau_a", "threshold", "beta", "w_ih", "w_hh"):
            same = np.array_equal(before[f"{root}/rnn/0/{name}"], after[f"{root}/rnn/0/{name}"])
            assert same != name.startswith("w_"), (stage, name)
