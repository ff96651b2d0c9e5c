"""How far the residual LRU stack carries a change of its states on, through time and over depth.

docs/specs/herranz2023.md, 1.5. x^l_t is the state of layer l. Shapes: B samples, H units, S = 4 H
real numbers of state, L layers.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from trainables.core.random_keys import named_key
from trainables.layers.lru import GAMMAS, LruCell, Params, squared_modulus, times
from trainables.lsc import radius_loss
from trainables.models.residual_block import Block


def time_radius(cell: LruCell, w: Params) -> jax.Array:
    """Radius of d x_{t+1} / d x_t within a layer: the largest |eigenvalue|."""
    return jnp.sqrt(jnp.max(squared_modulus(cell.eigenvalues(w)), axis=-1))


def depth_jacobians(
    block: Block, lower: Params, upper: Params, a: jax.Array, y: jax.Array
) -> jax.Array:
    """Matrices (B, H, H) with the nonzero eigenvalues of d x^upper_{t+1} / d x^lower_t (B, S, S).

    That Jacobian is P M Q with Q = Re(C lambda .) of the lower layer, M = d u^upper / d y^lower,
    and P = gamma B of the upper one; its nonzero eigenvalues are those of M Q P, a quarter as wide.

    Args:
      a: (B, H) what the lower layer was given.
      y: (B, H) its unit's output.
    """

    def between(a: jax.Array, y: jax.Array) -> jax.Array:
        return block.read(upper, a + block.branch(lower, y))

    cell = block.cell
    gamma = GAMMAS[cell.gamma].read(cell.eigenvalues(upper), upper.get("gamma"))
    factors = times(cell.eigenvalues(lower), (gamma, jnp.zeros_like(gamma)))
    b = upper["b_re"], upper["b_im"]
    re, im = times((factors[0][:, None], factors[1][:, None]), b)
    through = lower["c_re"] @ re - lower["c_im"] @ im
    return jax.vmap(jax.jacfwd(between, argnums=1))(a, y) @ through


def gaussian_radii(
    block: Block, lower: Params, upper: Params, samples: int, key: jax.Array, estimate: str
) -> jax.Array:
    """Radii (B,) of d x^upper_{t+1} / d x^lower_t for inputs and last states from N(0, 1)."""
    cell = block.cell
    a = jax.random.normal(named_key(key, "input"), (samples, cell.width))
    state = jax.random.normal(named_key(key, "state"), (samples, cell.state_size))
    u = block.read(lower, a)
    y = cell.output(lower, cell.advance(lower, state, cell.drive(lower, u)), u)
    found = depth_jacobians(block, lower, upper, a, y)
    return radius_loss.departure(found, 1.0, named_key(key, "radius"), "radius", estimate)[1]
