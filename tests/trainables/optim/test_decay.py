"""What decays: every matrix, and none of the rest."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.support.small_trials import SMALL, network
from trainables.core.hparams import lane_values
from trainables.core.layout import by_path
from trainables.declarations import Trial, builtin_registry
from trainables.optim.adabelief import adabelief
from trainables.optim.adam import adamw, adamw_groups

WORDS = {"task": "wordptb", "depth": 2, "widths": "4:3", "seq_len": 5, "max_tokens": 4000}
MATRICES = {
    "vanilla_rnn": {"w_in", "w_ih", "w_hh", "w_out"},
    "lstm": {"rnn/0/w_ih", "rnn/0/w_hh", "rnn/1/w_ih", "rnn/1/w_hh", "readout/w"},
    "malsnn": {"rnn/0/w_ih", "rnn/0/w_hh", "rnn/1/w_ih", "rnn/1/w_hh", "readout/w"},
    "deep_lru": {f"blocks/{n}" for n in ("b_re", "b_im", "c_re", "c_im", "w_value", "w_gate")}
    | {"encoder/w", "decoder/w"},
}


def params_of(one: Trial) -> Any:
    """Parameters of 1 as the model of a trial has them."""
    net = network(one)
    shapes: Any = jax.eval_shape(lambda v: net.init(one, v), lane_values(one))["params"]
    return jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), shapes)


@pytest.mark.parametrize("model", MATRICES)
def test_without_a_gradient_only_matrices_move(model: str) -> None:
    """By lr times weight_decay of themselves; the embedding, biases, gains and what a neuron has
    one of stay."""
    own: dict[str, dict[str, Any]] = {
        "vanilla_rnn": SMALL,
        "deep_lru": {"task": "gaussian", "depth": 2, "width": 4, "d_model": 3},
    }
    one = builtin_registry().resolve({**own.get(model, WORDS), "model": model})
    params = params_of(one)
    still = jax.tree.map(jnp.zeros_like, params)
    hparams = {
        n: jnp.float32(v) for n, v in {"lr": 0.1, "weight_decay": 0.5, "lr_factor": 1}.items()
    }

    def moved(build: Any, decay_on: str) -> dict[str, float]:
        rule = build({"decay_on": decay_on, "lookahead": False}, hparams)
        update, _ = rule.update(still, rule.init(params), params)
        after = by_path(optax.apply_updates(params, update))
        ends = {path: np.unique(np.asarray(leaf)) for path, leaf in after.items()}
        assert all(len(end) == 1 for end in ends.values())
        return {path: float(end[0].real) for path, end in ends.items() if end[0] != 1}

    for build in (adamw, adabelief):
        assert moved(build, "matrices") == dict.fromkeys(MATRICES[model], pytest.approx(0.95))
        assert moved(build, "all").keys() == by_path(params).keys()
    # What a linear recurrence reads with is in the slow group, which never decays.
    slow = {"blocks/b_re", "blocks/b_im"}
    assert moved(adamw_groups, "matrices").keys() == MATRICES[model] - slow
