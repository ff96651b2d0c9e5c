"""Cells against loops in NumPy, their counts, and what keeps them stable
(docs/specs/ribeiro2020.md, checks 1, 2, 10 and 11)."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.small_trials import check_rows
from trainables.core.hparams import lane_values
from trainables.core.layout import reordered
from trainables.declarations import Trial, builtin_registry
from trainables.declarations.core.parts import loaded
from trainables.declarations.models.rnn import is_tied
from trainables.layers import stable_lstm
from trainables.layers.orthogonal import ANGLES, OrthogonalCell, modrelu, skew
from trainables.packs.pack import Pack
from trainables.tasks.base import make_task
from trainables.training.network import Network

H, T, F = 5, 7, 3
MODELS = ("torch_lstm", "torch_gru", "torch_rnn", "ornn")


def trial(**config: Any) -> Trial:
    return builtin_registry().resolve({"task": "sine", "optimizer": "torch_adam", **config})


def network(one: Trial) -> Network:
    task: Any = make_task(one)
    return Network(one, task, lane_values(one))


# ---- equal to definition (check 1) -------------------------------------------------------------


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def series_expm(s: np.ndarray) -> np.ndarray:
    """exp(S / 2^10)^(2^10) by its series."""
    small, total, term = s / 1024, np.eye(len(s)), np.eye(len(s))
    for k in range(1, 12):
        term = term @ small / k
        total = total + term
    for _ in range(10):
        total = total @ total
    return total


def slow(name: str, w: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Outputs (T, H) of one sequence x (T, F) from a state of 0, unit by unit."""
    h, c, out = np.zeros(H), np.zeros(H), []
    if name == "ornn":
        turn = series_expm(np.triu(w["a"], 1) - np.triu(w["a"], 1).T)
    for now in x:
        if name == "ornn":
            z = w["w_in"] @ now + h @ turn
            h = np.sign(z) * np.maximum(np.abs(z) + w["b"], 0)
        elif name == "torch_gru":  # blocks z, r, n
            a, b = w["w_ih"] @ now + w["b_ih"], w["w_hh"] @ h + w["b_hh"]
            z, r = sigmoid((a + b)[:H]), sigmoid((a + b)[H : 2 * H])
            h = (1 - z) * np.tanh(a[2 * H :] + r * b[2 * H :]) + z * h
        else:
            z = w["w_ih"] @ now + w["b_ih"] + w["w_hh"] @ h + w["b_hh"]
            if name == "torch_rnn":
                h = np.tanh(z)
            else:
                i, f, g, o = np.split(z, 4)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.stack(out)


def cell_of(name: str, units: int, **config: Any) -> Any:
    """The cell of a model, by its declaration."""
    one = trial(model=name, width=units, **config)
    assert one.model.cell is not None
    return loaded(one.model.cell)(units, one.config, one.sizes)


def drawn(cell: Any, features: int, seed: int) -> dict[str, np.ndarray]:
    """Weights of a cell, float64, drawn by NumPy in torch's range."""
    shapes = jax.eval_shape(lambda key: cell.init(key, features), jax.random.key(0))
    rng, most = np.random.default_rng([seed, 2]), cell.units**-0.5
    return {name: rng.uniform(-most, most, leaf.shape) for name, leaf in shapes.items()}


def test_stored_weights_of_a_gru_are_torchs_own(seed: int) -> None:
    """torch.nn.GRU's equations, whose gates are stacked r, z, n, on tensors as they are kept; and
    what is kept is read back to the bit."""
    data = {"task": "gaussian", "seq_len": T, "features": F, "classes": 3, "batch_size": 2}
    pack = Pack([trial(model="torch_gru", depth=2, width=H, seed=seed, **data)], {})
    pack.init()
    kept = pack.weights(0)
    x = np.random.default_rng(seed).normal(size=(1, T, F)).astype(np.float32)
    below = x[0].astype(np.float64)
    for layer in range(2):
        names = ("w_ih", "w_hh", "b_ih", "b_hh")
        w = {name: kept[f"rnn.{layer}.{name}"].astype(np.float64) for name in names}
        h, out = np.zeros(H), []
        for now in below:
            of_x, of_h = w["w_ih"] @ now + w["b_ih"], w["w_hh"] @ h + w["b_hh"]
            r, z = (sigmoid((of_x + of_h)[k * H : (k + 1) * H]) for k in (0, 1))
            h = (1 - z) * np.tanh(of_x[2 * H :] + r * of_h[2 * H :]) + z * h
            out.append(h)
        below = np.stack(out)
    want = below @ kept["readout.w"].T + kept["readout.b"]
    engine: Any = pack._engine
    state = jax.tree.map(lambda leaf: leaf[0], pack._state)
    found = engine.apply(state["params"], state["rest"], jnp.asarray(x), train=False)[0]
    np.testing.assert_allclose(found[0], want, rtol=1e-4, atol=1e-5)
    before = pack.state()
    pack.init({0: kept})
    after = pack.state()
    assert all(np.array_equal(before[path], after[path]) for path in before)


