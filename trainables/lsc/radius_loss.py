"""Numbers of the Local Stability Condition: how far a one-step Jacobian stretches, and the rules
that bring that to a target.

docs/specs/herranz2023.md, 1.1 to 1.4: a network satisfies the condition when the spectral
radius of every transition derivative, averaged over samples, is its target. Jacobians here are
(..., rows, columns) = (..., units above, units below); their leading axes are samples.

Eigenvalues come from LAPACK on the host, on every platform: on a CPU as a call inside the compiled
program, on a GPU through a copy to the host and back. Both need the process environment of
`orchestrator.machine.environment`, without which several of them in one program can hang. No Python
runs in between, so programs stay cacheable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import linalg

_LAPACK = linalg.EigImplementation.LAPACK
_LOG_FLOOR = 1e-8
_DIRECTIONS = 16
"""Random directions of a penalty or of the norm `probes`."""


def _guarded(matrices: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Matrices with those that are not finite replaced by 0, since LAPACK may not end on them; and
    which are finite."""
    finite = jnp.all(jnp.isfinite(matrices), axis=(-2, -1))
    return jnp.where(finite[..., None, None], matrices, 0), finite


def _eig(matrices: jax.Array, vectors: bool) -> Any:
    return linalg.eig(
        matrices,
        compute_left_eigenvectors=vectors,
        compute_right_eigenvectors=vectors,
        implementation=_LAPACK,
    )


def eigenvalues(matrices: jax.Array) -> jax.Array:
    """Eigenvalues (..., n), complex, of real matrices (..., n, n); differentiable where they are
    distinct."""
    safe, finite = _guarded(matrices)
    (found,) = _eig(safe, False)
    return jnp.where(finite[..., None], found, jnp.nan)


@jax.custom_jvp
def spectral_radius(matrices: jax.Array) -> jax.Array:
    """max |eigenvalue| (...) of square matrices (..., n, n); NaN where one is not finite.

    Derivative: with the dominant eigenvalue z and its left and right eigenvectors l and r, scaled
    to l^T r = 1, d rho / dJ = Re(conj(z) / |z| l r^T); 0 for a radius of 0, and not finite where
    the dominant eigenvalue is defective.
    """
    return jnp.max(jnp.abs(eigenvalues(matrices)), axis=-1)


@spectral_radius.defjvp
def _spectral_radius_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    safe, finite = _guarded(primals[0])
    values, left, right = _eig(safe, True)
    radii = jnp.abs(values)
    at = jnp.argmax(radii, axis=-1)[..., None]
    value = jnp.take_along_axis(values, at, -1)
    radius = jnp.abs(value)
    # LAPACK's left vectors are conjugated: left^H J = z left^H.
    left, right = (jnp.take_along_axis(v, at[..., None], -1)[..., 0] for v in (left, right))
    left = jnp.conj(left)
    phase = jnp.where(radius > 0, jnp.conj(value) / jnp.where(radius > 0, radius, 1), 0)
    scale = phase / jnp.sum(left * right, axis=-1, keepdims=True)
    slope = jnp.real((scale * left)[..., :, None] * right[..., None, :])
    slope = jnp.where(radius[..., None] > 0, slope, 0)
    radius = jnp.where(finite, radius[..., 0], jnp.nan)
    return radius, jnp.sum(slope * tangents[0], axis=(-2, -1))


