"""Bookkeeping of an epoch against values worked out by hand (docs/specs/vanishing.md, check 7)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.user_parts import script_registry
from trainables.packs.pack import EpochResult, Pack


def _run(script: np.ndarray, **config: object) -> tuple[EpochResult, Pack]:
    registry = script_registry(script)
    one = registry.resolve({"model": "scripted", "task": "scripted", "lr": 0.0, **config})
    pack = Pack([one], {})
    pack.init()
    return pack.epoch(0), pack


def _hand(script: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Norms by step of tensors (front.a, back.w, back.b), of layers and in total."""
    s = script.astype(np.float64)
    tensors = np.stack([np.hypot(s[:, 0], s[:, 1]), np.abs(s[:, 2]), np.abs(s[:, 3])], 1)
    layers = np.stack([tensors[:, 0], np.hypot(tensors[:, 1], tensors[:, 2])], 1)
    return tensors, layers, np.sqrt((tensors**2).sum(1))


def test_statistics_equal_hand_values(seed):
    rng = np.random.default_rng(seed)
    script = rng.normal(size=(13, 4)) * 10.0 ** rng.integers(-3, 2, size=(13, 4))
    script[:5, 2] = 0.0
    script[3] = 0.0
    script = script.astype(np.float32)
    result, pack = _run(script)
    tensors, layers, total = _hand(script)
    rows = [(r.layer, r.layer_name, r.tensor, r.tensor_index) for r in pack.layer_rows]
    assert rows == [
        (0, "front", "a", 0),
        (1, "back", "w", 1),
        (1, "back", "b", 2),
        (0, "front", "*", -1),
        (1, "back", "*", -1),
    ]
    every = np.concatenate([tensors, layers], 1)
    found = {name: column[0] for name, column in result.layers.items()}
    np.testing.assert_allclose(found["grad_norm"], every.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found["grad_norm_min"], every.min(0), rtol=1e-6)
    np.testing.assert_allclose(found["grad_norm_max"], every.max(0), rtol=1e-6)
    assert found["zero_steps"].tolist() == (every == 0).sum(0).tolist()
    assert not found["nonfinite_steps"].any()
    np.testing.assert_allclose(found["param_norm"], [2**0.5, 1, 1, 2**0.5, 2**0.5], rtol=1e-6)
    smallest = np.where(tensors > 0, tensors, np.inf).min(1)
    smallest[np.isinf(smallest)] = 0
    epochs = {name: column[0] for name, column in result.epochs.items()}
    assert epochs["loss"] == pytest.approx(np.log(2), rel=1e-6)
    assert epochs["loss_first"] == epochs["loss_last"] == epochs["loss"]
    assert epochs["accuracy"] == 1.0
    assert epochs["grad_norm"] == pytest.approx(total.mean(), rel=1e-6)
    assert epochs["grad_norm_min"] == pytest.approx(total.min(), rel=1e-6)
    assert epochs["grad_norm_max"] == pytest.approx(total.max(), rel=1e-6)
    assert epochs["grad_norm_smallest"] == pytest.approx(smallest.mean(), rel=1e-6)
    assert epochs["zero_tensors"] == (tensors == 0).sum()
    assert epochs["nonfinite_tensors"] == 0
    assert epochs["steps"] == epochs["finite_steps"] == 13
    assert epochs["param_norm"] == pytest.approx(2.0, rel=1e-6)
    assert np.isnan([epochs["val_loss"], epochs["test_loss"], epochs["test_accuracy"]]).all()
    # The order of steps is drawn; the steps kept one by one show it.
    assert result.step_index.tolist() == list(range(13))
    steps = {name: column[0] for name, column in result.steps.items()}
    np.testing.assert_allclose(np.sort(steps["grad_norm"]), np.sort(total), rtol=1e-6)
    np.testing.assert_allclose(np.sort(steps["grad_norm_smallest"]), np.sort(smallest), rtol=1e-6)
    assert epochs["grad_norm_last"] == steps["grad_norm"][-1]
    last = np.argmin(np.abs(total - steps["grad_norm"][-1]))
    np.testing.assert_allclose(found["grad_norm_last"], every[last], rtol=1e-6)