@pytest.mark.parametrize("name", MODELS)
def test_a_cell_and_its_gradients_are_those_of_a_loop(name: str, seed: int) -> None:
    cell, rng = cell_of(name, H), np.random.default_rng([seed, 1])
    w64, x = drawn(cell, F, seed), rng.normal(size=(T, F))
    with jax.enable_x64(True):
        w = {n: jnp.asarray(v) for n, v in w64.items()}

        def run(w: Any) -> jax.Array:
            ready: Any = cell.prepared(w) if isinstance(cell, OrthogonalCell) else w
            state, out = jnp.zeros((1, cell.state_size)), []
            for now in jnp.asarray(x):
                state = cell.advance(ready, state, cell.drive(ready, now[None]))
                out.append(cell.output(ready, state)[0])
            return jnp.stack(out)

        def loss(w: Any) -> tuple[jax.Array, jax.Array]:
            found = run(w)
            return jnp.sum(found**2), found

        plain = {n: np.asarray(v) for n, v in w.items()}
        (_, found), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(w)
        np.testing.assert_allclose(found, slow(name, plain, x), rtol=1e-6, atol=1e-12)
    for tensor, value in plain.items():
        direction = rng.normal(size=value.shape)
        step = 1e-6
        ends = [
            np.sum(slow(name, {**plain, tensor: value + sign * step * direction}, x) ** 2)
            for sign in (1, -1)
        ]
        want = (ends[0] - ends[1]) / (2 * step)
        got = np.sum(np.asarray(gradient[tensor]) * direction)
        assert got == pytest.approx(want, rel=1e-6, abs=1e-8), tensor


@pytest.mark.parametrize("name", MODELS)
def test_a_net_runs_its_cell_over_the_sequence(name: str) -> None:
    one = trial(model=name, width=H, seq_len=T, n_sequences=2, batch_size=2)
    net = network(one)
    state = jax.jit(lambda values: net.init(one, values))(lane_values(one))
    x = np.random.default_rng(3).normal(size=(2, T, 1)).astype(np.float32)
    apply = jax.jit(lambda params, rest, x: net.apply(params, rest, x, train=True)[0])
    outputs = apply(state["params"], state["rest"], x)
    named = {n: np.asarray(v, float) for n, v in net.layout.named(_leaves(state)).items()}
    w = {n.removeprefix("rnn.0."): v for n, v in named.items() if n.startswith("rnn")}
    if name == "torch_gru":  # named as torch stores them, r before z
        w = {n: reordered(v, (1, 0, 2)) for n, v in w.items()}
    for sample in range(2):
        h = slow(name, w, np.asarray(x[sample], float))
        want = h @ named["readout.w"][0] + named["readout.b"]
        np.testing.assert_allclose(outputs[sample, :, 0], want, atol=2e-5)


def _leaves(state: Any) -> dict[str, Any]:
    from trainables.core.layout import by_path

    return by_path(state["params"])


# ---- parameters (check 2) ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "config"),
    [
        (162_601, {"model": "torch_lstm"}),
        (40_601, {"model": "ornn"}),
        (122_001, {"model": "torch_gru"}),
        (40_801, {"model": "torch_rnn"}),
        (11_804, {"model": "torch_lstm", "task": "temporal_order", "width": 50}),
        (3_054, {"model": "ornn", "task": "temporal_order", "width": 50}),
        (58_404_478, {"model": "torch_lstm", "task": "word_lm", "width": 800}),
        (58_404_478 - 800 * 33_278,
         {"model": "torch_lstm", "task": "word_lm", "width": 800, "readout": "tied"}),
        (54_558_878, {"model": "ornn", "task": "word_lm", "width": 800}),
    ],
)  # fmt: skip
def test_parameters_are_as_published(count: int, config: Any) -> None:
    assert check_rows(trial(**config)) == count


def test_first_weights_are_torch_s(seed: int) -> None:
    one = trial(model="torch_lstm", width=64, task="word_lm", corpus="tiny", batch_size=10,
                seed=seed)  # fmt: skip
    net = network(one)
    state = net.init(one, jax.tree.map(jnp.asarray, lane_values(one)))
    found = net.layout.named(_leaves(state))
    for name, value in found.items():
        value = np.asarray(value)
        if name == "embedding.w":
            assert np.std(value) == pytest.approx(1, abs=0.06)
        else:
            assert np.abs(value).max() <= 1 / 8
            assert value.size < 60 or np.abs(value).max() > 0.9 / 8


