"""The rest of `Pack`: weights, users' parts, stages, refusals."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from tests.support.small_trials import trial
from tests.support.user_parts import user_registry
from trainables.declarations import Key, Model, Task
from trainables.packs.pack import Pack


def _user(**config: object) -> Pack:
    one = user_registry().resolve({"model": "conv", "task": "blobs", "lr": 0.05, **config})
    pack = Pack([one], {})
    pack.init()
    return pack


@pytest.mark.exact
def test_a_users_module_trains_with_all_it_carries():
    pack = _user()
    names = [row.layer_name for row in pack.layer_rows if row.tensor == "*"]
    # In the order the attributes were set, not of their names.
    assert names == ["stem", "blocks.0", "blocks.1", "norm", "a_readout"]
    assert [row.layer for row in pack.layer_rows if row.tensor == "*"] == list(range(5))
    before = pack.state()
    losses = [pack.epoch(e).epochs["loss"][0] for e in range(15)]
    assert losses[-1] < 0.8 * losses[0]
    after = pack.state()
    assert not np.array_equal(before["rest/norm/mean"], after["rest/norm/mean"])
    assert after["rest/drop/rngs/count"] == before["rest/drop/rngs/count"] + 15 * 4
    assert after["step"][0] == 15 * 4
    assert pack.probe("timeline") is None
    assert "blocks.1.kernel" in pack.weights(0)
    other = _user()
    other.load(0, {path: leaf[0] for path, leaf in after.items()})
    assert np.array_equal(other.epoch(15).epochs["loss"], pack.epoch(15).epochs["loss"])


def test_traced_values_reach_a_users_module():
    registry = user_registry()
    pair = [registry.resolve({"model": "conv", "task": "blobs", "gain": g}) for g in (0.0, 0.5)]
    pack = Pack(pair, {})
    pack.init()
    loss = pack.epoch(0).epochs["loss_first"]
    assert loss[0] != loss[1]
    gain = [row.layer_name for row in pack.layer_rows].index("blocks.0")
    assert pack.epoch(1).layers["grad_norm"][0, gain] == 0.0


def test_weights_of_a_parent_replace_drawn_ones():
    parent = Pack([trial(seed=1, lr=0.1)], {})
    parent.init()
    given = parent.weights(0)
    child = Pack([trial(seed=2, optimizer="adam"), trial(seed=3, optimizer="adam")], {})
    child.init({1: given})
    found = child.weights(1)
    assert all(np.array_equal(found[name], given[name]) for name in given)
    assert not np.array_equal(child.weights(0)["rnn.0.w_hh"], given["rnn.0.w_hh"])
    with pytest.raises(ValueError, match=r"rnn\.0\.w_ih has shape"):
        child.init({0: {**given, "rnn.0.w_ih": np.zeros((1, 1))}})
    with pytest.raises(ValueError, match=r"lack readout\.b"):
        child.init({0: {k: v for k, v in given.items() if k != "readout.b"}})


def test_a_warmup_reads_its_own_keys_as_plain_sgd():
    warmup = trial(stage="warmup", warmup_lr=0.2, warmup_min_norm=3.0, seed=5)
    train = trial(lr=0.2, min_norm=3.0, seed=5)
    found = []
    for one in (warmup, train):
        pack = Pack([one], {})
        pack.init()
        found.append(pack.epoch(0))
    np.testing.assert_array_equal(found[0].epochs["loss"], found[1].epochs["loss"])
    np.testing.assert_allclose(found[0].epochs["grad_norm_clipped"], 3.0, rtol=1e-5)
    np.testing.assert_allclose(found[0].epochs["update_norm"], 0.6, rtol=1e-5)


@pytest.mark.slow
def test_sgd_and_adam_take_the_documented_step():
    for optimizer, decay in (("sgd", 0.0), ("sgd", 0.3), ("adam", 0.0)):
        pack = Pack([trial(optimizer=optimizer, lr=0.1, weight_decay=decay, steps_per_epoch=1)], {})
        pack.init()
        before = pack.weights(0)["readout.b"]
        w = pack.weights(0)["rnn.2.w_hh"]
        result = pack.epoch(0)
        moved = np.linalg.norm(pack.weights(0)["rnn.2.w_hh"] - w)
        if optimizer == "adam":  # the first step is lr * sign(g)
            np.testing.assert_allclose(
                np.abs(pack.weights(0)["readout.b"] - before), 0.1, rtol=1e-3
            )
        elif decay == 0:
            np.testing.assert_allclose(
                result.epochs["update_norm"], 0.1 * result.epochs["grad_norm"], rtol=1e-5
            )
            assert moved > 0
        else:
            assert moved == pytest.approx(0.1 * 0.3 * np.linalg.norm(w), rel=0.5)


def test_refusals():
    a, b = trial(depth=2), trial(depth=3)
    with pytest.raises(ValueError, match="at least one trial"):
        Pack([], {})
    with pytest.raises(ValueError, match="share one program"):
        Pack([a, b], {})
    with pytest.raises(ValueError, match="less than the 2 trials"):
        Pack([a, a], {}, width=1)
    with pytest.raises(ValueError, match="vmap or sequential"):
        Pack([a], {}, lanes=cast(Any, "both"))
    pack = Pack([a], {}, width=2)
    with pytest.raises(RuntimeError, match="init"):
        pack.epoch(0)
    pack.init()
    leaves = {path: leaf[0] for path, leaf in pack.state().items()}
    with pytest.raises(ValueError, match="not one of"):
        pack.load(1, leaves)
    with pytest.raises(ValueError, match="params/w_hh"):
        pack.load(0, {**leaves, "params/w_hh": np.zeros(3)})
    with pytest.raises(ValueError, match="params/w_hh"):
        pack.load(0, {k: v for k, v in leaves.items() if k != "params/w_hh"})


def test_a_part_without_build_and_a_task_reading_traced_keys_are_named():
    registry = user_registry()
    registry.add(
        Model(name="hollow"),
        Task(
            name="greedy",
            keys=(Key("level", "float", 1.0, "traced"),),
            sizes=lambda config: user_registry().resolve({"model": "conv", "task": "blobs"}).sizes,
            build=lambda config: {"x": np.zeros(3), "y": config["level"]},
        ),
    )
    with pytest.raises(ValueError, match="hollow declares no build"):
        Pack([registry.resolve({"model": "hollow", "task": "blobs"})], {})
    with pytest.raises(ValueError, match="declare that key static"):
        Pack([registry.resolve({"model": "conv", "task": "greedy"})], {})
