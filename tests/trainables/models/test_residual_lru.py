"""The residual LRU stack: its formula, its step form, its parameters, its gradients."""

from __future__ import annotations

from math import erf
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.support.small_trials import SMALL, check_rows, filled, module_of, step_of
from trainables.core.layout import Layout, by_path
from trainables.declarations import Sizes, builtin_registry
from trainables.packs.pack import Pack

CONFIG = {k: v for k, v in SMALL.items() if k != "init"} | {"model": "lru_stack", "width": 6}


def _trial(**config):
    return builtin_registry().resolve({**CONFIG, **config})


@pytest.mark.parametrize("config", [{}, {"features": 6, "depth": 5}])
def test_declared_rows_are_the_real_ones(config):
    check_rows(_trial(**config))


@pytest.mark.parametrize(("depth", "width"), [(3, 128), (6, 256)])
def test_parameter_count_of_the_study(depth, width):
    """Sizes of figure 4 and table 1: L (10 H^2 + 11 H), and a tied embedding of V H."""
    registry = builtin_registry()
    keys = {"model": "reslruffn", "task": "wordptb", "depth": depth, "width": width}
    blocks, table = depth * (10 * width**2 + 11 * width), 10_000 * width
    for readout, want in (("tied", blocks + table), ("dense", blocks + 2 * table + 10_000)):
        one = registry.resolve({**keys, "readout": readout})
        assert check_rows(one) == want
        real = nnx.split(nnx.eval_shape(lambda one=one: module_of(one)), nnx.Param, ...)[1]
        assert sum(leaf.size for leaf in jax.tree.leaves(real)) == want


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * np.vectorize(lambda z: (1 + erf(z / np.sqrt(2))) / 2)(x)


def _slow(w: dict[str, np.ndarray], x: np.ndarray, depth: int) -> np.ndarray:
    """The stack written out in float64, one time step at a time; x (B, T, F)."""
    w = {k: np.asarray(v, np.float64) for k, v in w.items()}
    a = x @ w["adapter.w"].T + w["adapter.b"]
    for layer in range(depth):
        p = {k.split(".")[2]: v for k, v in w.items() if k.startswith(f"lru.{layer}.")}
        lam = np.exp(-np.exp(p["nu"]) + 1j * p["theta"])
        b, c = p["b_re"] + 1j * p["b_im"], p["c_re"] + 1j * p["c_im"]
        h, out = np.zeros((len(x), len(lam)), complex), np.zeros_like(a)
        for t in range(x.shape[1]):
            now = a[:, t]
            centred = now - now.mean(1, keepdims=True)
            u = centred / np.sqrt(now.var(1, keepdims=True) + 1e-3) * p["norm_scale"]
            u = u + p["norm_bias"]
            h = lam * h + np.exp(p["gamma"]) * (u @ b.T)
            y = _gelu((h @ c.T).real + p["d"] * u)
            gate = 1 / (1 + np.exp(-(y @ p["w_gate"].T + p["b_gate"])))
            out[:, t] = now + gate * (y @ p["w_value"].T + p["b_value"])
        a = out
    return a @ w["readout.w"].T + w["readout.b"]


def _built(seed: int, mode: str = "scan") -> Any:
    """A small stack at evaluation."""
    sizes = Sizes(20, 3, 4, 8, 0, 0, 8)
    module = filled(lambda: module_of(_trial(scan_mode=mode), sizes), seed)
    module.dropout.rate[...] = jnp.float32(0.5)
    module.eval()
    return module


def test_the_stack_is_its_formula(seed):
    module = _built(seed)
    x = np.random.default_rng([seed, 6]).normal(size=(4, 20, 3))
    params = nnx.state(module, nnx.Param)
    leaves = {k: np.asarray(v) for k, v in by_path(params).items()}
    want = _slow(Layout(module.slots(), params).named(leaves), x, 3)
    assert np.asarray(jax.jit(module)(x.astype(np.float32))) == pytest.approx(want, abs=2e-4)


@pytest.mark.parametrize("steps", [37, pytest.param(200, marks=pytest.mark.slow)])
def test_scan_and_step_form_agree(seed, steps):
    """Both forms of the whole stack against its step form, T = 200: max abs err < 1e-4
    (docs/specs/herranz2023.md, check 17)."""
    module = _built(seed)
    block = module.block
    x = np.random.default_rng(seed).normal(size=(2, steps, 3)).astype(np.float32)

    @jax.jit
    def stepped(x):
        start = jnp.zeros((3, 2, block.cell.state_size))

        def over_time(states, now):
            def over_layers(a, own):
                w, state = own
                state, a = step_of(block, w, state, a)
                return a, state

            top, states = jax.lax.scan(over_layers, now, (module.blocks.values(), states))
            return states, module.logits(top)

        inputs = jnp.swapaxes(module.embed(x), 0, 1)
        return jnp.swapaxes(jax.lax.scan(over_time, start, inputs)[1], 0, 1)

    want = np.asarray(stepped(x))
    assert want.shape == (2, steps, 4)
    for mode in ("scan", "associative"):
        found = np.asarray(jax.jit(_built(seed, mode))(x))
        assert np.abs(found - want).max() < 1e-4


