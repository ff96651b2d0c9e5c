"""What residual stacks start from: their dense maps, and the recurrent layers of some models.

Shapes: H features, N units.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from trainables.core.random_keys import named_key
from trainables.layers.block_linear import BlockCell
from trainables.layers.chrono_gru import ChronoGRU
from trainables.layers.eigenvalue_init import diagonal_tensors
from trainables.layers.glorot_init import spectrum, state_matrix, storable
from trainables.layers.lru import GAMMAS, SPECTRA, LruCell, Params, polar, ring

Init = Callable[[jax.Array], Params]
"""Key -> tensors of a recurrent layer by name."""
Law = Callable[[jax.Array, str, Mapping[str, tuple[int, int]]], Params]
"""(key, name of a group of matrices, their shapes (out, in) by name) -> the matrices by name."""

_CUT_SD = 0.87962566103423978
"""Standard deviation of N(0, 1) cut off at 2."""


def each(initializer: Callable[..., jax.Array]) -> Law:
    """Every matrix by this initializer, from the key of its own name."""
    return lambda key, group, shapes: {
        name: initializer(named_key(key, name), shape) for name, shape in shapes.items()
    }


def cut_lecun(key: jax.Array, group: str, shapes: Mapping[str, tuple[int, int]]) -> Params:
    """A `Law`: variance 1/in, normal and cut off at two standard deviations."""
    drawn = _cut(lambda key, shape: jax.random.truncated_normal(key, -2, 2, shape),
                 named_key(key, group), list(shapes.values()))  # fmt: skip
    scaled = [m / (_CUT_SD * math.sqrt(m.shape[1])) for m in drawn]
    return dict(zip(shapes, scaled, strict=True))


def _cut(
    draw: Callable[..., jax.Array], key: jax.Array, shapes: Sequence[tuple[int, ...]]
) -> list[jax.Array]:
    """Independent arrays of one law. One draw for all, since each costs a second to compile."""
    ends = list(itertools.accumulate(map(math.prod, shapes)))
    flat = jnp.split(draw(key, (ends[-1],)), ends[:-1])
    return [part.reshape(shape) for part, shape in zip(flat, shapes, strict=True)]


def of_memory(config: Mapping[str, Any]) -> tuple[LruCell | ChronoGRU, Init]:
    """The layer of model `deep_recurrent`.

    A memory of t time steps is a ring of moduli [1 - 1/t, 1 - 1/(2t)] for `lru` and `complex` (an
    LRU with a learned gamma, and a complex diagonal layer without one), and T in [t, 2t] for `gru`.
    """
    width, memory = config["width"], config["memory"]
    if config["deep_cell"] == "gru":
        gru, scales = ChronoGRU(width), (config["scale_x"], config["scale_h"])
        times = memory, 2 * memory
        return gru, lambda key: gru.init(named_key(key, "layer"), width, times, *scales)
    form = ("exp", "log") if config["deep_cell"] == "lru" else ("cartesian", "none")
    shape, bounds = (width, width, width), (1 - 1 / memory, 1 - 1 / (2 * memory), jnp.pi)

    def init(key: jax.Array) -> Params:
        return diagonal_tensors(named_key(key, "layer"), shape, *form, bounds)

    return LruCell(width, width, *form), init


def for_long_sequences(config: Mapping[str, Any]) -> tuple[LruCell | BlockCell, Init]:
    """The layer of models `deep_lru`, `deep_linear_rnn` and `deep_diagonal_rnn`.

    B has entries of variance 1/H, real and imaginary part together; C of an LRU 1/N in each part,
    of the others 1/N; D is N(0, 1). A real C reads the real part.
    """
    h, n = int(config["d_model"]), int(config["width"])
    if config["model"] == "deep_linear_rnn":
        cell, first = BlockCell(n, 1, h), _first_matrix
        drives, parts = ["b"], [""]
    else:
        gamma = "log" if config.get("lru_gamma") == "learned" else "none"
        cell, first = LruCell(h, n, config.get("lru_param", "cartesian"), gamma), _first_spectrum
        drives, parts = (
            ["b_re", "b_im"],
            ["_re", "_im"] if config["model"] == "deep_lru" else ["_re"],
        )
    reads = [f"{c}{p}" for c in ("c", "c_back")[: 1 + config["bidirectional"]] for p in parts]
    laws = dict.fromkeys(drives, ((n, h), math.sqrt(len(drives) * h)))
    laws |= dict.fromkeys(reads, ((h, n), math.sqrt(n))) | {"d": ((h,), 1.0)}

    def init(key: jax.Array) -> Params:
        key = named_key(key, "recurrence")
        tensors = first(named_key(key, "a"), config, cell)
        values = _cut(jax.random.normal, named_key(key, "maps"), [s for s, _ in laws.values()])
        return tensors | {name: v / laws[name][1] for name, v in zip(laws, values, strict=True)}

    return cell, init


def _first_matrix(key: jax.Array, config: Mapping[str, Any], cell: Any) -> Params:
    return {"a": state_matrix(key, cell.hidden, config["init"], config["edge_offset"])[None]}


def _first_spectrum(key: jax.Array, config: Mapping[str, Any], cell: Any) -> Params:
    if config["init"] == "ring":
        bounds = config["r_min"], config["r_max"], config["max_phase"]
        lam = polar(*ring(key, cell.hidden, "area", *bounds))
    else:
        lam = spectrum(key, cell.hidden, config["init"], config["edge_offset"])
    if config["model"] == "deep_diagonal_rnn":
        return dict(zip(("lambda_re", "lambda_im"), lam, strict=True))
    modulus, phase = storable(lam)
    stored, start = SPECTRA[cell.spectrum], GAMMAS[cell.gamma].start
    tensors = dict(zip(stored.names, stored.store(modulus, phase), strict=True))
    return tensors if start is None else {**tensors, "gamma": start(polar(modulus, phase))}
