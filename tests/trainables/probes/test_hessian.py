"""The probe `hessian`: Lanczos against dense eigenvectors, and on a trained network against the
Hessian written out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from trainables.declarations import builtin_registry
from trainables.packs.pack import Pack
from trainables.probes.hessian import lanczos
from trainables.tasks.base import probe_batch
from trainables.training.epoch import Training


@pytest.mark.parametrize("size", [6, 200])
def test_lanczos_finds_the_largest_in_size(size, seed):
    rng = np.random.default_rng([seed, size])
    q = np.linalg.qr(rng.normal(size=(size, size)))[0]
    spectrum = 100 * 0.7 ** np.arange(size) * rng.choice([-1, 1], size)
    h = jnp.asarray(q @ np.diag(spectrum) @ q.T, jnp.float32)
    run = jax.jit(lambda start: lanczos(lambda v: h @ v, start, 5))
    values, vectors, residual = run(jnp.asarray(rng.normal(size=size), jnp.float32))
    assert np.asarray(values) == pytest.approx(spectrum[:5], rel=1e-4)
    assert np.abs(np.asarray(vectors) @ q[:, :5]) == pytest.approx(np.eye(5), abs=2e-3)
    assert np.asarray(residual).max() < 1e-2


def test_lanczos_ends_where_a_matrix_has_few_directions(seed):
    """Of rank 2 in 40 dimensions: the rest are 0, and nothing is divided by nothing."""
    a = np.random.default_rng(seed).normal(size=(40, 2))
    h = jnp.asarray(a @ a.T, jnp.float32)
    values, vectors, _ = lanczos(lambda v: h @ v, jnp.ones(40) + jnp.arange(40.0), 4)
    want = np.linalg.eigvalsh(a.T @ a)[::-1]
    assert np.asarray(values[:2]) == pytest.approx(want, rel=1e-4)
    assert np.abs(np.asarray(values[2:])).max() < 1e-3 * want[0]
    assert np.isfinite(np.asarray(vectors)).all()


@pytest.mark.slow
def test_of_a_network_it_is_that_of_its_loss():
    config = {"task": "teacher_student", "model": "lru", "min_nu": 0.9, "seq_len": 20, "width": 3,
              "batch_size": 5, "steps_per_epoch": 4, "optimizer": "adam", "lr": 1e-2, "epochs": 2,
              "hessian_top": 4}  # fmt: skip
    trial = builtin_registry().resolve(config)
    pack = Pack([trial], {})
    pack.init()
    rows = pack.probe("hessian")
    assert rows is not None
    engine = pack._engine
    assert isinstance(engine, Training)
    state, values = (jax.tree.map(lambda x: x[0], t) for t in (pack._state, pack._values))
    at, shaped = ravel_pytree(state["params"])
    batch = probe_batch(engine.task, values, {})
    whole = jax.hessian(lambda p: engine.loss(shaped(p), state["rest"], batch)[0])(at)
    found, vectors = np.linalg.eigh(np.asarray(whole, np.float64))
    order = np.argsort(-np.abs(found))[:4]
    tensors = len(set(rows["tensor"].tolist()))
    shown = rows["eigenvalue"][0].reshape(4, tensors)
    assert shown[:, 0] == pytest.approx(found[order], rel=1e-3)
    assert (shown == shown[:, :1]).all()
    assert rows["rank"].reshape(4, tensors)[:, 0].tolist() == [0, 1, 2, 3]
    first = vectors[:, order[0]]
    spread = 1 / np.sum(first**4)
    assert rows["participation"][0, 0] == pytest.approx(spread, rel=1e-2)
    pieces = jax.tree.leaves(shaped(jnp.asarray(first**2, at.dtype)))
    shares = rows["share"][0].reshape(4, tensors)
    assert shares.sum(1) == pytest.approx(np.ones(4), rel=1e-4)
    own = sorted(float(piece.sum()) for piece in pieces)
    assert sorted(shares[0]) == pytest.approx(own, abs=1e-3)