@pytest.mark.slow
def test_modes_have_equal_gradients(seed):
    found = []
    x = jax.random.normal(jax.random.key(seed), (2, 20, 3))
    for mode in ("scan", "associative"):
        graph, params, rest = nnx.split(_built(seed, mode), nnx.Param, ...)

        def loss(params, graph=graph, rest=rest):
            return jnp.mean(nnx.merge(graph, params, rest)(x) ** 2)

        found.append(by_path(jax.jit(jax.grad(loss))(params)))
    for path, value in found[0].items():
        assert np.asarray(found[1][path]) == pytest.approx(np.asarray(value), rel=1e-3, abs=1e-5)


def test_taps_read_the_gradient_of_the_states(seed):
    """The tapped norm is |dL/dh_t|: the derivative by a change added to h_t in the step form."""
    module = _built(seed)
    block, blocks = module.block, module.blocks.values()
    x = np.random.default_rng(seed).normal(size=(2, 6, 3)).astype(np.float32)
    norms = jax.jit(jax.grad(lambda g: jnp.mean(module.tapped(jnp.asarray(x), g) ** 2)))(
        jnp.zeros((3, 6))
    )

    def over_layers(a, own):
        w, extra = own

        def over_time(state, here):
            return step_of(block, w, state, *here)

        start = jnp.zeros((2, block.cell.state_size))
        return jax.lax.scan(over_time, start, (a, extra))[1], None

    def loss(extra):
        a = jnp.swapaxes(module.embed(jnp.asarray(x)), 0, 1)
        return jnp.mean(module.logits(jax.lax.scan(over_layers, a, (blocks, extra))[0]) ** 2)

    slopes = jax.jit(jax.grad(loss))(jnp.zeros((3, 6, 2, block.cell.state_size)))
    want = np.sqrt((np.asarray(slopes) ** 2).sum((2, 3)))
    assert np.asarray(norms) == pytest.approx(want, rel=1e-4)


def test_dropout_draws_anew_in_training_only(seed):
    module = _built(seed)
    x = np.ones((2, 5, 3), np.float32)
    run = nnx.jit(lambda module, x: module(x))
    rested = run(module, x), run(module, x)
    module.train()
    trained = run(module, x), run(module, x)
    assert np.array_equal(*rested)
    assert not np.allclose(*trained)
    module.dropout.rate[...] = jnp.float32(0)
    assert np.asarray(run(module, x)) == pytest.approx(np.asarray(rested[0]), abs=1e-5)


def test_tokens_pass_through_an_embedding(seed):
    sizes = Sizes(5, 11, 11, 8, 0, 0, 8, tokens=True)
    x = np.random.default_rng(seed).integers(0, 11, (2, 5))
    for tied in (True, False):
        one = _trial(depth=2, width=4, readout="tied" if tied else "dense")
        module = filled(lambda one=one: module_of(one, sizes), seed)
        table = module.values("readout" if tied else "below")["w"]
        assert np.array_equal(module.embed(jnp.asarray(x)), np.asarray(table)[x])
        assert nnx.eval_shape(lambda module, x: module(x), module, x).shape == (2, 5, 11)
        names = [s.name for s in module.slots()]
        assert ("embedding.w" in names, "readout.b" in names) == (not tied, not tied)


@pytest.mark.slow
def test_a_pack_trains_it(seed):
    lanes = [_trial(seed=seed, lr=lr, dropout=rate) for lr, rate in ((0.1, 0.0), (0.05, 0.3))]
    pack = Pack(lanes, {})
    pack.init()
    losses = [pack.epoch(epoch).epochs["loss"] for epoch in range(3)]
    assert np.isfinite(losses).all()
    with pytest.raises(ValueError, match="r_min must be smaller"):
        _trial(r_min=0.9, r_max=0.5)


def test_bare_units_are_their_formula_and_what_the_source_calls_lru(seed: int) -> None:
    """Against the layers written out in float64, one time step at a time. `net=lru` is the source's
    word for it, where model `lru` is another study's one layer."""
    registry = builtin_registry()
    one = registry.resolve({**{k: v for k, v in CONFIG.items() if k != "model"}, "net": "lru"})
    assert one.model.name == "bare_lru"
    assert registry.resolve({"model": "lru", "task": "gaussian"}).model.name == "lru"
    check_rows(one)
    module = module_of(one, seed=seed)
    module.eval()
    x = np.random.default_rng(seed).normal(size=(3, one.sizes.seq_len, one.sizes.features))
    params = by_path(nnx.split(module, nnx.Param, ...)[1])
    w = {path: np.asarray(leaf, np.float64) for path, leaf in params.items()}
    a = x @ w["below/w"].T + w["below/b"]
    for layer in range(int(str(one.config["depth"]))):
        p = {k.removeprefix("blocks/"): v[layer] for k, v in w.items() if k.startswith("blocks/")}
        lam = np.exp(-np.exp(p["nu"]) + 1j * p["theta"])
        b, c = p["b_re"] + 1j * p["b_im"], p["c_re"] + 1j * p["c_im"]
        h, out = np.zeros((3, len(lam)), complex), np.zeros_like(a)
        for t in range(x.shape[1]):
            h = lam * h + np.exp(p["gamma"]) * (a[:, t] @ b.T)
            out[:, t] = (h @ c.T).real + p["d"] * a[:, t]
        a = out
    want = a @ w["readout/w"].T + w["readout/b"]
    np.testing.assert_allclose(module(jnp.asarray(x, jnp.float32)), want, rtol=2e-4, atol=2e-5)
