"""LSTM and GRU stacks at the last time step, against torch's layers written out in NumPy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orchestrator.weight_files.torch_names import to_torch
from tests.support.numpy_cells import torch_outputs
from tests.support.small_trials import module_of
from trainables.declarations import builtin_registry

SMALL = {"task": "gaussian", "features": 2, "classes": 3, "seq_len": 6, "depth": 2, "width": 4}


@pytest.mark.parametrize(("model", "like", "kind"), [
    ("lstm_stack", "torch_lstm", "LSTM"), ("gru_stack", "torch_gru", "GRU"),
])  # fmt: skip
def test_logits_are_of_the_top_layer_at_the_last_step(
    model: str, like: str, kind: str, seed: int
) -> None:
    one = builtin_registry().resolve({**SMALL, "model": model, "init": "default"})
    module = module_of(one, seed=seed)
    module.eval()
    tensors: dict[str, Any] = {}
    for layer, own in enumerate(module.rnn):
        for name, value in own.values().items():
            tensors[f"rnn.{layer}.{name}"] = np.asarray(value)
    if kind == "GRU":  # the module computes with z, r, n
        tensors = {
            name: np.concatenate([np.split(value, 3)[i] for i in (1, 0, 2)])
            for name, value in tensors.items()
        }
    x = np.random.default_rng(seed).normal(size=(3, 6, 2)).astype(np.float32)
    readout = module.readout.values()
    top = torch_outputs(kind, to_torch(like, tensors), x)[:, -1]
    want = top @ np.asarray(readout["w"]).T + np.asarray(readout["b"])
    found = module(jnp.asarray(x))
    assert found.shape == (3, 3)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def test_dropout_acts_between_layers_alone() -> None:
    """A net of one layer has nothing between layers; one of two has."""
    x = jax.random.normal(jax.random.key(1), (4, 6, 2))
    for depth, same in ((1, True), (2, False)):
        config = {**SMALL, "model": "lstm_stack", "depth": depth, "dropout": 0.5}
        module = module_of(builtin_registry().resolve(config))
        module.train()
        trained = module(x)
        module.eval()
        assert bool(jnp.array_equal(trained, module(x))) == same
