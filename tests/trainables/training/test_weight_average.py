"""Averages of weights against those of the weights themselves, taken in NumPy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.small_trials import trial
from trainables.core.hparams import lane_values
from trainables.core.layout import by_path
from trainables.declarations import ConfigError
from trainables.packs.pack import Pack
from trainables.tasks.base import make_data, make_task
from trainables.training import weight_average
from trainables.training.epoch import Training

EPOCHS = 5
PLAIN: dict[str, Any] = {"lr": 0.5, "epochs": EPOCHS, "steps_per_epoch": 1}


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_an_average_is_that_of_the_weights(kind: str, seed: int) -> None:
    """Over 20 steps, 4 an epoch, of which the first 2 epochs are not averaged."""
    path = np.random.default_rng(seed).normal(size=(20, 3)).astype(np.float32)
    hparams = {"average_from": jnp.int32(2), "average_decay": jnp.float32(0.6)}
    state = weight_average.start({"w": jnp.asarray(path[0])})
    want = path[0].astype(float)
    for step, w in enumerate(path, 1):
        state = weight_average.after_step(kind, state, {"w": w}, jnp.int32(step), 4, hparams)
        if kind == "ema":
            want = 0.6 * want + 0.4 * w if step > 8 else w
        else:
            ends = path[11:step:4]
            want = ends.mean(0) if len(ends) else w
        np.testing.assert_allclose(state["params"]["w"], want, rtol=1e-5, atol=1e-6)


def test_averages_are_what_is_judged_and_kept(seed: int) -> None:
    """An epoch has one step, so that a network without averages can judge them."""
    config = {**PLAIN, "seed": seed}
    averaged = {"average_weights": "ema", "average_decay": 0.6, "average_from": 1}
    pack = Pack([trial(**config, **averaged)], {})
    pack.init()
    average: dict[str, np.ndarray] = {}
    for epoch in range(EPOCHS):
        judged = float(pack.epoch(epoch).epochs["val_loss"][0])
        state = {path: leaf[0] for path, leaf in pack.state().items()}
        weights = {n.removeprefix("params/"): w for n, w in state.items() if n[:7] == "params/"}
        old = average if epoch > 0 else weights
        average = {n: 0.6 * old[n] + 0.4 * w if epoch else w for n, w in weights.items()}
    kept = [state[f"average/params/{name}"] for name in average]
    for mine, theirs in zip(average.values(), kept, strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=1e-5, atol=1e-6)
    named = pack.weights(0)
    assert sum(w.sum() for w in named.values()) == pytest.approx(sum(w.sum() for w in kept))
    one = trial(**config)
    task: Any = make_task(one, make_data(one, {}))
    engine = Training(one, task, lane_values(one))
    values: Any = lane_values(one)

    @jax.jit
    def loss(leaves: list[jax.Array]) -> jax.Array:
        state = engine.init(one, values)
        params = jax.tree.unflatten(jax.tree.structure(state["params"]), leaves)
        return engine.evaluate({**state, "params": params}, values, {})["val_loss"]

    assert judged == pytest.approx(float(loss([jnp.asarray(leaf) for leaf in kept])), rel=1e-6)


def test_a_child_starts_from_averaged_weights_which_then_are_its_own() -> None:
    one = trial(**PLAIN, average_weights="swa")
    task: Any = make_task(one, make_data(one, {}))
    engine = Training(one, task, lane_values(one))
    values: Any = lane_values(one)
    state = jax.eval_shape(lambda v: engine.init(one, v), values)
    params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 2.0), state["params"])
    again = engine.restart(dict(state), params, values)
    assert all((leaf == 2).all() for leaf in by_path(again["average"]["params"]).values())


def test_keys_of_averages_that_nobody_reads_are_refused() -> None:
    with pytest.raises(ConfigError, match="average_decay is not read with average_weights=swa"):
        trial(average_weights="swa", average_decay=0.5)
    with pytest.raises(ConfigError, match="average_from must be below epochs"):
        trial(average_weights="swa", average_from=3, epochs=3)
