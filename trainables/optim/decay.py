"""Which parameters decay, and which are a linear recurrence's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from trainables.core.layout import by_path

_EIGENVALUES = {"nu", "theta", "lambda_re", "lambda_im", "modulus", "phase", "a"}
_INPUTS = {"gamma", "b", "b_re", "b_im"}


def recurrent_leaves(params: Any) -> Any:
    """A tree like `params`, True for eigenvalues or A, B and gamma of a linear recurrence: what
    lies beside eigenvalues, so that a bias called b elsewhere is none."""
    paths = [tuple(path.split("/")) for path in by_path(params)]
    layers = {path[:-1] for path in paths if path[-1] in _EIGENVALUES}
    names = _EIGENVALUES | _INPUTS
    marks = [path[:-1] in layers and path[-1] in names for path in paths]
    return jax.tree.unflatten(jax.tree.structure(params), marks)


def matrices(params: Any) -> Any:
    """A tree like `params`, True for matrices: neither biases, gains of norms, embeddings nor what
    a layer has one of for each unit.

    Biases and gains go by their names, since layers of ours are stacked, embeddings by `embed` in
    their path; a readout tied to the embedding is a matrix.
    """
    found, recurrent = [], by_path(recurrent_leaves(params))
    for path, leaf in by_path(params).items():
        *above, name = path.split("/")
        stacked = above == ["blocks"]
        vector = jax.numpy.ndim(leaf) - stacked < 2
        bias = name == "b" or (name.startswith("b_") and name not in ("b_re", "b_im"))
        bias = (bias and not recurrent[path]) or name.endswith(("bias", "scale"))
        found.append(not (vector or bias or "embed" in path.lower()))
    return jax.tree.unflatten(jax.tree.structure(params), found)


def decaying(config: Mapping[str, Any]) -> Callable[[Any], Any]:
    """params -> a tree like them of what decays, as `decay_on` says."""
    if config.get("decay_on", "all") == "matrices":
        return matrices
    return lambda params: jax.tree.map(lambda _: True, params)


def decayed(
    rule: optax.GradientTransformation,
    config: Mapping[str, Any],
    hparams: Mapping[str, jax.Array],
) -> optax.GradientTransformation:
    """w -= lr (rule + weight_decay w), without the second term where `decay_on` says so."""
    masked = config.get("decay_on", "all") != "all"
    return optax.chain(
        rule,
        optax.add_decayed_weights(hparams["weight_decay"], decaying(config) if masked else None),
        optax.scale_by_learning_rate(hparams["lr"]),
    )
