"""Masks and groups of parameters by their paths."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradsweep
from trainables.core.layout import by_path
from trainables.declarations import PartError
from trainables.optim.path_groups import matches, path_labels, path_mask


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.layers = nnx.List([nnx.Linear(2, 2, rngs=rngs) for _ in range(2)])
        self.norm = nnx.LayerNorm(2, rngs=rngs)
        self.readout = nnx.Linear(2, 3, rngs=rngs)


def flax_params() -> Any:
    return nnx.split(Net(nnx.Rngs(0)), nnx.Param, ...)[1]


def plain_params() -> Any:
    def layer() -> dict[str, np.ndarray]:
        return {"kernel": np.ones((2, 2), np.float32), "bias": np.ones(2, np.float32)}

    norm = {"scale": np.ones(2, np.float32), "bias": np.ones(2, np.float32)}
    return {"layers": [layer(), layer()], "norm": norm, "readout": layer()}


KERNELS = {"layers/0/kernel", "layers/1/kernel", "readout/kernel"}


def marked(mask: Any, params: Any) -> set[str]:
    return {path for path, mark in by_path(mask(params)).items() if mark}


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("kernel", "layers.0.kernel", True),
        ("kernel", "layers.0.kernels", False),
        ("layers", "layers.0.kernel", True),
        ("norm*", "norm_1.scale", True),
        ("layers.0.*", "layers.0.kernel", True),
        ("layers.0.*", "layers.10.kernel", False),
        ("0.kernel", "layers.0.kernel", False),
        ("*.0.kernel", "layers.0.kernel", True),
        ("layers.[01].bias", "layers.1.bias", True),
        ("Kernel", "layers.0.kernel", False),
    ],
)
def test_a_pattern_is_read_as_in_gitignore(pattern: str, path: str, fits: bool) -> None:
    assert matches(pattern, path) is fits


@pytest.mark.parametrize("params", [flax_params, plain_params])
def test_a_mask_is_the_same_for_modules_and_trees(params: Any) -> None:
    tree = params()
    assert marked(path_mask("kernel"), tree) == KERNELS
    assert marked(path_mask(["readout.*", "norm"]), tree) == {
        "readout/kernel", "readout/bias", "norm/scale", "norm/bias",
    }  # fmt: skip
    assert marked(path_mask(lambda path, leaf: leaf.ndim > 1), tree) == KERNELS
    labels = by_path(path_labels({"slow": "layers.0.*", "norms": "norm"}, "rest")(tree))
    assert labels["layers/0/bias"] == "slow"
    assert labels["norm/scale"] == "norms"
    assert labels["readout/kernel"] == "rest"


@pytest.mark.parametrize("params", [flax_params, plain_params])
def test_what_is_not_marked_does_not_decay(params: Any) -> None:
    tree = params()
    rule = optax.adamw(0.1, weight_decay=0.5, mask=path_mask("kernel"))

    @jax.jit
    def moved(tree: Any) -> Any:
        still = jax.tree.map(jnp.zeros_like, tree)
        updates, _ = rule.update(still, rule.init(tree), tree)
        return optax.apply_updates(tree, updates)

    before, after = by_path(tree), by_path(moved(tree))
    for path, leaf in after.items():
        factor = 0.95 if path in KERNELS else 1
        np.testing.assert_allclose(leaf, factor * np.asarray(before[path]), rtol=1e-6)


def test_groups_move_at_their_own_rates_with_a_mask_inside() -> None:
    tree = plain_params()
    rule = optax.multi_transform(
        {
            "slow": optax.chain(
                optax.add_decayed_weights(1.0, path_mask("kernel")), optax.sgd(0.01)
            ),
            "default": optax.sgd(0.1),
        },
        path_labels({"slow": "layers"}),
    )
    gradient = jax.tree.map(jnp.ones_like, tree)
    updates, _ = rule.update(gradient, rule.init(tree), tree)
    found = by_path(updates)
    np.testing.assert_allclose(found["layers/0/kernel"], -0.02, rtol=1e-6)
    np.testing.assert_allclose(found["layers/0/bias"], -0.01, rtol=1e-6)
    np.testing.assert_allclose(found["norm/scale"], -0.1, rtol=1e-6)


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(PartError, match=r"'kernal' matches no parameter.*layers\.0\.bias"):
        path_mask(["kernel", "kernal"])(plain_params())
    with pytest.raises(PartError, match="'head' matches no parameter"):
        path_labels({"fast": "head"})(plain_params())


def test_the_public_names_are_these() -> None:
    assert gradsweep.path_mask is path_mask
    assert gradsweep.path_labels is path_labels
