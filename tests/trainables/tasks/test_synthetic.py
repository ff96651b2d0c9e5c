"""Tasks `sine` and `temporal_order`: data, batches, objective
(docs/specs/ribeiro2020.md, checks 3 and 4)."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trainables.declarations import ConfigError, Trial, builtin_registry
from trainables.layers.first_states import FirstStates
from trainables.packs.pack import Pack
from trainables.tasks.base import make_data, make_task
from trainables.tasks.synthetic import TemporalOrderTask, sine_waves, temporal_order

KEY = jax.random.key(0)


def trial(**config: Any) -> Trial:
    return builtin_registry().resolve({"model": "torch_lstm", "optimizer": "torch_adam", **config})


def batches(one: Trial, arrays: Any = None, part: str = "training") -> list[Any]:
    """Every batch of an epoch, or of evaluation."""
    task: Any = make_task(one)
    data = make_data(one, arrays or {})
    schedule = (
        task.training(KEY, {}, jnp.int32(0)) if part == "training" else task.evaluation(KEY, {})
    )
    count = len(schedule["weight"])
    schedule.pop("segments", None)
    entries = [jax.tree.map(lambda leaf, i=i: leaf[i], schedule) for i in range(count)]
    return [task.batch(data, entry, {}) for entry in entries]


# ---- sine (check 3) ----------------------------------------------------------------------------


def test_sine_data_are_as_published() -> None:
    omega, y = sine_waves(math.pi / 16, math.pi / 8, 100, 400)
    assert y[0, 0] == pytest.approx(0.195090, abs=1e-6)
    assert y.sum() == pytest.approx(351.047337, abs=1e-6)
    assert np.mean(y**2) == pytest.approx(0.500611, abs=1e-6)
    assert (omega[0], omega[-1]) == (math.pi / 16, math.pi / 8)


@pytest.mark.parametrize("seq_len", [40, 200, 400])
def test_a_sine_answered_by_0_has_the_chance_loss(seq_len: int) -> None:
    _, y = sine_waves(math.pi / 16, math.pi / 8, 100, seq_len)
    assert trial(task="sine", seq_len=seq_len).chance_loss == pytest.approx(np.mean(y**2), rel=0.03)


def test_sine_batches_are_slices_in_order() -> None:
    found = batches(trial(task="sine"))
    assert len(found) == 10
    x = np.concatenate([np.asarray(b[0]) for b in found])
    y = np.concatenate([np.asarray(b[1]) for b in found])
    omega, want = sine_waves(math.pi / 16, math.pi / 8, 100, 400)
    assert x.shape == (100, 400, 1)
    np.testing.assert_allclose(x[:, 0, 0], omega, rtol=1e-6)
    assert np.ptp(x, axis=1).max() == 0
    np.testing.assert_allclose(y, want, atol=1e-6)
    task: Any = make_task(trial(task="sine"))
    np.testing.assert_allclose(task.losses(jnp.zeros((100, 400, 1)), jnp.asarray(y)),
                               np.mean(y**2, 1), rtol=1e-5)  # fmt: skip


def test_a_last_batch_is_filled_up_with_weight_0() -> None:
    found = batches(trial(task="sine", n_sequences=25))
    assert [float(b[2].sum()) for b in found] == [10, 10, 5]


# ---- temporal order (check 4) ------------------------------------------------------------------

PUBLISHED = {
    2: ([255, 236, 257, 252], [3, 3, 0, 1, 2, 1, 2, 1, 0, 1]),
    3: ([241, 241, 273, 245], [3, 1, 2, 2, 2, 3, 2, 1, 3, 0]),
}


@pytest.mark.parametrize("seed", PUBLISHED)
def test_temporal_order_is_bit_exact(seed: int) -> None:
    x, y = temporal_order(seed, 1000, 200, 2, 4, (9, 39), 10)
    counts, first = PUBLISHED[seed]
    assert np.bincount(y).tolist() == counts
    assert y[:10].tolist() == first
    if seed == 2:
        assert x[0, :12].tolist() == [2, 5, 3, 2, 4, 5, 4, 5, 2, 5, 1, 3]
        assert np.bincount(x.ravel()).tolist() == [1003, 997, 49717, 49685, 49349, 49249]


def test_every_sequence_has_its_two_symbols_in_the_windows(seed: int) -> None:
    x, y = temporal_order(seed + 10, 500, 60, 2, 4, (9, 39), 10)
    relevant = x < 2
    assert np.all(relevant.sum(1) == 2)
    assert np.all(relevant[:, 9:19].sum(1) == 1)
    assert np.all(relevant[:, 39:49].sum(1) == 1)
    first = np.array([row[9:19][row[9:19] < 2][0] for row in x])
    second = np.array([row[39:49][row[39:49] < 2][0] for row in x])
    np.testing.assert_array_equal(y, 2 * first + second)


def test_validation_has_the_seed_after_and_is_judged_at_the_last_step() -> None:
    one = trial(task="temporal_order", n_sequences_val=300)
    train, held = batches(one), batches(one, part="evaluation")
    assert (len(train), len(held)) == (10, 3)
    y = np.concatenate([np.asarray(b[1]) for b in held])
    assert np.bincount(y[:10]).tolist() == np.bincount(PUBLISHED[3][1]).tolist()
    x = np.asarray(train[0][0])
    assert x.shape == (100, 200, 6)
    assert np.all(x.sum(-1) == 1)
    task: Any = make_task(one)
    assert isinstance(task, TemporalOrderTask)
    logits = jnp.zeros((3, 200, 4)).at[:, -1, 2].set(50.0).at[:, 0, 1].set(90.0)
    np.testing.assert_allclose(task.losses(logits, jnp.array([2, 2, 0])), [0, 0, 50], atol=1e-4)
    np.testing.assert_array_equal(task.correct(logits, jnp.array([2, 2, 0])), [1, 1, 0])


def test_windows_outside_the_sequence_are_refused() -> None:
    with pytest.raises(ConfigError, match="end at step 49; seq_len is 40"):
        trial(task="temporal_order", seq_len=40)
    with pytest.raises(ConfigError, match=r"such as 9:39; got 'a'"):
        trial(task="temporal_order", position_symbols_start="a")


# ---- the objective -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "terms"),
    [
        ({"task": "sine", "seq_len": 20, "n_sequences": 10}, 200),
        ({"task": "temporal_order", "seq_len": 60, "n_sequences": 50, "batch_size": 50,
          "n_sequences_val": 0}, 50),
    ],
)  # fmt: skip
def test_a_summed_loss_has_as_many_times_the_gradient(config: Any, terms: int) -> None:
    """As many as a trial declares, which the diagnosis divides by."""
    norms = []
    for reduction in ("sum", "mean"):
        one = trial(**config, width=6, loss_reduction=reduction)
        assert one.loss_terms == (terms if reduction == "sum" else 1)
        pack = Pack([one], {})
        pack.init()
        found = pack.epoch(0)
        norms.append(found.steps["grad_norm"][0, 0])
        assert found.epochs["loss_first"][0] < 3
    assert norms[0] == pytest.approx(terms * norms[1], rel=1e-4)


# ---- validation of another length, and other first states ----------------------------------------


def test_sines_are_validated_on_longer_ones(seed: int) -> None:
    """And from states that are not 0: against the recurrence in NumPy from the states that the net
    draws, with the trained weights."""
    config = {"task": "sine", "model": "torch_rnn", "width": 4, "seq_len": 20, "n_sequences": 20}
    one = trial(**config, val_seq_len=50, first_std=0.7, seed=seed)
    assert (one.sizes.n_train, one.sizes.n_val, one.sizes.seq_len) == (20, 20, 20)
    assert trial(**config, seed=seed).program == trial(**config, val_seq_len=None).program
    pack = Pack([one], {})
    pack.init()
    found = pack.epoch(0)
    engine: Any = pack._engine
    state = jax.tree.map(lambda leaf: leaf[0], pack._state)
    module = engine.module(state["params"], state["rest"], train=False)
    h = np.asarray(module.initial(10)[0], float)
    w = {name: value.astype(float) for name, value in pack.weights(0).items()}
    omega = np.linspace(math.pi / 16, math.pi / 8, 20)
    losses = []
    for part in np.split(omega, 2):
        own, errors = h, []
        for t in range(1, 51):
            z = part[:, None] @ w["rnn.0.w_ih"].T + w["rnn.0.b_ih"] + w["rnn.0.b_hh"]
            own = np.tanh(z + own @ w["rnn.0.w_hh"].T)
            y = own @ w["readout.w"][0] + w["readout.b"][0]
            errors.append((y - np.sin(part * t)) ** 2)
        losses.append(np.mean(errors))
    assert found.epochs["val_loss"][0] == pytest.approx(np.mean(losses), rel=1e-4)


def test_first_states_are_drawn_anew_in_training_and_fixed_in_evaluation(seed: int) -> None:
    net = FirstStates(3.0, nnx.Rngs(seed))
    net.train()
    first, second = (net(200, [4, 6]) for _ in range(2))
    assert [state.shape for state in first] == [(200, 4), (200, 6)]
    assert not np.array_equal(first[0], second[0])
    assert np.std(np.asarray(first[1])) == pytest.approx(3, rel=0.1)
    net.eval()
    assert np.array_equal(net(5, [4])[0], net(5, [4])[0])
    with pytest.raises(ConfigError, match="first_std is of tasks that start every sequence anew"):
        trial(task="word_lm", corpus="tiny", batch_size=7, first_std=1.0)


def test_orders_of_symbols_are_validated_among_more_distractors() -> None:
    config = {"task": "temporal_order", "n_sequences": 30, "n_sequences_val": 30, "batch_size": 10}
    found = batches(trial(**config, seq_len=60, val_seq_len=150), part="evaluation")
    x = np.concatenate([np.asarray(b[0]) for b in found])
    y = np.concatenate([np.asarray(b[1]) for b in found])
    symbols, classes = temporal_order(3, 30, 150, 2, 4, (9, 39), 10)
    assert np.array_equal(x.argmax(-1), symbols)
    assert np.array_equal(y, classes)
    with pytest.raises(ConfigError, match="end at step 49; val_seq_len is 40"):
        trial(**config, seq_len=60, val_seq_len=40)
