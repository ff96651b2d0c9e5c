"""Losses by name against their formulas in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.small_trials import trial
from trainables.packs.pack import Pack
from trainables.tasks.base import make_task
from trainables.tasks.losses import LOSSES


def in_numpy(name: str, s: np.ndarray, y: int) -> float:
    """Of logits (C,) and a label."""
    p = np.exp(s - s.max()) / np.exp(s - s.max()).sum()
    label = np.eye(len(s))[y]
    if name == "hinge":
        return max(float(np.max(np.delete(s, y)) + 1 - s[y]), 0.0)
    return {
        "cross_entropy": -np.log(p[y]),
        "label_smoothing": -(0.9 * np.log(p[y]) + 0.1 * np.log(p).mean()),
        "focal": -((1 - p[y]) ** 2) * np.log(p[y]),
        "squared_error": np.mean((s - label) ** 2),
    }[name]


@pytest.mark.parametrize("name", LOSSES)
def test_a_named_loss_is_its_formula_and_its_guess_that_of_equal_logits(
    name: str, seed: int
) -> None:
    one = trial(loss_function=name, classes=4)
    task = make_task(one)
    assert task is not None
    rng = np.random.default_rng(seed)
    logits, y = 3 * rng.normal(size=(6, 5, 4)), rng.integers(0, 4, 6)
    want = [
        np.mean([in_numpy(name, step, label) for step in x])
        for x, label in zip(logits, y, strict=True)
    ]
    found = task.losses(np.float32(logits), y)
    np.testing.assert_allclose(found, want, rtol=1e-5)
    equal = task.losses(np.zeros((1, 4), np.float32), np.array([2]))
    assert one.chance_loss == pytest.approx(float(equal[0]), rel=1e-6)
    units = {"squared_error": "squared error", "hinge": "margin"}
    assert one.loss_unit == units.get(name, "nats")


def test_what_is_trained_is_the_named_loss() -> None:
    """The first loss is that of near equal logits, 0.25 for 4 classes where cross-entropy is
    1.39."""
    pack = Pack([trial(loss_function="squared_error", seed=1)], {})
    pack.init()
    found = pack.epoch(0).epochs
    assert 0.15 < float(found["loss_first"][0]) < 0.6
