"""The probe `hessian`: the first eigenvectors of the Hessian of a network's loss, by Lanczos.

No Hessian is written out: a step of Lanczos needs the product of the Hessian with a vector, which
costs some three gradients. Every new vector is made orthogonal to all earlier ones, twice, since in
float32 the plain recurrence finds eigenvalues over and over again. Shapes are suffixed: P weights,
M steps, K eigenvectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from trainables.core.derivatives import Field, along
from trainables.core.engine import Engine, Measure, SharedColumns, State
from trainables.core.layout import by_path
from trainables.core.random_keys import named_key, trial_key
from trainables.declarations import Trial
from trainables.declarations.probes.hessian import top_of
from trainables.tasks.base import probe_batch
from trainables.training.epoch import Training


def steps_for(top: int, weights: int) -> int:
    """Lanczos steps for a number of eigenvectors: three for each and 30, at most one a weight."""
    return min(weights, 3 * top + 30)


def lanczos(product: Field, start_P: jax.Array, top: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The eigenvalues of a symmetric matrix that are the largest in size.

    Args:
      product: v -> H v.
      start_P: any vector that is orthogonal to no eigenvector.
      top: how many, K; at most P.

    Returns:
      Eigenvalues (K,), largest in size first, unit eigenvectors (K, P), and |H v - eigenvalue v|
      of each, (K,).
    """
    count, size = steps_for(top, start_P.size), start_P.size
    top = min(top, size)

    def orthogonal(w: jax.Array, basis_MP: jax.Array) -> jax.Array:
        for _ in range(2):
            w = w - basis_MP.T @ (basis_MP @ w)
        return w

    def step(carry: Any, index: jax.Array) -> tuple[Any, jax.Array]:
        basis_MP, v_P = carry
        basis_MP = basis_MP.at[index].set(v_P)
        turned = product(v_P)
        left = orthogonal(turned, basis_MP)
        length = jnp.linalg.norm(left)
        # Where nothing new is left, zeros: they add eigenvalues of 0 and no others.
        scale = jnp.maximum(jnp.linalg.norm(turned), jnp.finfo(left.dtype).tiny)
        new = jnp.where(length > 1e-6 * scale, left / jnp.maximum(length, 1e-30), 0.0)
        return (basis_MP, new), turned

    first = start_P / jnp.linalg.norm(start_P)
    empty = jnp.zeros((count, size), start_P.dtype)
    (basis_MP, _), turned_MP = lax.scan(step, (empty, first), jnp.arange(count))
    small_MM = basis_MP @ turned_MP.T
    values_M, turns_MM = jnp.linalg.eigh((small_MM + small_MM.T) / 2)
    order_K = jnp.argsort(-jnp.abs(values_M))[:top]
    found_K = values_M[order_K]
    vectors_KP = turns_MM[:, order_K].T @ basis_MP
    residual_KP = turns_MM[:, order_K].T @ turned_MP - found_K[:, None] * vectors_KP
    return found_K, vectors_KP, jnp.linalg.norm(residual_KP, axis=1)


def hessian(engine: Engine, trial: Trial) -> tuple[SharedColumns, Measure] | None:
    """Builds the probe, for training; rows are tensors by rank."""
    if not isinstance(engine, Training) or engine.layout is None:
        return None
    engine, slots = engine.in_float32(), engine.layout.slots
    top = top_of(trial.config)
    shared: dict[str, np.ndarray] = {}  # filled while `measure` is traced, which knows the shapes

    def measure(state: State, values: Mapping[str, jax.Array], data: Any) -> dict[str, jax.Array]:
        batch = probe_batch(engine.task, values, data)
        at, shaped = ravel_pytree(state["params"])

        def loss(flat: jax.Array) -> jax.Array:
            return engine.loss(shaped(flat), state["rest"], batch)[0]

        key = named_key(trial_key(values["seed"]), "hessian")
        start = jax.random.normal(key, at.shape, at.dtype)
        found, vectors, residual = lanczos(lambda v: along(jax.grad(loss), at, v), start, top)

        def shares(vector: jax.Array) -> jax.Array:
            leaves = by_path(shaped(vector))
            own = (leaves[s.path] if s.index is None else leaves[s.path][s.index] for s in slots)
            return jnp.stack([jnp.sum(leaf**2) for leaf in own])

        count, tensors = len(found), len(slots)
        shared.update(
            rank=np.repeat(np.arange(count, dtype=np.int32), tensors),
            layer=np.tile(np.array([s.layer for s in slots], np.int32), count),
            layer_name=np.tile(np.array([s.layer_name for s in slots], object), count),
            tensor=np.tile(np.array([s.tensor for s in slots], object), count),
        )
        spread = 1 / jnp.maximum(jnp.sum(vectors**4, 1), jnp.finfo(at.dtype).tiny)
        columns = {"eigenvalue": found, "residual": residual, "participation": spread}
        return {
            **{name: jnp.repeat(column, tensors) for name, column in columns.items()},
            "share": jax.vmap(shares)(vectors).reshape(-1),
        }

    return shared, measure
