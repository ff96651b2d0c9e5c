"""What the engines of stage `lsc` share: which is whose, what a gate reads, an epoch's columns."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from trainables.declarations import builtin_registry
from trainables.declarations.lsc.engine import FAMILIES
from trainables.lsc import engine
from trainables.probes.radius import radius


def test_each_family_has_its_engine_and_others_no_probe():
    found = {engine._class_of(model).__name__ for model in FAMILIES}
    assert found == {"LscConvolutional", "LscFeedForward", "LscRecurrent", "LscLru"}
    names = {
        model: engine._class_of(model).__name__ for model in ("cnn", "ffn", "gru", "lru_stack")
    }
    want = ["LscConvolutional", "LscFeedForward", "LscRecurrent", "LscLru"]
    assert list(names.values()) == want
    other = builtin_registry().resolve({"model": "vanilla_rnn", "task": "gaussian"})
    never_read: Any = None
    assert radius(never_read, other) is None


def test_a_key_that_is_null_is_what_was_published():
    chosen = jax.jit(lambda given: engine.chosen({"key": given}, "key", 0.3))
    found = [float(chosen(np.float32(v))) for v in (np.nan, 0.0, 0.1)]
    assert found == pytest.approx([0.3, 0.0, 0.1])


def test_agreement_is_around_each_radius_s_own_target():
    agreed = jax.jit(engine.agreement)

    def found(radii: list[float], target: object) -> list[float]:
        values = agreed(np.asarray(radii, np.float32), np.asarray(target, np.float32))
        return [float(values[name]) for name in ("radius", "radius_std", "radius_gap")]

    assert found([0.5, 1.5, 0.4], 1.0) == pytest.approx([0.8, np.std([-0.5, 0.5, -0.6]), 0.2])
    assert found([0.5, 1.5, 0.4], [0.5, 1.5, 0.1]) == pytest.approx([0.8, np.std([0, 0, 0.3]), 0.1])


def test_columns_of_an_epoch_leave_out_what_was_skipped_or_never_run():
    summary = jax.jit(engine.summary)

    def told(finite: list[int], shown: list[int]) -> dict[str, float]:
        seen = {
            "loss": np.asarray([9, 5, np.nan, 3, 7], np.float32),
            "grad_norm": np.asarray([9, 1, np.inf, 2, 7], np.float32),
            "update_norm": np.asarray([9, 4, np.nan, 8, 7], np.float32),
            "finite": np.array(finite, bool),
            "shown": np.array(shown, bool),
        }
        return {name: float(value) for name, value in summary(seen).items()}

    found = told([0, 1, 0, 1, 1], [1, 1, 1, 1, 0])
    assert found == {
        "loss": 4, "loss_first": 5, "loss_last": 3, "grad_norm": 1.5, "update_norm": 6,
        "finite_steps": 2,
    }  # fmt: skip
    none = told([0] * 5, [1] * 5)
    assert none["finite_steps"] == 0
    assert np.isnan([none[name] for name in ("loss", "loss_first", "loss_last")]).all()
