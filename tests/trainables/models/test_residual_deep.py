"""The deep recurrent network and its chrono GRU against loops written out
(docs/specs/zucchet2024.md, 1.4)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.support.small_trials import check_rows
from trainables.declarations import builtin_registry
from trainables.layers.chrono_gru import ChronoGRU
from trainables.models.residual_block import Norm
from trainables.packs.pack import Pack


def _config(cell: str, norm: str = "none", **more: Any) -> dict[str, Any]:
    return {"model": "deep_recurrent", "task": "gaussian", "deep_cell": cell, "norm": norm,
            "depth": 2, "width": 6, "seq_len": 9, "features": 3, "classes": 4, "batch_size": 5,
            "memory": 4.0, **more}  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "norm"), [("lru", "layer"), ("complex", "none"), ("gru", "batch")]
)
def test_declared_rows_are_the_real_ones(cell, norm):
    check_rows(builtin_registry().resolve(_config(cell, norm)))


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lru", "gru"])
def test_it_trains_and_taps_its_states(cell):
    pack = Pack([builtin_registry().resolve(_config(cell, "layer"))], {})
    pack.init()
    assert np.isfinite(pack.epoch(0).epochs["loss"]).all()
    line = pack.probe("timeline")
    assert line is not None
    assert set(line["layer"]) == {0, 1}
    assert (line["grad_norm"] > 0).all()


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("simple", [False, True])
def test_gru_is_its_formula(simple, seed):
    gru = ChronoGRU(4, simple)
    w = gru.init(jax.random.key(seed), 3, (2.0, 8.0), 0.7, 0.9)
    x = np.random.default_rng(seed).normal(size=(6, 2, 3))
    found = np.asarray(jax.jit(gru.run)(w, x.astype(np.float32)))
    p = {k: np.asarray(v, np.float64) for k, v in w.items()}
    h = np.zeros((2, 4))
    for t in range(6):
        drive = np.einsum("gij,bj->gbi", p["w_ih"], x[t])
        back = np.einsum("gij,bj->gbi", p["w_hh"], h)
        r = _sigmoid(drive[0] + p["b_ih"][0] + back[0])
        z = _sigmoid(drive[1] + p["b_ih"][1] + back[1])
        n = np.tanh(drive[2] + p["b_ih"][2] + r * (back[2] + p["b_hh"]))
        h = (1 - z) * (drive[2] if simple else n) + z * h
        assert found[t] == pytest.approx(h, abs=1e-5)


def test_first_gates_have_the_given_memories(seed):
    gru = ChronoGRU(500)
    w = gru.init(jax.random.key(seed), 500, (5.0, 10.0), 1.0, 2.0)
    gate = _sigmoid(np.asarray(w["b_ih"][1], np.float64))
    memory = gate / (1 - gate)
    assert (memory.min(), memory.max()) == (
        pytest.approx(5, abs=0.1),
        pytest.approx(10, abs=0.1),
    )
    assert np.asarray(w["w_ih"]).var() == pytest.approx(2 / 500, rel=0.02)
    u = np.asarray(w["w_hh"][0], np.float64)
    assert np.abs(u @ u.T - 4 * np.eye(500)).max() < 1e-3


def test_without_scales_the_simple_gru_is_a_leaky_unit(seed):
    gru = ChronoGRU(3, simple=True)
    w = gru.init(jax.random.key(seed), 3, (4.0, 4.0), 0.0, 0.0)
    x = np.random.default_rng(seed).normal(size=(8, 1, 3)).astype(np.float32)
    drive = np.einsum("ij,tbj->tbi", np.asarray(w["w_ih"])[2], x)
    h, z = np.zeros((1, 3)), 4 / 5
    for t, found in enumerate(np.asarray(jax.jit(gru.run)(w, x))):
        h = (1 - z) * drive[t] + z * h
        assert found == pytest.approx(h, abs=1e-5)


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_norms(norm, seed):
    w = {"norm_scale": np.full(6, 2, np.float32), "norm_bias": np.ones(6, np.float32)}
    a = (3 + 5 * np.random.default_rng(seed).normal(size=(7, 4, 6))).astype(np.float32)
    found = np.asarray(jax.jit(lambda w, a: Norm(norm, 1e-6)(w, a)[0])(w, a), np.float64)
    axes = (2,) if norm == "layer" else (0, 1)
    assert found.mean(axes) == pytest.approx(1, abs=1e-4)
    assert found.std(axes) == pytest.approx(2, rel=1e-3)
    assert np.array_equal(Norm("none", 1e-6)({}, jnp.asarray(a))[0], a)


def test_a_block_is_its_formula(seed):
    """x + (W y) sig(V y) with y = gelu of the layer, written out for a complex layer."""
    pack = Pack([builtin_registry().resolve(_config("complex"))], {})
    pack.init()
    weights = {k: np.asarray(v, np.float64) for k, v in pack.weights(0).items()}
    engine: Any = pack._engine
    state = jax.tree.map(lambda leaf: leaf[0], pack._state)
    module: Any = nnx.merge(engine.graph, state["params"], state["rest"])
    x = np.random.default_rng(seed).normal(size=(2, 9, 3))
    watched = nnx.jit(lambda module, x: module.watched(x, lambda w, flow: flow.out))
    _, levels = watched(module, x.astype(np.float32))
    a = x @ weights["encoder.w"].T + weights["encoder.b"]
    p = {k.split(".")[2]: v for k, v in weights.items() if k.startswith("block.0.")}
    lam = p["lambda_re"] + 1j * p["lambda_im"]
    assert ((np.abs(lam) >= 0.75 - 1e-6) & (np.abs(lam) <= 0.875 + 1e-6)).all()
    h = np.zeros((2, 6), complex)
    for t in range(9):
        h = lam * h + a[:, t] @ (p["b_re"] + 1j * p["b_im"]).T
        y = (h @ (p["c_re"] + 1j * p["c_im"]).T).real + a[:, t] @ p["d"].T
        y = y * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))  # gelu
        gate = _sigmoid(y @ p["w_gate"].T + p["b_gate"])
        out = a[:, t] + gate * (y @ p["w_value"].T + p["b_value"])
        assert np.asarray(levels)[0, t] == pytest.approx(out, abs=1e-4)