def test_clipping_and_update_norms():
    script = np.array([[3.0, 0, 4, 0], [0.3, 0, 0.4, 0]], np.float32)
    result, pack = _run(script, lr=0.1, clip_norm=1.0)
    epochs = {name: column[0] for name, column in result.epochs.items()}
    assert epochs["grad_norm"] == pytest.approx(2.75, rel=1e-6)
    assert epochs["grad_norm_clipped"] == pytest.approx(0.75, rel=1e-6)
    assert epochs["grad_norm_clipped_min"] == pytest.approx(0.5, rel=1e-6)
    assert epochs["grad_norm_clipped_max"] == pytest.approx(1.0, rel=1e-6)
    assert epochs["update_norm"] == pytest.approx(0.075, rel=1e-6)
    np.testing.assert_allclose(result.layers["update_norm"][0, :3], [0.045, 0.06, 0.0], rtol=1e-6)
    weights = pack.weights(0)
    np.testing.assert_allclose(weights["front.a"], [1 - 0.09, 1.0], rtol=1e-6)
    np.testing.assert_allclose(weights["back.w"], [1 - 0.12], rtol=1e-6)


@pytest.mark.parametrize(
    ("rule", "want"), [("exact", 1e-3), ("published", 1e-3 * 1e-9 / (1e-9 + 1e-8))]
)
def test_minimum_norm_rules(rule, want):
    script = np.array([[0.6e-9, 0, 0.8e-9, 0]], np.float32)
    result, _ = _run(script, min_norm=1e-3, min_norm_rule=rule)
    assert result.epochs["grad_norm"][0] == pytest.approx(1e-9, rel=1e-5)
    assert result.epochs["grad_norm_clipped"][0] == pytest.approx(want, rel=1e-5)


def test_gradients_of_1e_30_are_not_zero():
    script = np.array([[3e-30, 4e-30, 1e-33, 0]], np.float32)
    result, _ = _run(script)
    found = result.layers["grad_norm"][0]
    np.testing.assert_allclose(found[:2], [5e-30, 1e-33], rtol=1e-6)
    assert found[2] == 0.0
    assert result.epochs["zero_tensors"][0] == 1
    assert result.epochs["grad_norm_smallest"][0] == pytest.approx(1e-33, rel=1e-6)


STEPS = 13


@pytest.fixture(scope="module")
def order() -> np.ndarray:
    """The script's row that each step of epoch 0 reads."""
    result, _ = _run(np.outer(np.arange(1, STEPS + 1), [1, 0, 0, 0]))
    return result.steps["grad_norm"][0].astype(int) - 1


BAD = {  # what makes a step bad: its changed numbers, the learning rate, tensors not finite
    "a gradient that is NaN": ({2: np.nan}, 0.1, (0, 1, 0)),
    "a gradient that is infinite": ({2: np.inf}, 0.1, (0, 1, 0)),
    "a loss that is NaN": ({4: np.nan}, 0.1, (1, 1, 1)),
    "an update that is infinite": ({0: 1e6, 4: 9.0}, 3e34, (0, 0, 0)),
}


