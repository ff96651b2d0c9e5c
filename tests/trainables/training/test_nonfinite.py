"""What `debug --check-nans` names: layer, time step and pass that went non-finite first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.user_parts import script_registry
from tests.trainables.core.test_engine import trials
from trainables.core.layout import by_path
from trainables.core.random_keys import trial_key
from trainables.declarations import Trial, builtin_registry
from trainables.packs.pack import Pack
from trainables.training.epoch import Training

ONE_STEP = {
    "task": "gaussian", "seq_len": 1, "features": 2, "classes": 4, "batch_size": 1,
    "steps_per_epoch": 1,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "models": {"model": "vanilla_rnn", "depth": 2, "width": 5},
    "feedforward": {"model": "ffn", "depth": 2, "width": 5, "activation": "tanh"},
    "nets": {"model": "lstm", "widths": "5:4"},
    "spiking": {"model": "malsnn", "widths": "5:4"},
    "residual_lru": {"model": "lru_stack", "depth": 2, "width": 5},
    "linear_nets": {"model": "lru", "width": 5},
    "residual_deep": {"model": "deep_recurrent", "depth": 2, "width": 5, "norm": "none"},
    "torch_nets": {"model": "torch_lstm", "width": 5},
    "orthogonal": {"model": "ornn", "width": 5},
    "residual_sequences": {
        "model": "deep_lru",
        "depth": 2,
        "width": 4,
        "d_model": 5,
        "norm": "none",
    },
}
"""A small model of each module that builds some of `trainables/models`."""


def resolved(config: dict[str, Any], **more: Any) -> Trial:
    return builtin_registry().resolve({**ONE_STEP, **config, **more})


def lane(one: Trial, weights: Callable[[str, tuple[int, ...]], Any]) -> Pack:
    """A pack whose lane has these weights by path, 0 where there are none; nothing is compiled."""
    pack = Pack([one], {})
    leaves: dict[str, np.ndarray] = {}
    for path, leaf in by_path(pack._programs.shapes).items():
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        plain = jax.eval_shape(jax.random.key_data, leaf) if is_key else leaf
        given = weights(path.removeprefix("params/"), plain.shape)
        if given is None or not path.startswith("params/"):
            given = np.zeros(plain.shape)
        leaves[path] = np.asarray(given, plain.dtype)
    pack.load(0, {**leaves, "alive": np.asarray(True)})
    return pack


def blamed(pack: Pack) -> str:
    said = pack.blame(0, 0, 0)
    assert said.startswith("epoch 0, step 0: ")
    return said.removeprefix("epoch 0, step 0: ")


def readout(path: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Weights of the last layer that make dL/dh overflow for a state of 0, whatever the label: the
    k-th number of the state counts for class k and against all others."""
    if path in ("readout/w", "w_out", "decoder/w", "layer/c_re"):
        return np.where(np.eye(shape[-2], shape[-1]), 3e38, -3e38) * np.ones(shape)
    return None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gradient_is_named_by_the_layer_that_back_propagation_meets_first(family: str) -> None:
    """Loss and readout's own gradient are finite; what goes back through the readout is not."""
    pack = lane(resolved(FAMILIES[family]), readout)
    rows = [(row.layer_name, row.tensor) for row in pack.layer_rows if row.tensor != "*"]
    # The last tensor of the layer below the readout, which a linear layer has within itself.
    below = [row for row in rows if row[0] != rows[-1][0] or row[1] == "b_re"][-1]
    assert blamed(pack) == f"the gradient of {below[0]}.{below[1]}"


RELU = {"model": "residual_rnn", "depth": 3, "width": 4, "seq_len": 6, "residual_scale": 1.0}


@pytest.mark.parametrize(("layer", "at"), [(0, 3), (1, 2), (2, 5)])
def test_a_recurrent_stack_names_layer_and_time_step(layer: int, at: int) -> None:
    """Only that layer feeds itself, and grows by so much a step that it leaves float32 at `at`."""

    def weights(path: str, shape: tuple[int, ...]) -> np.ndarray | None:
        found = np.zeros(shape)
        if path == "b_ih":
            found[layer] = 1
            return found
        if path == "w_hh":
            found[layer] = 10 ** (38.8 / at) * np.eye(4)
            return found
        return None

    pack = lane(resolved(RELU), weights)
    assert blamed(pack) == f"the output of layer rnn.{layer} at time step {at}"


def test_a_loss_that_overflows_is_named() -> None:
    def weights(path: str, shape: tuple[int, ...]) -> np.ndarray | None:
        return np.resize([3e38, -3e38], shape) if path == "b_out" else None

    pack = lane(resolved(FAMILIES["models"], batch_size=8), weights)
    assert blamed(pack) == "the loss, while every recurrent output is finite"


def test_other_networks_than_the_stack_say_loss_where_a_state_overflowed() -> None:
    """It is only known that the forward pass went wrong."""

    def weights(path: str, shape: tuple[int, ...]) -> np.ndarray | None:
        if path.endswith("/b"):
            return np.ones(shape)
        return 1e30 * np.eye(shape[0], shape[1]) if path.endswith("w_hh") else None

    one = resolved({"model": "rsimplernn", "widths": "4:4"}, seq_len=6)
    assert blamed(lane(one, weights)).startswith("the loss")


def test_an_infinite_update_is_named_last() -> None:
    one = resolved(FAMILIES["models"], lr=3e38, min_norm=10.0, batch_size=4)
    said = blamed(lane(one, lambda path, shape: np.full(shape, 0.1)))
    assert said == "the update, while loss and gradients are finite"


def test_a_stage_with_a_loop_of_its_own_names_itself() -> None:
    pack = Pack(trials(2.0), {})
    assert pack.blame(0, 3, 5) == "epoch 3, step 5: a value of stage powers"


def test_the_batch_is_that_of_the_bad_epoch_and_step() -> None:
    """One sample has a gradient that is NaN; it comes at another step in another epoch."""
    script = np.ones((7, 4))
    script[4, 2] = np.nan
    registry = script_registry(script)
    pack = Pack([registry.resolve({"model": "scripted", "task": "scripted"})], {})
    pack.init()
    engine = pack._engine
    assert isinstance(engine, Training)
    values = jax.tree.map(lambda leaf: leaf[0], pack._values)

    def step_of(epoch: int) -> int:
        schedule = engine.task.training(trial_key(values["seed"]), values, jnp.int32(epoch))
        return int(np.flatnonzero(np.asarray(schedule["index"]) == 4)[0])

    here = step_of(0)
    other = next(epoch for epoch in range(1, 9) if step_of(epoch) != here)
    said = f"epoch 0, step {here}: the gradient of back.w"
    assert pack.blame(0, 0, here) == said
    assert pack.blame(0, other, here).endswith(": the update, while loss and gradients are finite")