# ---- orthogonal (check 10) ---------------------------------------------------------------------


@cache
def _matrix(units: int, transform: str) -> Any:
    """w -> orthogonal matrix, which does not depend on how w was drawn."""
    return jax.jit(OrthogonalCell(units, transform).matrix)


@pytest.mark.parametrize("name", [*ANGLES, "haar"])
@pytest.mark.parametrize("units", [6, 7])
def test_first_matrices_turn_by_their_angles(name: str, units: int, seed: int) -> None:
    transform = "cayley" if name == "cayley" else "expm"
    cell = OrthogonalCell(units, transform, name)
    w = cell.init(jax.random.key(seed), 2)
    turn = np.asarray(_matrix(units, transform)(w), float)
    assert np.abs(turn.T @ turn - np.eye(units)).max() < 1e-5
    assert np.linalg.det(turn) == pytest.approx(1, abs=1e-5)
    found = np.sort(np.abs(np.angle(np.linalg.eigvals(turn))))
    if name in ("henaff", "normal", "normal_squeeze"):
        own = np.abs(np.asarray(w["a"])[np.arange(0, units - 1, 2), np.arange(1, units, 2)])
        want = np.sort(np.concatenate([own, own, np.zeros(units % 2)]))
        np.testing.assert_allclose(found, want, atol=2e-3)
    if name == "cayley":
        assert found.max() < math.pi / 2
    if name == "normal_squeeze":
        assert found.max() < math.pi / 8


def test_haar_is_the_logarithm_of_the_matrix_it_draws(seed: int) -> None:
    from trainables.layers.orthogonal import _haar, _special_orthogonal

    key = jax.random.key(seed)
    with jax.enable_x64(True):
        drawn, log = jax.jit(lambda key: (_special_orthogonal(key, 8), _haar(key, 8)))(key)
        drawn, log = np.asarray(drawn), np.asarray(log)
    np.testing.assert_allclose(log, -log.T, atol=1e-5)
    np.testing.assert_allclose(series_expm(log), drawn, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["static", "dynamic", "cayley"])
def test_training_keeps_it_orthogonal(form: str) -> None:
    """200 steps, two re-basings: float32 allows 1e-5."""
    one = trial(model="ornn", orthogonal_map=form, width=12, seq_len=20, n_sequences=20,
                lr=1e-2, epochs=100)  # fmt: skip
    pack = Pack([one], {})
    pack.init()
    for epoch in range(100):
        pack.epoch(epoch)
    state = pack.state()
    a = next(v[0] for n, v in state.items() if n.startswith("params") and n.endswith("/a"))
    bases = [v[0] for n, v in state.items() if "bases" in n]
    assert len(bases) == (form == "dynamic")
    cell: Any = cell_of("ornn", 12, orthogonal_map=form)
    w = {"a": jnp.asarray(a), **({"base": jnp.asarray(bases[0])} if bases else {})}
    turn = np.asarray(cell.matrix(w))
    assert np.abs(turn.T @ turn - np.eye(12)).max() < 1e-5
    if bases:
        assert np.abs(bases[0] - np.eye(12)).max() > 0.01
        # 200 steps are two periods, the last of which has just ended.
        assert np.abs(a).max() == 0


def test_nothing_but_the_strict_upper_triangle_matters(seed: int) -> None:
    cell = OrthogonalCell(6)
    w = {n: jnp.asarray(v.astype(np.float32)) for n, v in drawn(cell, 2, seed).items()}
    mixed = np.random.default_rng(seed).normal(size=(6, 6)).astype(np.float32)
    gradient = jax.jit(jax.grad(lambda a: jnp.sum(cell.matrix({**w, "a": a}) * mixed)))(w["a"])
    assert np.all(np.asarray(gradient)[np.tril_indices(6)] == 0)
    assert np.all(np.asarray(gradient)[np.triu_indices(6, 1)] != 0)
    np.testing.assert_array_equal(skew(w["a"]), -skew(w["a"]).T)


def test_modrelu_is_contracting_only_without_positive_bias(seed: int) -> None:
    rng = np.random.default_rng(seed)
    z, other = rng.normal(size=(2, 10_000))
    for b, steep in ((-0.3, False), (0.0, False), (0.3, True)):
        ends = [np.asarray(modrelu(jnp.asarray(v), jnp.full(1, b))) for v in (z, other)]
        ratio = np.abs(ends[0] - ends[1]) / np.abs(z - other)
        assert bool(ratio.max() > 1.5) is steep
    small = jnp.array([-1e-6, 1e-6])
    jump = np.ptp(np.asarray(modrelu(small, jnp.full(1, 0.3))))
    assert jump == pytest.approx(0.6, abs=1e-5)
    assert float(modrelu(jnp.array([5.0]), jnp.full(1, 0.3))[0]) == pytest.approx(5.3)


