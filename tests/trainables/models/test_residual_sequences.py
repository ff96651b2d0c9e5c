"""Deep linear recurrent networks: shapes, forms, masks, gradients
(docs/specs/bar2025.md, checks 4, 7 and 8)."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.support.small_trials import check_rows, module_of, tensors_of
from trainables.core.hparams import build_config, lane_values
from trainables.declarations import Sizes, Trial, builtin_registry
from trainables.layers.block_linear import BlockCell
from trainables.layers.lru import GAMMAS, LruCell, polar, ring, scanned
from trainables.models.residual_block import Norm, responses
from trainables.models.residual_start import for_long_sequences

MODELS = ("deep_lru", "deep_linear_rnn", "deep_diagonal_rnn")
SMALL = {"depth": 2, "width": 6, "d_model": 4, "seq_len": 9, "features": 3, "classes": 3,
         "task": "gaussian", "batch_size": 5, "optimizer": "adamw_groups"}  # fmt: skip


def trial(model: str, **config: Any) -> Trial:
    return builtin_registry().resolve({**SMALL, "model": model, **config})


def net_of(one: Trial, seed: int, sizes: Sizes | None = None) -> Any:
    return module_of(one, sizes, seed)


@pytest.mark.parametrize(
    ("model", "depth", "task", "h", "n", "count"),
    [
        ("diag-rnn", 6, "scifar", 512, 384, 6_711_818),
        ("diag-rnn", 6, "listops", 256, 192, 1_689_098),
        ("diag-rnn", 6, "imdb", 192, 256, 1_362_434),
        ("deep_lru", 4, "smnist", 256, 128, 1_058_314),
        ("deep_lru", 6, "scifar", 512, 384, 7_893_770),
    ],
)
def test_published_parameter_counts(model, depth, task, h, n, count):
    one = builtin_registry().resolve(
        {"model": model, "task": task, "depth": depth, "d_model": h, "d_hidden": n}
    )
    assert check_rows(one) == count


def test_parameter_counts_at_drawn_sizes(seed):
    """Sections 1.1 to 1.3, per layer: 3N + 4NH + H, N^2 + 2NH + H, 2N + 3NH + H."""
    rng = np.random.default_rng(seed)
    for _ in range(10):
        h, n = (int(v) for v in rng.integers(1, 300, 2))
        counts = {"deep_lru": 3 * n + 4 * n * h + h, "deep_linear_rnn": n * n + 2 * n * h + h,
                  "deep_diagonal_rnn": 2 * n + 3 * n * h + h}  # fmt: skip
        for model, count in counts.items():
            one = trial(model, width=n, d_model=h)
            others = ("w_", "norm_", "b_value", "b_gate")
            own = [t for t in tensors_of(one) if t[0] == 1 and not t[2].startswith(others)]
            assert sum(math.prod(shape) for _, _, _, shape in own) == count


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("config", [{}, {"bidirectional": True, "norm": "none"}])
def test_declared_rows_are_the_real_ones(model, config):
    check_rows(trial(model, **config))


# ---- recurrences ---------------------------------------------------------------------------------


def cell_of(model: str, seed: int, h: int = 5, n: int = 8, **config: Any) -> tuple[Any, Any]:
    one = trial(model, width=n, d_model=h, **config)
    values = {k: jnp.asarray(v) for k, v in lane_values(one).items()}
    cell, init = for_long_sequences(build_config(one, values))
    return cell, jax.jit(init)(jax.random.key(seed))


def answered(cell: Any, w: Any, u: Any) -> np.ndarray:
    """Responses step by step."""
    return np.asarray(jax.jit(lambda w, u: responses(cell, "scan", w, u, None, None))(w, u))


run = nnx.jit(lambda net, x: net(x))


def plain(cell: Any, w: dict[str, Any], u: np.ndarray) -> np.ndarray:
    """y_t = Re(C h_t) + D u_t in complex128, step by step."""
    v = {name: np.asarray(leaf, np.float64) for name, leaf in w.items()}
    if isinstance(cell, BlockCell):
        a, b, c, back = v["a"][0], v["b"], v["c"], v.get("c_back")
    else:
        re, im = (np.asarray(part, np.float64) for part in cell.eigenvalues(w))
        a, b = np.diag(re + 1j * im), v["b_re"] + 1j * v["b_im"]
        b = np.exp(v["gamma"])[:, None] * b if "gamma" in v else b
        c = v["c_re"] + 1j * v["c_im"] if "c_im" in v else v["c_re"]
        back = v["c_back_re"] + 1j * v.get("c_back_im", 0) if "c_back_re" in v else None
    found = np.zeros((len(u), *u.shape[1:]))
    for order, readout in ((range(len(u)), c), (range(len(u) - 1, -1, -1), back)):
        if readout is None:
            continue
        h = np.zeros((u.shape[1], a.shape[0]), a.dtype)
        for t in order:
            h = h @ a.T + u[t] @ b.T
            found[t] += np.real(h @ readout.T)
    return found + v["d"] * u


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.slow
def test_recurrences_are_the_plain_loop_in_both_forms(model, both, seed):
    cell, w = cell_of(model, seed, bidirectional=both)
    u = np.random.default_rng(seed).normal(size=(17, 3, 5)).astype(np.float32)
    want = plain(cell, w, u)
    for mode in ("scan", "associative"):
        y = np.asarray(responses(cell, mode, w, jnp.asarray(u), None, None))
        np.testing.assert_allclose(y, want, atol=2e-5 * np.abs(want).max())


def test_reversing_the_input_of_a_bidirectional_layer_swaps_its_readouts(seed):
    cell, w = cell_of("deep_diagonal_rnn", seed, bidirectional=True)
    swapped = {**w, "c_re": w["c_back_re"], "c_back_re": w["c_re"]}
    u = np.random.default_rng(seed).normal(size=(11, 2, 5)).astype(np.float32)
    one, other = answered(cell, w, u), answered(cell, swapped, u[::-1])[::-1]
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_causality(model, seed):
    cell, w = cell_of(model, seed)
    u = np.random.default_rng(seed).normal(size=(12, 2, 5)).astype(np.float32)
    changed, s = u.copy(), 1 + seed % 10
    changed[s] += 1
    one, other = answered(cell, w, u), answered(cell, w, changed)
    np.testing.assert_array_equal(one[:s], other[:s])
    assert np.abs(one[s:] - other[s:]).max() > 0.01


def test_a_dense_recurrence_is_the_diagonal_one_of_its_eigenvalues(seed):
    """A = P diag(l) P^-1, B' = P^-1 B, C' = C P, in float64 to 1e-8."""
    rng = np.random.default_rng(seed)
    n, h = int(rng.integers(2, 25)), 3
    with jax.enable_x64(True):
        a = rng.normal(size=(n, n)) / np.sqrt(n)
        lam, p = np.linalg.eig(a)
        b, c, d = rng.normal(size=(n, h)), rng.normal(size=(h, n)), rng.normal(size=h)
        b2, c2 = np.linalg.inv(p) @ b, c @ p
        dense = {"a": a[None], "b": b, "c": c, "d": d}
        diagonal = {"lambda_re": np.real(lam), "lambda_im": np.imag(lam), "b_re": b2.real,
                    "b_im": b2.imag, "c_re": c2.real, "c_im": c2.imag, "d": d}  # fmt: skip
        u = rng.normal(size=(30, 2, h))
        cells = BlockCell(n, 1, h), LruCell(h, n, "cartesian", "none")
        one, other = (
            answered(cell, w, u) for cell, w in zip(cells, (dense, diagonal), strict=True)
        )
        assert one.dtype == np.float64
        scale = np.abs(one).max()
        np.testing.assert_allclose(one, other, atol=1e-8 * scale)


# ---- the ring and gamma --------------------------------------------------------------------------


def test_the_ring_is_uniform_over_its_area(seed):
    r_min, r_max, phase, n = 0.4, 0.9, 3.14, 2000
    cell, w = cell_of("deep_lru", seed, n=n, r_min=r_min, r_max=r_max, max_phase=phase)
    lam = cell.eigenvalues(w)
    radius2 = (np.asarray(lam[0]) ** 2 + np.asarray(lam[1]) ** 2 - r_min**2) / (r_max**2 - r_min**2)
    angle = (np.arctan2(lam[1], lam[0]) % (2 * np.pi)) / phase
    for share in (radius2, angle):
        assert np.abs(np.sort(share) - np.arange(1, n + 1) / n).max() < 1.95 / n**0.5
    assert abs(np.corrcoef(radius2, angle)[0, 1]) < 4 / n**0.5
    gain = np.mean(1 / (1 - np.asarray(lam[0]) ** 2 - np.asarray(lam[1]) ** 2))
    want = np.log((1 - r_min**2) / (1 - r_max**2)) / (r_max**2 - r_min**2)
    assert want == pytest.approx(2.2867, abs=1e-3)
    assert gain == pytest.approx(want, rel=0.05)
    assert np.std(np.asarray(w["b_re"])) * (2 * 5) ** 0.5 == pytest.approx(1, abs=0.05)
    assert np.std(np.asarray(w["c_im"])) * n**0.5 == pytest.approx(1, abs=0.05)


def test_gamma_keeps_the_state_s_variance_at_one(seed):
    """E|h|^2 = 1 of each unit for unit white input, over 8 / (1 - r_max) steps."""
    r_max, units, samples = 0.9, 64, 400
    start = GAMMAS["log"].start
    assert start is not None
    steps = round(8 / (1 - r_max))

    @jax.jit
    def found(key: jax.Array) -> Any:
        modulus, phase = ring(key, units, "area", 0.3, r_max, 6.28)
        lam = polar(modulus, phase)
        gamma = jnp.exp(start(lam))
        drawn = jax.random.normal(jax.random.fold_in(key, 1), (2, steps, samples, units))
        re, im = scanned(lam, (gamma * drawn[0] / 2**0.5, gamma * drawn[1] / 2**0.5))
        return modulus, gamma, jnp.mean(re[-1] ** 2 + im[-1] ** 2, 0)

    modulus, gamma, energy = map(np.asarray, found(jax.random.key(seed)))
    assert energy.mean() == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(gamma**2, 1 - modulus**2, rtol=1e-5)


@pytest.mark.parametrize(
    ("length", "radius"),
    [
        (784, 0.9),
        pytest.param(1024, 0.99, marks=pytest.mark.slow),
        pytest.param(2048, 0.999, marks=pytest.mark.slow),
    ],
)
def test_scan_is_the_sequence_and_the_convolution(length, radius, seed):
    """Relative to float64: scan and associative scan 2e-5; convolution 2e-3, in float64 1e-10."""
    rng = np.random.default_rng(seed)
    theta = rng.uniform(0, 2 * np.pi, 4)
    lam = radius * np.exp(1j * theta)
    x = rng.normal(size=(length, 4)) + 1j * rng.normal(size=(length, 4))
    want, h = np.zeros_like(x), np.zeros(4, complex)
    for t in range(length):
        h = lam * h + x[t]
        want[t] = h
    scale = np.abs(want).max()
    pair = jnp.asarray(lam.real, jnp.float32), jnp.asarray(lam.imag, jnp.float32)
    # The float32 eigenvalue is the one all forms have to follow.
    exact = np.asarray(pair[0], np.float64) + 1j * np.asarray(pair[1], np.float64)
    h = np.zeros(4, complex)
    for t in range(length):
        h = exact * h + x[t]
        want[t] = h
    drive = jnp.asarray(x.real, jnp.float32), jnp.asarray(x.imag, jnp.float32)
    cell = LruCell(4, 4, "cartesian", "none")
    for mode in ("scan", "associative"):
        stepped = jax.jit(lambda w, u, mode=mode: cell.states(w, u, mode))
        w = {"lambda_re": pair[0], "lambda_im": pair[1]}
        flat = np.asarray(stepped(w, np.concatenate(drive, -1)))
        y = flat[:, :4] + 1j * flat[:, 4:]
        assert np.abs(y - want).max() < 2e-5 * scale
    kernel = exact[None] ** np.arange(length)[:, None]
    size = 2 * length
    by_fft = np.fft.ifft(np.fft.fft(kernel, size, 0) * np.fft.fft(x, size, 0), axis=0)[:length]
    assert np.abs(by_fft - want).max() < 1e-10 * scale
    single = (np.exp(1j * np.arange(length, dtype=np.float32)[:, None]
                     * theta.astype(np.float32)) * np.float32(radius)
              ** np.arange(length, dtype=np.float32)[:, None]).astype(np.complex64)  # fmt: skip
    by_fft = np.fft.ifft(np.fft.fft(single, size, 0) * np.fft.fft(x, size, 0), axis=0)[:length]
    assert np.abs(by_fft - want).max() < 2e-3 * scale


# ---- blocks, masks, evaluation -------------------------------------------------------------------


def test_a_gathered_token_is_the_dense_map_of_its_unit_vector(seed):
    one = trial("deep_lru")
    tokens = Sizes(7, 11, 3, 4, 0, 0, 4, tokens=True)
    net = net_of(one, seed, tokens)
    x = jnp.asarray(np.random.default_rng(seed).integers(0, 11, (4, 7)), jnp.int32)
    encoded, mask = net.embed(x.T), net._mask(x)
    w = net.values("encoder")
    hot = jax.nn.one_hot(x.T, 11) @ w["w"] + w["bias"]
    np.testing.assert_allclose(encoded, hot, atol=1e-6)
    assert mask is None


@pytest.mark.parametrize(("pooling", "both"), [("mean", True), ("last", False)])
def test_padding_changes_nothing_where_it_is_masked(pooling, both, seed):
    one = trial("deep_diagonal_rnn", pooling=pooling, bidirectional=both, width=6)
    sizes = Sizes(12, 11, 3, 4, 0, 0, 4, tokens=True, padded=True)
    net = net_of(one, seed, sizes)
    net.eval()
    short = jnp.asarray(np.random.default_rng(seed).integers(1, 11, (4, 7)), jnp.int32)
    long = jnp.pad(short, ((0, 0), (0, 5)))
    np.testing.assert_allclose(run(net, short), run(net, long), atol=2e-6)
    unmasked = net_of(trial("deep_diagonal_rnn", pooling=pooling, bidirectional=both, width=6,
                            masked=False), seed, sizes)  # fmt: skip
    unmasked.eval()
    assert np.abs(np.asarray(run(unmasked, short)) - run(unmasked, long)).max() > 1e-3


def test_batch_norm_counts_what_is_no_padding(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(2.0, 3.0, (6, 4, 5)).astype(np.float32)
    mask = (rng.random((6, 4, 1)) < 0.6).astype(np.float32)
    w = {"norm_scale": jnp.ones(5), "norm_bias": jnp.zeros(5)}
    moments = jnp.stack([jnp.zeros(5), jnp.ones(5)])
    batch, layer = (Norm(kind, e, running=True) for kind, e in (("batch", 1e-5), ("layer", 1e-6)))
    norm = jax.jit(lambda *args: batch(*args[:4], training=True))
    y, new = norm(w, x, moments, mask)
    kept = np.asarray(y)[mask[..., 0] > 0]
    np.testing.assert_allclose(kept.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(kept.var(0), 1, atol=1e-3)
    real = x[mask[..., 0] > 0]
    np.testing.assert_allclose(new[0], 0.01 * real.mean(0), rtol=1e-4)
    np.testing.assert_allclose(new[1], 0.99 + 0.01 * real.var(0), rtol=1e-4)
    still, same = jax.jit(batch)(w, x, new)
    want = (x - np.asarray(new[0])) / np.sqrt(np.asarray(new[1]) + 1e-5)
    np.testing.assert_allclose(still, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(same, new)
    flat, _ = jax.jit(layer)(w, x, moments)
    np.testing.assert_allclose(np.asarray(flat).mean(-1), 0, atol=1e-5)


def test_training_moves_running_moments_and_evaluation_does_not(seed):
    net = net_of(trial("deep_lru", dropout=0.5), seed)
    x = jnp.asarray(np.random.default_rng(seed).normal(size=(5, 9, 3)), jnp.float32)
    before = np.asarray(net.moments[...])
    net.train()
    one, other = run(net, x), run(net, x)
    assert np.abs(np.asarray(one) - other).max() > 0  # dropout draws anew
    moved = np.asarray(net.moments[...])
    assert (moved != before).all()
    net.eval()
    np.testing.assert_array_equal(run(net, x), run(net, x))
    np.testing.assert_array_equal(np.asarray(net.moments[...]), moved)


def test_a_block_is_its_formula(seed):
    """Post-norm, layer norm, one layer, against NumPy in float64."""
    one = trial(
        "deep_linear_rnn", depth=1, norm="layer", prenorm=False, pooling="none", dropout=0.0
    )
    net = net_of(one, seed)
    x = np.random.default_rng(seed).normal(size=(2, 9, 3)).astype(np.float32)
    w = {n: np.asarray(v[0], np.float64) for n, v in net.blocks.values().items()}
    below, above = ({n: np.asarray(v, np.float64) for n, v in part.items()}
                    for part in map(net.values, ("encoder", "decoder")))  # fmt: skip
    a = x.swapaxes(0, 1) @ below["w"].T + below["bias"]
    y = plain(net.block.cell, w, a)
    y = y * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))
    gate = 1 / (1 + np.exp(-(y @ w["w_gate"].T + w["b_gate"])))
    a = a + gate * (y @ w["w_value"].T + w["b_value"])
    a = (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-6)
    want = (a @ above["w"].T + above["bias"]).swapaxes(0, 1)
    np.testing.assert_allclose(run(net, x), want, atol=2e-5)


def test_two_texts_are_compared_by_product_and_difference(seed):
    """Each text runs alone through the same blocks; padding is no part of its mean."""
    one = builtin_registry().resolve(
        {"model": "deep_lru", "task": "aan", "depth": 2, "d_model": 4, "width": 6, "seq_len": 9,
         "norm": "layer", "dropout": 0.0, "batch_size": 3}
    )  # fmt: skip
    assert check_rows(one) == 2 * (3 * 6 + 4 * 6 * 4 + 4 + 8 + 40) + 98 * 4 + 4 + 2 * 16 + 2
    net = net_of(one, seed)
    rng = np.random.default_rng(seed)
    x = rng.integers(1, 98, (3, 2, 9))
    x[0, 1, 5:] = 0
    logits, outs = nnx.jit(lambda net, x: net.watched(x, lambda w, flow: flow.out))(net, x)
    top = np.asarray(outs[-1], np.float64).reshape(9, 3, 2, 4)
    kept = (x != 0).transpose(2, 0, 1)[..., None]
    a, b = np.moveaxis((top * kept).sum(0) / kept.sum(0), 1, 0)
    w = {n: np.asarray(v, np.float64) for n, v in net.values("decoder").items()}
    want = np.concatenate([a, b, a * b, a - b], -1) @ w["w"].T + w["bias"]
    np.testing.assert_allclose(logits, want, atol=1e-5)
    _, alone = nnx.jit(lambda net, x: net.watched(x, lambda w, flow: flow.out))(net, x[::-1, ::-1])
    np.testing.assert_allclose(
        np.asarray(alone[-1]).reshape(9, 3, 2, 4)[:, ::-1, ::-1], top, atol=1e-5
    )


# ---- gradients -----------------------------------------------------------------------------------


def test_complex_parts_descend_where_complex_leaves_would_not(seed):
    """|a - (.3 + .5i)|^2 by Adam: below 1e-6 in 200 steps; and differences."""
    import optax

    from trainables.optim.adam import adamw_groups

    rule = adamw_groups({}, {"lr": jnp.float32(1e-2), "lr_factor": jnp.float32(1.0),
                             "weight_decay": jnp.float32(0.0)})  # fmt: skip

    def loss(w: Any) -> jax.Array:
        return (w["lambda_re"] - 0.3) ** 2 + (w["lambda_im"] - 0.5) ** 2

    w = {"lambda_re": jnp.float32(0.0), "lambda_im": jnp.float32(0.0)}

    @jax.jit
    def run(w: Any) -> Any:
        def step(carry: Any, _: None) -> Any:
            w, state = carry
            update, state = rule.update(jax.grad(loss)(w), state, w)
            return (optax.apply_updates(w, update), state), None

        return jax.lax.scan(step, (w, rule.init(w)), None, length=200)[0][0]

    assert float(loss(run(w))) < 1e-6
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        cell = LruCell(3, 4, "cartesian", "none")
        shapes = {"lambda_re": 4, "lambda_im": 4, "b_re": (4, 3), "b_im": (4, 3), "c_re": (3, 4),
                  "d": 3}  # fmt: skip
        w = {n: jnp.asarray(0.4 * rng.normal(size=s)) for n, s in shapes.items()}
        u = jnp.asarray(rng.normal(size=(8, 2, 3)))

        def value(w: Any) -> jax.Array:
            return jnp.sum(responses(cell, "scan", w, u, None, None) ** 2)

        both = jax.jit(jax.value_and_grad(value))
        _, slopes = both(w)
        for name in shapes:
            way = jnp.asarray(rng.normal(size=w[name].shape))
            ends = [both({**w, name: w[name] + e * 1e-6 * way})[0] for e in (1, -1)]
            want = float(ends[0] - ends[1]) / 2e-6
            assert float(jnp.vdot(slopes[name], way)) == pytest.approx(want, rel=1e-6)
