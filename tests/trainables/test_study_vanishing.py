"""What the study measured, measured here (docs/specs/vanishing.md, checks 3 to 6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trainables.declarations import builtin_registry
from trainables.packs.pack import EpochResult, Pack

SEEDS = (0, 1, 2)


def _at_init(depth: int, init: str, **config: Any) -> tuple[EpochResult, Pack]:
    """One batch of N(0, 1) inputs and random labels: H 64, T 64, B 32."""
    registry = builtin_registry()
    fixed = {"model": "vanilla_rnn", "task": "gaussian", "width": 64, "batch_size": 32}
    trials = [
        registry.resolve({**fixed, "depth": depth, "init": init, "seed": seed, **config})
        for seed in SEEDS
    ]
    pack = Pack(trials, {})
    pack.init()
    return pack.epoch(0), pack


def _profile(result: EpochResult, pack: Pack) -> tuple[np.ndarray, np.ndarray]:
    """Slope in decades per layer and W_hh norms (seeds, L) of the recurrent layers."""
    rows = [r for r in pack.layer_rows if r.layer_name.startswith("rnn")]
    recurrent = [i for i, r in enumerate(rows) if r.tensor == "w_hh"]
    whole = [i for i, r in enumerate(pack.layer_rows) if r.tensor == "*"][:-1]
    norms = np.log10(result.layers["grad_norm"][:, whole].astype(np.float64))
    slope = np.polyfit(np.arange(len(whole)), norms.T, 1)[0]
    return slope, result.layers["grad_norm"][:, recurrent]


@pytest.mark.slow
def test_depth_decay_at_init():
    result, pack = _at_init(20, "default")
    slope, recurrent = _profile(result, pack)
    ratio = recurrent[:, 0] / recurrent[:, -1]
    smallest = result.epochs["grad_norm_smallest"]
    print("slope", slope, "first/last", ratio, "smallest", smallest)
    assert slope.mean() == pytest.approx(0.165, abs=0.03)
    assert 2e-4 < ratio.mean() < 2e-3
    assert 1e-5 < smallest.mean() < 3e-4
    # Through time the gradient decays by about 1 / sqrt 3 a step.
    line = pack.probe("timeline")
    assert line is not None
    top = line["grad_norm"][:, line["layer"] == 19]
    decay = (top[:, -1] / top[:, -11]) ** -0.1
    assert decay.mean() == pytest.approx(3**-0.5, abs=0.08)


def test_glorot_keeps_gradients_level():
    slope, recurrent = _profile(*_at_init(20, "xavier"))
    ratio = recurrent[:, 0] / recurrent[:, -1]
    print("slope", slope, "first/last", ratio)
    assert abs(slope.mean()) < 0.08
    assert 1 < ratio.mean() < 30


@pytest.mark.slow
def test_published_residual_stack_explodes_and_keeps_its_rows(digits):
    registry = builtin_registry()
    fixed = {"model": "residual_rnn", "task": "digits", "width": 64, "init": "xavier"}
    trials = [  # relu by default, as published
        registry.resolve({**fixed, "seed": seed, "residual_scale": scale})
        for scale in (1.0, "1/sqrt(L)")
        for seed in SEEDS
    ]
    pack = Pack(trials, digits)
    pack.init()
    result = pack.epoch(0)
    first, bad = result.epochs["loss_first"], result.bad_step
    print("first loss", first, "bad step", bad)
    assert (first[:3] > 1e3).all()
    assert ((bad[:3] >= 0) & (bad[:3] < 2)).all()
    assert np.isfinite(result.epochs["grad_norm_max"][:3]).all()
    assert pack.active.tolist() == [False] * 3 + [True] * 3
    assert (first[3:] < 6).all()
    _, recurrent = _profile(result, pack)
    ratio = recurrent[3:, 0] / recurrent[3:, -1]
    print("first/last", ratio)
    assert ((ratio > 0.5) & (ratio < 5)).all()


@pytest.mark.slow
def test_training_on_digits(digits):
    """Default init stays at chance, Glorot learns: L 20, H 64, SGD .01, 3 epochs of 23 batches."""
    registry = builtin_registry()
    fixed = {"model": "vanilla_rnn", "task": "digits", "width": 64, "lr": 0.01}
    pack = Pack([registry.resolve({**fixed, "init": i}) for i in ("default", "xavier")], digits)
    pack.init()
    losses = np.stack([pack.epoch(e).epochs["loss"] for e in range(3)])
    print(losses)
    assert losses[:, 0] == pytest.approx(np.log(10), rel=0.02)
    assert losses[2, 1] < 1.2
    assert (np.diff(losses[:, 1]) < 0).all()
