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
from trainables.training.epoch import Training

EPOCHS = 5
PLAIN: dict[str, Any] = {"lr": 0.5, "epochs": EPOCHS, "steps_per_epoch": 1}


def weights(**config: Any) -> tuple[list[dict[str, np.ndarray]], list[float], Pack]:
    """Kept weights and validation loss of each epoch, and the pack."""
    pack = Pack([trial(**PLAIN, **config)], {})
    pack.init()
    losses, found = [], []
    for epoch in range(EPOCHS):
        losses.append(float(pack.epoch(epoch).epochs["val_loss"][0]))
        found.append(pack.weights(0))
    return found, losses, pack


def test_averages_are_those_of_the_weights_and_are_what_is_judged(seed: int) -> None:
    """One step an epoch, so that both kinds see the same weights; training is not changed."""
    plain, _, last = weights(seed=seed)
    ema, judged, ema_pack = weights(
        seed=seed, average_weights="ema", average_decay=0.6, average_from=1
    )
    swa, _, _ = weights(seed=seed, average_weights="swa", average_from=2)
    for name, final in plain[-1].items():
        average = plain[0][name]
        for own in plain[1:]:
            average = 0.6 * average + 0.4 * own[name]
        np.testing.assert_allclose(ema[-1][name], average, rtol=1e-5, atol=1e-6)
        mean = np.mean([own[name] for own in plain[2:]], axis=0)
        np.testing.assert_allclose(swa[-1][name], mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(swa[1][name], plain[1][name], rtol=1e-6)
        assert not np.allclose(ema[-1][name], final, rtol=1e-4)
    trained = {path: leaf[0] for path, leaf in ema_pack.state().items() if "params" in path}
    for path, leaf in last.state().items():
        if path.startswith("params/"):
            np.testing.assert_allclose(leaf[0], trained[path], rtol=1e-5, atol=1e-7)
    # The loss is that of the averages: a network without averages judges them.
    one = trial(**PLAIN, seed=seed)
    task: Any = make_task(one, make_data(one, {}))
    engine, values = Training(one, task, lane_values(one)), lane_values(one)

    @jax.jit
    def loss(leaves: list[jax.Array]) -> jax.Array:
        state = engine.init(one, values)
        params = jax.tree.unflatten(jax.tree.structure(state["params"]), leaves)
        return engine.evaluate({**state, "params": params}, values, {})["val_loss"]

    kept = [leaf for path, leaf in trained.items() if path.startswith("average/params/")]
    assert judged[-1] == pytest.approx(float(loss([jnp.asarray(leaf) for leaf in kept])), rel=1e-6)


def test_a_child_starts_from_averaged_weights_which_then_are_its_own() -> None:
    one = trial(**PLAIN, average_weights="swa")
    task: Any = make_task(one, make_data(one, {}))
    engine, values = Training(one, task, lane_values(one)), lane_values(one)
    state = jax.eval_shape(lambda v: engine.init(one, v), values)
    params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 2.0), state["params"])
    again = engine.restart(dict(state), params, values)
    assert all((leaf == 2).all() for leaf in by_path(again["average"]["params"]).values())


def test_keys_of_averages_that_nobody_reads_are_refused() -> None:
    with pytest.raises(ConfigError, match="average_decay is not read with average_weights=swa"):
        trial(average_weights="swa", average_decay=0.5)
    with pytest.raises(ConfigError, match="average_from must be below epochs"):
        trial(average_weights="swa", average_from=3, epochs=3)
