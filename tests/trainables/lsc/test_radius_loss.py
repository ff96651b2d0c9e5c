"""Radii, norms and rules of the Local Stability Condition, against NumPy
(docs/specs/herranz2023.md, check 3)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainables.lsc import radius_loss


def _gaussian(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)


def _radius(matrix: np.ndarray) -> float:
    return float(np.abs(np.linalg.eigvals(matrix.astype(np.float64))).max())


def _slope(matrix: np.ndarray, direction: np.ndarray, step: float = 1e-5) -> float:
    """Central difference of the radius in float64."""
    there, back = (matrix.astype(np.float64) + s * step * direction for s in (1, -1))
    return (_radius_64(there) - _radius_64(back)) / (2 * step)


def _radius_64(matrix: np.ndarray) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def test_exact_radius_of_a_batch(seed):
    matrices = _gaussian(np.random.default_rng(seed), 4, 128, 128)
    found = jax.jit(radius_loss.spectral_radius)(matrices)
    np.testing.assert_allclose(found, [_radius(m) for m in matrices], rtol=1e-4)


@pytest.mark.parametrize("n", [3, 40])
def test_derivative_of_the_radius(seed, n):
    """Against central differences, in reverse and in forward mode, for complex and real pairs."""
    rng = np.random.default_rng([seed, n])
    plain = _gaussian(rng, 3, n, n)
    matrices = np.concatenate([plain, plain[:1] + plain[:1].swapaxes(1, 2)])
    direction = _gaussian(rng, *matrices.shape)
    want = [_slope(m, d) for m, d in zip(matrices, direction, strict=True)]

    @jax.jit
    def both(matrices: jax.Array, direction: jax.Array) -> Any:
        gradient = jax.grad(lambda m: jnp.sum(radius_loss.spectral_radius(m)))(matrices)
        return gradient, jax.jvp(radius_loss.spectral_radius, (matrices,), (direction,))[1]

    gradient, forward = both(matrices, direction)
    reverse = np.sum(np.asarray(gradient) * direction, (1, 2))
    scale = np.linalg.norm(gradient, axis=(1, 2)) * np.linalg.norm(direction, axis=(1, 2))
    assert (np.abs(reverse - want) < 1e-2 * scale).all()
    assert (np.abs(forward - reverse) < 1e-4 * scale).all()


def test_derivative_formula(seed):
    """Re(conj(z)/|z| l r^T) with l^T r = 1, the left vector from NumPy's inverse."""
    best, slope = np.inf, jax.jit(jax.grad(radius_loss.spectral_radius))
    for matrix in _gaussian(np.random.default_rng(seed), 8, 12, 12):
        values, right = np.linalg.eig(matrix.astype(np.float64))
        at = np.argmax(np.abs(values))
        left = np.linalg.inv(right)[at]
        want = np.real(np.conj(values[at]) / abs(values[at]) * np.outer(left, right[:, at]))
        found = slope(matrix)
        best = min(best, np.linalg.norm(found - want) / np.linalg.norm(want))
        assert np.linalg.norm(found - want) < 0.02 * np.linalg.norm(want)
    assert best < 1e-4


def test_many_radii_in_one_program_neither_hang_nor_crawl(seed):
    """Six eigendecompositions side by side, differentiated, as in a pretraining of two layers: they
    end, and each is done once, the derivative using the same one as the value."""
    rng = np.random.default_rng(seed)
    matrices = [_gaussian(rng, 4, n, n) for n in (94, 64, 94, 128, 64, 10)]

    @jax.jit
    def step(matrices: Any) -> Any:
        def loss(matrices: Any) -> jax.Array:
            radii = [radius_loss.spectral_radius(m) for m in matrices]
            return jnp.mean(jnp.stack([jnp.mean((r - 1) ** 2) for r in radii]))

        return jax.value_and_grad(loss)(matrices)

    program = step.lower(matrices).compile()
    assert (program.as_text() or "").count('custom_call_target="lapack_sgeev') == len(matrices)
    value, gradients = program(matrices)
    want = [np.mean([(_radius(m) - 1) ** 2 for m in batch]) for batch in matrices]
    assert float(value) == pytest.approx(np.mean(want), rel=1e-3)
    assert all(np.isfinite(g).all() for g in gradients)


