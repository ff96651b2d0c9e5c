"""The stable LSTM: recurrent weights kept so small that the state forgets where it started.

docs/specs/ribeiro2020.md, 1.1; the sufficient condition is that of Miller and Hardt (arXiv
1805.10369, proposition 2): with f = sup |forget gate| < 1, the step is a contraction if

    |W_i|, |W_o| < 1 - f,   |W_g| < (1 - f) / 4,   |W_f| < (1 - f)^2,

norms being largest row sums and inputs bounded by 1. Tensors are those of `gated.LSTM` under the
torch scheme: gates i, f, g, o stacked along the first axis.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

Params = Mapping[str, jax.Array]

RECURRENT_SUMS = {"i": 0.395, "f": 0.155, "g": 0.099, "o": 0.395}
"""Absolute sums of each gate's recurrent block, as published."""
FORGET_INPUT_SUM = 0.25
"""The same of the forget gate's input weights: sigmoid(.155 + .25) = .59989 bounds the gate."""


def _gates(matrix: jax.Array) -> dict[str, jax.Array]:
    return dict(zip(RECURRENT_SUMS, jnp.split(matrix, 4), strict=True))


def _joined(blocks: dict[str, jax.Array]) -> jax.Array:
    return jnp.concatenate(list(blocks.values()))


def _brought_to(block: jax.Array, total: float, axis: int, only_down: bool) -> jax.Array:
    sums = jnp.sum(jnp.abs(block), axis, keepdims=True)
    factor = total / jnp.where(sums > 0, sums, total)  # a column of zeros stays one
    return block * (jnp.minimum(factor, 1) if only_down else factor)


def stabilised(params: Params, rule: str) -> dict[str, jax.Array]:
    """A layer's tensors after a step, made stable.

    Args:
      rule: "column_exact", as published: every column of a recurrent block, and of the forget
        gate's input weights, is scaled up or down to its sum; biases are free, so that nothing is
        guaranteed. "row_project": rows are scaled down to these sums where they exceed them, and
        the forget gate's bias (both vectors' sum) is brought down to 0, which the theorem needs.
    """
    exact = rule == "column_exact"
    axis, down = (0, False) if exact else (1, True)
    recurrent = {
        gate: _brought_to(block, RECURRENT_SUMS[gate], axis, down)
        for gate, block in _gates(params["w_hh"]).items()
    }
    inputs = _gates(params["w_ih"])
    inputs["f"] = _brought_to(inputs["f"], FORGET_INPUT_SUM, axis, down)
    found = {**params, "w_hh": _joined(recurrent), "w_ih": _joined(inputs)}
    if not exact:
        excess = jnp.maximum(_gates(params["b_ih"] + params["b_hh"])["f"], 0) / 2
        for name in ("b_ih", "b_hh"):
            bias = _gates(params[name])
            found[name] = _joined({**bias, "f": bias["f"] - excess})
    return found


def certificate(params: Params, largest_input: float = 1.0) -> jax.Array:
    """Largest ratio of a norm to what the theorem allows: below 1 the step is a contraction.

    Args:
      largest_input: bound of |x| entry by entry.

    Returns:
      The ratio; infinite where a forget gate may be 1 in the type's arithmetic.
    """
    rows = {gate: jnp.sum(jnp.abs(b), 1) for gate, b in _gates(params["w_hh"]).items()}
    from_input = jnp.sum(jnp.abs(_gates(params["w_ih"])["f"]), 1) * largest_input
    bias = _gates(params["b_ih"] + params["b_hh"])["f"]
    left = 1 - jnp.max(jax.nn.sigmoid(rows["f"] + from_input + bias))
    return jnp.max(
        jnp.stack(
            [
                jnp.max(rows["i"]) / left,
                jnp.max(rows["o"]) / left,
                4 * jnp.max(rows["g"]) / left,
                jnp.max(rows["f"]) / left**2,
            ]
        )
    )