@pytest.mark.parametrize("at", [0, 8])
@pytest.mark.parametrize("what", BAD)
def test_a_bad_step_ends_the_lane_and_enters_no_statistic(what, at, order, seed):
    """Means, extremes and last values are those of the steps before it, of loss and layers."""
    changes, lr, tensors_bad = BAD[what]
    rng = np.random.default_rng(seed)
    script = np.concatenate([rng.normal(size=(STEPS, 4)), rng.uniform(-2, 2, (STEPS, 1))], 1)
    for column, value in changes.items():
        script[order[at], column] = value
    result, pack = _run(script, lr=lr)
    assert result.bad_step[0] == at
    epochs = {name: column[0] for name, column in result.epochs.items()}
    rows = {name: column[0] for name, column in result.layers.items()}
    assert (epochs["steps"], epochs["finite_steps"]) == (at + 1, at)
    assert epochs["nonfinite_tensors"] == sum(tensors_bad)
    layers_bad = (tensors_bad[0], max(tensors_bad[1:]))
    assert rows["nonfinite_steps"].tolist() == [*tensors_bad, *layers_bad]
    read = script[order[:at]]
    tensors, layers, total = _hand(read[:, :4])
    every, loss = np.concatenate([tensors, layers], 1), np.log1p(np.exp(read[:, 4]))
    reductions = {"": np.mean, "_min": np.min, "_max": np.max, "_last": lambda v, axis: v[-1]}

    def reduced(name: str, values: np.ndarray) -> Any:
        return reductions[name](values, axis=0) if at else np.full(values.shape[1:], np.nan)

    for name in reductions:
        want = reduced(name, total)
        assert epochs[f"grad_norm{name}"] == pytest.approx(want, rel=1e-5, nan_ok=True)
        assert epochs[f"grad_norm_clipped{name}"] == pytest.approx(want, rel=1e-5, nan_ok=True)
        np.testing.assert_allclose(rows[f"grad_norm{name}"], reduced(name, every), rtol=1e-5)
    np.testing.assert_allclose(rows["update_norm"], lr * reduced("", every), rtol=1e-5)
    assert epochs["update_norm"] == pytest.approx(lr * reduced("", total), rel=1e-5, nan_ok=True)
    for name, want in (("loss", reduced("", loss)), ("loss_last", reduced("_last", loss))):
        assert epochs[name] == pytest.approx(want, rel=1e-5, nan_ok=True)
    right = reduced("", read[:, 4] <= 0)
    assert epochs["accuracy"] == pytest.approx(right, rel=1e-6, nan_ok=True)
    # The bad step itself is kept as it was computed, and nothing after it.
    first = np.log1p(np.exp(script[order[0], 4]))
    assert epochs["loss_first"] == pytest.approx(first, rel=1e-5, nan_ok=True)
    norms = result.steps["grad_norm"][0]
    np.testing.assert_allclose(norms[:at], total, rtol=1e-5)
    assert np.isfinite(norms[at]) == (sum(tensors_bad) == 0)
    assert np.isnan(norms[at + 1 :]).all()
    # The weights are those before the bad step.
    moved = 1 - lr * read[:, :4].sum(0)
    np.testing.assert_allclose(pack.weights(0)["front.a"], moved[:2], rtol=1e-4, atol=1e-5)
    assert not pack.active[0]
    after = pack.epoch(1)
    assert after.bad_step[0] == -1
    assert np.isnan(after.epochs["loss"][0])


def test_weights_that_overflow_are_a_bad_step():
    """Loss, gradient and update are finite, and so is the weight before."""
    script = np.zeros((STEPS, 4))
    script[:, 0] = -1.5e38
    result, pack = _run(script, lr=1.0)
    assert result.bad_step[0] == 2
    assert result.epochs["grad_norm_max"][0] == pytest.approx(1.5e38, rel=1e-5)
    np.testing.assert_allclose(pack.weights(0)["front.a"], [3e38, 1], rtol=1e-6)


def test_steps_kept_one_by_one():
    script = np.ones((25, 4), np.float32)
    registry = script_registry(script)
    pack = Pack([registry.resolve({"model": "scripted", "task": "scripted"})], {})
    pack.init()
    assert pack.epoch(0).step_index.tolist() == [*range(10), *range(15, 25)]
    later = pack.epoch(1)
    assert later.first_step.tolist() == [15]
    assert all(column.shape == (1, 20) for column in later.steps.values())