def test_lanes_do_not_change_a_radius(seed):
    matrices = _gaussian(np.random.default_rng(seed), 3, 2, 20, 20)
    together = np.asarray(jax.jit(jax.vmap(radius_loss.spectral_radius))(matrices))
    alone = np.stack([np.asarray(jax.jit(radius_loss.spectral_radius)(m)) for m in matrices])
    assert np.array_equal(together, alone)


def test_radius_at_the_edges():
    both = jax.jit(jax.value_and_grad(radius_loss.spectral_radius))
    value, slope = both(jnp.zeros((2, 2)))
    assert float(value) == 0
    assert not np.asarray(slope).any()
    bad = np.stack([np.eye(2), np.full((2, 2), np.nan), np.full((2, 2), np.inf)])
    radii = jax.jit(radius_loss.spectral_radius)(bad.astype(np.float32))
    assert np.isnan(radii).tolist() == [False, True, True]
    value, slope = both(jnp.array([[0.0, -2.0], [2.0, 0.0]]))
    assert float(value) == pytest.approx(2)
    np.testing.assert_allclose(slope, [[0, -0.5], [0.5, 0]], atol=1e-6)
    # A defective eigenvalue has no derivative: the step is to be skipped, not taken.
    _, defective = both(jnp.array([[1.0, 1.0], [0.0, 1.0]]))
    assert not np.isfinite(defective).all() or np.abs(defective).max() > 1e3


def test_radius_of_glorot_matrices():
    """Mean 1.045 +- .03 over 20 matrices of 128, spread .032."""
    draw = jax.nn.initializers.glorot_normal()

    @jax.jit
    def found(keys: jax.Array) -> jax.Array:
        return radius_loss.spectral_radius(jax.vmap(lambda key: draw(key, (128, 128)))(keys))

    radii = np.asarray(found(jax.vmap(jax.random.key)(np.arange(20))))
    assert radii.mean() == pytest.approx(1.045, abs=0.03)
    assert 0.015 < radii.std() < 0.06


def test_a_sigmoid_layer_cannot_reach_a_quarter(seed):
    """Recurrent radius at initialisation, orthogonal U: at most max sigma' = 1/4."""
    n = 128
    w = _gaussian(np.random.default_rng(seed), n, 40)
    x = _gaussian(np.random.default_rng(seed + 1), 4, 40)

    @jax.jit
    def found(key: jax.Array) -> Any:
        u = jax.nn.initializers.orthogonal()(key, (n, n))

        def advance(h: jax.Array, x: jax.Array) -> jax.Array:
            return jax.nn.sigmoid(w @ x + u @ h)

        jacobians = jax.vmap(jax.jacrev(advance), (None, 0))(jnp.zeros(n), x)
        return u, radius_loss.spectral_radius(jacobians)

    u, radii = map(np.asarray, found(jax.random.key(seed)))
    assert (radii <= 0.25).all()
    assert (radii > 0.2).all()
    z = x @ w.T
    slopes = np.exp(-z) / (1 + np.exp(-z)) ** 2
    want = [_radius(s[:, None] * u) for s in slopes]
    np.testing.assert_allclose(radii, want, rtol=1e-3)


# ---- estimate ------------------------------------------------------------------------------------