# ---- stable (check 11) -------------------------------------------------------------------------


def gates(matrix: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip("ifgo", np.split(matrix, 4), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["column_exact", "row_project"])
def test_every_step_leaves_the_sums(rule: str) -> None:
    one = trial(model="torch_lstm", stabilize=rule, width=9, seq_len=20, n_sequences=10, lr=1e-2,
                epochs=4)  # fmt: skip
    pack = Pack([one], {})
    pack.init()
    for epoch in range(4):
        pack.epoch(epoch)
        w = pack.weights(0)
        recurrent, inputs = gates(w["rnn.0.w_hh"]), gates(w["rnn.0.w_ih"])
        bias = gates(w["rnn.0.b_ih"] + w["rnn.0.b_hh"])["f"]
        for gate, total in (("i", 0.395), ("f", 0.155), ("g", 0.099), ("o", 0.395)):
            if rule == "column_exact":
                np.testing.assert_allclose(np.abs(recurrent[gate]).sum(0), total, atol=1e-6)
            else:
                assert np.abs(recurrent[gate]).sum(1).max() <= total + 1e-6
        if rule == "column_exact":
            np.testing.assert_allclose(np.abs(inputs["f"]).sum(0), 0.25, atol=1e-6)
        else:
            assert np.abs(inputs["f"]).sum(1).max() <= 0.25 + 1e-6
            assert bias.max() <= 1e-7
            params = {n.removeprefix("rnn.0."): jnp.asarray(v) for n, v in w.items()}
            assert float(stable_lstm.certificate(params)) < 1


def test_a_certified_lstm_forgets_where_it_started(seed: int) -> None:
    cell = cell_of("torch_lstm", 12)
    w = {n: (3 * v).astype(np.float32) for n, v in drawn(cell, 1, seed).items()}
    w = jax.jit(lambda w: stable_lstm.stabilised(w, "row_project"))(w)
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        w = {n: jnp.asarray(np.asarray(v, float)) for n, v in w.items()}
        assert float(jax.jit(stable_lstm.certificate)(w)) < 1
        pair = jnp.asarray(rng.normal(size=(2, cell.state_size)))
        inputs = jnp.asarray(rng.uniform(-1, 1, size=(400, 1)))

        def step(pair: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            pair = cell.advance(w, pair, cell.drive(w, jnp.tile(x, (2, 1))))
            return pair, jnp.linalg.norm(pair[0] - pair[1])

        _, apart = jax.jit(lambda pair, inputs: jax.lax.scan(step, pair, inputs))(pair, inputs)
        apart = np.asarray(apart)
    assert float(apart[0]) > 0.1
    assert float(apart[-1]) < 1e-10


def test_the_certificate_is_the_theorem_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    w = {"w_ih": rng.normal(size=(12, 2)), "w_hh": 0.2 * rng.normal(size=(12, 3)),
         "b_ih": rng.normal(size=12), "b_hh": rng.normal(size=12)}  # fmt: skip
    rows = {g: np.abs(b).sum(1) for g, b in gates(w["w_hh"]).items()}
    from_input = np.abs(gates(w["w_ih"])["f"]).sum(1)
    left = 1 - sigmoid(rows["f"] + from_input + gates(w["b_ih"] + w["b_hh"])["f"]).max()
    want = max(rows["i"].max() / left, rows["o"].max() / left, 4 * rows["g"].max() / left,
               rows["f"].max() / left**2)  # fmt: skip
    found = jax.jit(stable_lstm.certificate)({n: v.astype(np.float32) for n, v in w.items()})
    assert float(found) == pytest.approx(want, rel=1e-5)


def test_a_stable_net_is_labelled_so() -> None:
    assert trial(model="torch_lstm").variants == {"variant": "LSTM"}
    assert trial(model="torch_lstm", stabilize="row_project").variants == {"variant": "sLSTM"}
    assert trial(model="EXPRNN").variants == {"variant": "oRNN"}
    assert not is_tied(trial(model="ornn", readout="tied").config, trial(model="ornn").sizes)


def test_only_a_net_with_a_rule_acts_after_steps() -> None:
    assert [
        network(trial(model="torch_lstm", width=4, stabilize=rule)).acts_after_steps
        for rule in ("none", "column_exact")
    ] == [False, True]