def growth_radius(
    apply: Callable[[jax.Array], jax.Array], start: jax.Array, steps: int = 64
) -> jax.Array:
    """Spectral radius of a linear map from how fast it stretches, for states too large for `eig`.

    Gelfand's formula with its constant cancelled: (|J^(2k) V| / |J^k V|)^(1/k), Frobenius norms,
    k = `steps`. Within 3 % of the exact radius for the Jacobians of this study (tested for n up to
    256 with eight directions); differentiable by `apply`'s own parameters.

    Args:
      apply: v -> J v, columns of v (..., n, p) being p vectors; a matrix product, or a
        Jacobian-vector product where J is never formed.
      start: V (..., n, p), random. Several columns even out the swing of a complex pair.

    Returns:
      (...) radii.
    """

    def unit(v: jax.Array) -> tuple[jax.Array, jax.Array]:
        # The floor, far below any radius of interest, keeps the derivative at 0 finite.
        size = jnp.sqrt(jnp.maximum(jnp.sum(v * v, axis=(-2, -1), keepdims=True), 1e-30))
        return v / size, jnp.log(size[..., 0, 0])

    def step(v: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        return unit(apply(v))

    v, _ = unit(start)
    _, growth = lax.scan(step, v, length=2 * steps)
    return jnp.exp(jnp.mean(growth[steps:], axis=0))


def power_radius(
    matrices: jax.Array, key: jax.Array, directions: int = 8, steps: int = 64
) -> jax.Array:
    """`growth_radius` of square matrices (..., n, n) from random directions."""
    start = jax.random.normal(key, (*matrices.shape[:-1], directions), matrices.dtype)
    return growth_radius(lambda v: matrices @ v, start, steps)


def square(jacobians: jax.Array, key: jax.Array) -> jax.Array:
    """Jacobians made square: a random subset of the longer axis, in order, one for all samples."""
    rows, columns = jacobians.shape[-2:]
    if rows == columns:
        return jacobians
    longer, shorter = max(rows, columns), min(rows, columns)
    kept = jnp.sort(jax.random.permutation(key, longer)[:shorter])
    return jnp.take(jacobians, kept, axis=-2 if rows > columns else -1)


def _unit_directions(key: jax.Array, size: int) -> jax.Array:
    z = jax.random.normal(key, (_DIRECTIONS, size))
    return z / jnp.linalg.norm(z, axis=-1, keepdims=True)


def _indefinite(jacobians: jax.Array, key: jax.Array) -> jax.Array:
    """Penalty (scalar) for directions z with z^T J z < 0."""
    z = _unit_directions(key, jacobians.shape[-1])
    return jnp.mean(jax.nn.relu(-jnp.einsum("...ij,sj,si->...s", jacobians, z, z))) / 4


def departure(
    jacobians: jax.Array, target: Any, key: jax.Array, norm: str = "radius", estimate: str = "exact"
) -> tuple[jax.Array, jax.Array]:
    """The loss a pretraining descends, and the norms it is made of (section 1.2).

    Args:
      jacobians: (B, rows, columns).
      target: what each norm should be.
      key: subset of the longer axis, random directions.
      norm: radius; logradius: 1 + log of it; supnpsd: 1 + sum log |eigenvalue|, and a penalty for
        directions with z^T J z < 0; supsubnpsd: real parts of all eigenvalues, that penalty and one
        for imaginary parts; entrywise: the Frobenius norm; induced_1, induced_2, induced_inf; or
        probes: the largest |J x| / |x| of 16 random x. Only the first four need a square matrix.
      estimate: of the radius and its logarithm: exact, or power for `power_radius`.

    Returns:
      Mean over samples of (norm - target)^2 plus penalties, and the absolute norms (B,).

    Raises:
      ValueError: unknown norm.
    """
    choose, draw = jax.random.split(key)
    penalty = jnp.float32(0)
    if norm in ("radius", "logradius"):
        found = square(jacobians, choose)
        found = power_radius(found, draw) if estimate == "power" else spectral_radius(found)
        if norm == "logradius":
            found = jnp.log(found + _LOG_FLOOR) + 1
    elif norm == "supnpsd":
        jacobians = square(jacobians, choose)
        penalty = _indefinite(jacobians, draw)
        found = jnp.sum(jnp.log(_LOG_FLOOR + jnp.abs(eigenvalues(jacobians))), axis=-1) + 1
    elif norm == "supsubnpsd":
        jacobians = square(jacobians, choose)
        values = eigenvalues(jacobians)
        penalty = _indefinite(jacobians, draw) + jnp.mean(jnp.abs(jnp.imag(values))) / 4
        found = jnp.real(values)
    elif norm == "probes":
        x = _unit_directions(draw, jacobians.shape[-1])
        found = jnp.max(jnp.linalg.norm(jacobians @ x.T, axis=-2), axis=-1)
    elif norm in _ORDERS:
        found = jnp.linalg.norm(jacobians, ord=_ORDERS[norm], axis=(-2, -1))
    else:
        raise ValueError(f"unknown norm {norm!r}")
    loss = jnp.mean(jnp.square(found - target)) + penalty
    return loss, jnp.abs(found) if found.ndim == 1 else jnp.mean(jnp.abs(found), axis=-1)


_ORDERS: Any = {"entrywise": "fro", "induced_1": 1, "induced_2": 2, "induced_inf": jnp.inf}


def targets(balance: str, target: Any, length: int, depth: int) -> tuple[Any, Any]:
    """Target radii of steps through time and over depth.

    Both `target`, or for "unbalanced" T / (L + T) and L / (L + T): the bound on the sum over all
    paths is (rho_t + rho_l)^n, and these make the far corner of the grid its largest term.
    """
    if balance == "unbalanced":
        return length / (depth + length), depth / (depth + length)
    return target, target


def multiplier(
    target: Any, found: jax.Array, low: float = 0.85, high: float = 1.15, rescue: Any = None
) -> jax.Array:
    """Factor of a weight whose radius was `found`: target / found, clipped to low..high.

    `rescue`, where given, is the upper clip of radii below .5. A radius that is not finite leaves
    the weight alone.
    """
    top = high if rescue is None else jnp.where(found < 0.5, rescue, high)
    factor = jnp.clip(target / jnp.maximum(found, jnp.finfo(jnp.float32).tiny), low, top)
    return jnp.where(jnp.isfinite(found), factor, 1.0)


def expected_radius(weight: jax.Array, fan: int, axis: tuple[int, ...] | None = None) -> jax.Array:
    """std(W) sqrt(fan): the radius a matrix of independent entries would have at size `fan`."""
    return jnp.std(weight, axis=axis) * jnp.sqrt(jnp.float32(fan))


def permuted(key: jax.Array, tensor: jax.Array, stacked: int = 0) -> jax.Array:
    """A tensor's entries in random order; each entry of the first `stacked` axes on its own.

    Words of random high bits and the position as low bits are sorted, five times as fast as
    `jax.random.permutation`. Two entries whose random bits agree (one pair in 2^18 of 16,384
    entries) keep their order.
    """
    rows = tensor.reshape(*tensor.shape[:stacked], -1)
    count = rows.shape[-1]
    low = max(count - 1, 1).bit_length()
    if low > 20:
        return jax.random.permutation(key, rows, -1, independent=True).reshape(tensor.shape)
    mask = jnp.uint32((1 << low) - 1)
    words = (jax.random.bits(key, rows.shape) & ~mask) | jnp.arange(count, dtype=jnp.uint32)
    order = (jnp.sort(words, axis=-1) & mask).astype(jnp.int32)
    return jnp.take_along_axis(rows, order, axis=-1).reshape(tensor.shape)


def all_finite(tree: Any) -> jax.Array:
    """Whether no leaf holds an infinity or a NaN."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


Record = dict[str, jax.Array]


def new_record() -> Record:
    """What a pretraining remembers of its iterations: moving averages `mean` of the radius, NaN
    before the first, and `spread` of its squared distance from target (or variance over kinds),
    from 1; the distance of the `best` weights saved; counts of `saves`, of `skipped` steps, of
    iterations `unsaved` since a save, and of those `inside`, near the target, in a row."""
    counts = ("saves", "skipped", "unsaved", "inside")
    return {
        "mean": jnp.float32(jnp.nan),
        "spread": jnp.float32(1),
        "best": jnp.float32(jnp.inf),
        **{name: jnp.int32(0) for name in counts},
    }


def averaged(record: Record, radius: jax.Array, spread: jax.Array, window: float) -> Record:
    """`record` after one more iteration; averages have time constant `window`, in iterations.

    An iteration whose radius or spread is not finite is left out.
    """
    fine = jnp.isfinite(radius) & jnp.isfinite(spread)

    def moved(old: jax.Array, new: jax.Array) -> jax.Array:
        new = jnp.where(jnp.isnan(old), new, old + (new - old) / window)
        return jnp.where(fine, new, old)

    mean, spread = moved(record["mean"], radius), moved(record["spread"], spread)
    return {**record, "mean": mean, "spread": spread}


def allowed_spread(record: Record, first: Any, later: float = 0.1) -> jax.Array:
    """The spread below which weights may be saved: `first`, and `later` after two saves."""
    return jnp.where(record["saves"] >= 2, later, first)


def save_best(record: Record, distance: jax.Array, first: Any) -> tuple[Record, jax.Array]:
    """Whether weights at this distance from the target are the best so far, with small spread."""
    better = (distance < record["best"]) & (record["spread"] < allowed_spread(record, first))
    return {
        **record,
        "best": jnp.where(better, distance, record["best"]),
        "saves": record["saves"] + better,
        "unsaved": jnp.where(better, 0, record["unsaved"] + 1),
    }, better


def count_inside(record: Record, inside: jax.Array, first: Any) -> Record:
    """`record` with the iterations in a row that were near the target, with small spread."""
    inside = inside & (record["spread"] < allowed_spread(record, first))
    return {**record, "inside": jnp.where(inside, record["inside"] + 1, 0)}