def _large_states(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Jacobians like those of the study: masked, gated, orthogonal, two-part states."""
    w, half = _gaussian(rng, n, n), n // 2
    q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    gates = np.diag(rng.uniform(0.4, 0.7, half))
    lstm = [[0.5 * w[:half, :half], np.diag(rng.random(half))], [0.25 * w[half:, half:], gates]]
    slow = np.diag(0.99 + 0.003 * rng.normal(size=half))
    alif = [[slow, 0.3 * np.eye(half)], [0.3 * w[:half, half:], np.zeros((half, half))]]
    return {
        "dense": w,
        "relu": (rng.random(n) > 0.5)[:, None] * w,
        "sigmoid": 0.25 * rng.random(n)[:, None] * q,
        "gru": np.diag(rng.random(n)) + 0.3 * w,
        "symmetric": (w + w.T) / 2,
        "lstm": np.block(lstm),
        "alif": np.block(alif),
    }


@pytest.mark.parametrize("n", [32, 128, 256])
def test_power_estimate_is_within_three_percent(seed, n):
    cases = _large_states(np.random.default_rng([seed, n]), n)
    matrices = np.stack([m.astype(np.float32) for m in cases.values()])
    found = np.asarray(jax.jit(radius_loss.power_radius)(matrices, jax.random.key(seed)))
    want = np.array([_radius(m) for m in matrices])
    assert (np.abs(found / want - 1) < 0.03).all(), dict(zip(cases, found / want, strict=True))


def test_power_estimate_descends_to_the_target(seed):
    """Its derivative points along the exact one where one eigenvalue dominates, and following it
    brings the exact radius to the target."""
    rng = np.random.default_rng(seed)
    matrix = 0.3 * _gaussian(rng, 40, 40)
    matrix[0, 0] = 1.5
    exact = np.asarray(jax.jit(jax.grad(radius_loss.spectral_radius))(matrix)).ravel()
    key = jax.random.key(seed)
    found = np.asarray(jax.jit(jax.grad(radius_loss.power_radius))(matrix, key)).ravel()
    assert found @ exact / np.linalg.norm(found) / np.linalg.norm(exact) > 0.999

    matrices = jnp.asarray(_gaussian(rng, 2, 40, 40))

    def step(t: jax.Array, matrices: jax.Array) -> jax.Array:
        def loss(m: jax.Array) -> jax.Array:
            return radius_loss.departure(m, 0.5, jax.random.fold_in(key, t), estimate="power")[0]

        return matrices - 0.1 * jax.grad(loss)(matrices)

    matrices = jax.jit(lambda m: jax.lax.fori_loop(0, 300, step, m))(matrices)
    assert [_radius(np.asarray(m)) for m in matrices] == pytest.approx([0.5] * 2, rel=0.1)


def test_power_estimate_needs_no_matrix(seed):
    """Through Jacobian-vector products of a step, one sample at a time."""
    w = jnp.asarray(_gaussian(np.random.default_rng(seed), 64, 64))
    x = jnp.asarray(_gaussian(np.random.default_rng(seed + 1), 64))

    def advance(h: jax.Array) -> jax.Array:
        return jnp.tanh(w @ h)

    def apply(v: jax.Array) -> jax.Array:
        return jax.vmap(lambda one: jax.jvp(advance, (x,), (one,))[1], 1, 1)(v)

    start = np.random.default_rng(seed + 2).normal(size=(64, 8)).astype(np.float32)
    found = float(jax.jit(lambda v: radius_loss.growth_radius(apply, v))(start))
    slopes = 1 - np.tanh(np.asarray(w) @ np.asarray(x)) ** 2
    assert found == pytest.approx(_radius(slopes[:, None] * np.asarray(w)), rel=0.03)


# ---- norms ---------------------------------------------------------------------------------------

_departure = jax.jit(radius_loss.departure, static_argnums=3)


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5)])
def test_subset_is_square_sorted_and_shared(seed, shape):
    rows, columns = np.indices(shape)
    labelled = np.stack([10.0 * rows + columns] * 3).astype(np.float32)
    keys = jax.vmap(jax.random.key)(seed + np.arange(30))
    found, *others = np.asarray(jax.jit(jax.vmap(radius_loss.square, (None, 0)))(labelled, keys))
    size = min(shape)
    assert found.shape == (3, size, size)
    assert (found == found[0]).all()
    for axis, kept in ((1, found[0, :, 0] // 10), (2, found[0, 0] % 10)):
        assert (np.diff(kept) > 0).all() or size == 1
        if shape[axis - 1] == size:
            assert kept.tolist() == list(range(size))
    drawn = {other[0].tobytes() for other in others}
    assert len(drawn) == 1 if shape[0] == shape[1] else len(drawn) > 5


def test_radius_of_a_non_square_jacobian_is_that_of_its_subset(seed):
    jacobians = _gaussian(np.random.default_rng(seed), 2, 9, 6)
    key = jax.random.key(seed)
    loss, norms = _departure(jacobians, 0.7, key)
    subset = np.asarray(jax.jit(radius_loss.square)(jacobians, jax.random.split(key)[0]))
    want = np.array([_radius(m) for m in subset])
    np.testing.assert_allclose(norms, want, rtol=1e-4)
    assert float(loss) == pytest.approx(np.mean((want - 0.7) ** 2), rel=1e-4)


@pytest.mark.parametrize(
    ("norm", "reference"),
    [
        ("entrywise", lambda m: np.sqrt((m**2).sum())),
        ("induced_1", lambda m: np.abs(m).sum(0).max()),
        ("induced_2", lambda m: np.linalg.svd(m)[1][0]),
        ("induced_inf", lambda m: np.abs(m).sum(1).max()),
    ],
)
def test_norms_of_any_shape(seed, norm, reference):
    jacobians = _gaussian(np.random.default_rng(seed), 3, 8, 5)
    loss, found = _departure(jacobians, 1.0, jax.random.key(0), norm)
    want = np.array([reference(m.astype(np.float64)) for m in jacobians])
    np.testing.assert_allclose(found, want, rtol=1e-5)
    assert float(loss) == pytest.approx(np.mean((want - 1) ** 2), rel=1e-4)


def test_norms_of_eigenvalues(seed):
    jacobians = _gaussian(np.random.default_rng(seed), 3, 6, 6)
    key = jax.random.key(seed)
    values = np.linalg.eigvals(jacobians.astype(np.float64))

    def departure(norm: str) -> tuple[float, np.ndarray]:
        loss, norms = _departure(jacobians, 1.0, key, norm)
        return float(loss), np.asarray(norms)

    log_radius = np.log(np.abs(values).max(1)) + 1
    np.testing.assert_allclose(departure("logradius")[1], np.abs(log_radius), rtol=1e-4, atol=1e-5)
    z = np.asarray(radius_loss._unit_directions(jax.random.split(key)[1], 6), np.float64)
    curvature = np.einsum("bij,sj,si->bs", jacobians, z, z)
    indefinite = np.maximum(-curvature, 0).mean() / 4
    volume = np.log(np.abs(np.linalg.det(jacobians.astype(np.float64)))) + 1
    loss, norms = departure("supnpsd")
    np.testing.assert_allclose(norms, np.abs(volume), rtol=1e-3, atol=1e-4)
    assert loss == pytest.approx(np.mean((volume - 1) ** 2) + indefinite, rel=1e-3)
    loss, norms = departure("supsubnpsd")
    np.testing.assert_allclose(norms, np.abs(values.real).mean(1), rtol=1e-3)
    turning = np.abs(values.imag).mean() / 4
    assert loss == pytest.approx(np.mean((values.real - 1) ** 2) + indefinite + turning, rel=1e-3)
    _, norms = departure("probes")
    assert (norms <= np.linalg.svd(jacobians)[1][:, 0] * (1 + 1e-5)).all()
    assert (norms >= np.linalg.norm(jacobians @ z.T, axis=1).max(1) * (1 - 1e-5)).all()


@pytest.mark.parametrize(
    "norm",
    ["radius", "logradius", "supnpsd", "supsubnpsd", "entrywise", "induced_1", "induced_2",
     "induced_inf", "probes"],
)  # fmt: skip
def test_every_norm_can_be_descended(seed, norm):
    jacobians = jnp.asarray(_gaussian(np.random.default_rng(seed), 2, 6, 4))
    key = jax.random.key(seed)

    def loss(jacobians: jax.Array) -> jax.Array:
        return radius_loss.departure(jacobians, 1.0, key, norm)[0]

    both = jax.jit(jax.value_and_grad(loss))
    value, gradient = both(jacobians)
    assert np.isfinite(gradient).all()
    assert float(both(jacobians - 1e-3 * gradient)[0]) < float(value)


def test_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="spectral"):
        radius_loss.departure(jnp.eye(2)[None], 1.0, jax.random.key(0), "spectral")


# ---- rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "time_", "over"), [(3, 0.9901, 0.0099), (6, 0.9804, 0.0196)])
def test_unbalanced_targets(depth, time_, over):
    assert radius_loss.targets("unbalanced", 0.5, 300, depth) == pytest.approx(
        (time_, over), abs=5e-5
    )
    assert radius_loss.targets("equal", 0.5, 300, depth) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("target", "found", "rescue", "want"),
    [
        (1.0, 1.1, None, 1 / 1.1),
        (1.0, 2.0, None, 0.85),
        (1.0, 0.6, None, 1.15),
        (1.0, 0.4, 3.0, 2.5),
        (1.0, 0.1, 3.0, 3.0),
        (1.0, 0.6, 3.0, 1.15),
        (0.5, 0.4, None, 1.15),
        (1.0, 0.0, None, 1.15),
        (1.0, np.nan, None, 1.0),
        (1.0, np.inf, None, 1.0),
    ],
)
def test_multiplier(target, found, rescue, want):
    factor = radius_loss.multiplier(target, jnp.float32(found), rescue=rescue)
    assert float(factor) == pytest.approx(want, rel=1e-6)


def test_permutation_keeps_each_tensors_entries(seed):
    tensor = jnp.arange(60.0).reshape(3, 4, 5)
    permuted = jax.jit(radius_loss.permuted, static_argnums=2)
    for stacked in (0, 1):
        found = np.asarray(permuted(jax.random.key(seed), tensor, stacked))
        assert found.shape == tensor.shape
        assert not np.array_equal(found, tensor)
        kept = np.sort(found.reshape(3, -1), 1) if stacked else np.sort(found, None).reshape(3, -1)
        assert np.array_equal(kept, np.asarray(tensor).reshape(3, -1))
    order = [found[i].argsort(axis=None).tobytes() for i in range(3)]
    assert len(set(order)) == 3


def test_expected_radius(seed):
    weights = _gaussian(np.random.default_rng(seed), 3, 128, 128)
    found = np.asarray(jax.jit(lambda w: radius_loss.expected_radius(w, 128, (1, 2)))(weights))
    np.testing.assert_allclose(found, weights.std((1, 2)) * np.sqrt(128), rtol=1e-5)
    assert found == pytest.approx([_radius(w) for w in weights], rel=0.15)


def test_bookkeeping_against_a_written_out_loop(seed):
    """Averages, saves, the tightened spread and the count of steps near the target."""
    rng = np.random.default_rng(seed)
    radii = 1 + 0.5 * np.exp(-np.arange(200) / 40) + 0.05 * rng.normal(size=200)
    radii[50] = np.nan

    @jax.jit
    def told(record: radius_loss.Record, radius: jax.Array) -> Any:
        record = radius_loss.averaged(record, radius, jnp.square(radius - 1), 31)
        distance = jnp.abs(record["mean"] - 1)
        record, saved = radius_loss.save_best(record, distance, 0.4)
        return radius_loss.count_inside(record, distance < 0.1, 0.4), saved

    record = radius_loss.new_record()
    mean, spread, best, saves, inside = None, 1.0, np.inf, 0, 0
    for radius in radii:
        square = (radius - 1) ** 2
        if np.isfinite(radius):
            mean = radius if mean is None else mean * 30 / 31 + radius / 31
            spread = spread * 30 / 31 + square / 31
        assert mean is not None
        better = abs(mean - 1) < best and spread < (0.1 if saves >= 2 else 0.4)
        best = abs(mean - 1) if better else best
        saves += better
        near = abs(mean - 1) < 0.1 and spread < (0.1 if saves >= 2 else 0.4)
        inside = inside + 1 if near else 0

        record, saved = told(record, np.float32(radius))
        assert bool(saved) == better
        assert int(record["inside"]) == inside
        assert float(record["mean"]) == pytest.approx(mean, rel=1e-4)
        assert float(record["spread"]) == pytest.approx(spread, rel=1e-4)
    assert int(record["saves"]) == saves > 2


def test_finiteness_of_a_tree():
    tree = {"a": jnp.ones(3), "b": [jnp.zeros((2, 2))]}
    assert radius_loss.all_finite(tree)
    assert not radius_loss.all_finite({**tree, "c": jnp.array([1.0, jnp.nan])})
