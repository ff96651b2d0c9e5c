"""P1-4: clipping and schedules against torch's rules written out, step by step."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainables.core.hparams import lane_values, schedule_of
from trainables.declarations import ConfigError, builtin_registry
from trainables.optim.adam import adam
from trainables.optim.clipping import rescale
from trainables.optim.reduce_on_plateau import torch_schedule
from trainables.packs.pack import Pack

RATES = {"lr_gamma": jnp.float32(0.1), "min_lr": jnp.float32(1e-7)}


def trial(**config: Any) -> Any:
    base = {"model": "torch_lstm", "task": "sine", "optimizer": "torch_adam"}
    small = {"width": 4, "seq_len": 8, "n_sequences": 20}
    return builtin_registry().resolve({**base, **small, **config})


def torch_plateau(lr: float, losses: list[float], patience: int = 7) -> list[float]:
    """ReduceLROnPlateau(factor=.1, patience, min_lr=1e-8), as torch documents it."""
    best, bad, found = math.inf, 0, []
    for loss in losses:
        if loss < best * (1 - 1e-4):
            best, bad = loss, 0
        else:
            bad += 1
        if bad > patience:
            new = max(lr * 0.1, 1e-8)
            lr = new if lr - new > 1e-8 else lr
            bad = 0
        found.append(lr)
    return found


@pytest.mark.parametrize("patience", [0, 2, 7])
def test_a_plateau_is_torch_s(patience: int, seed: int) -> None:
    rng = np.random.default_rng([seed, patience])
    losses = np.minimum.accumulate(rng.uniform(1, 2, 120)) + 0.01 * rng.uniform(size=120)
    losses[40] = math.nan
    schedule = torch_schedule({"lr_patience": patience})
    state, found = schedule.start({"lr": jnp.float32(1e-3)}), []
    advanced = jax.jit(lambda state, loss: schedule.after_epoch(RATES, state, loss))
    for loss in losses:
        state = advanced(state, np.float32(loss))
        found.append(float(state["lr"]))
    want = torch_plateau(1e-3, np.asarray(losses, np.float32).tolist(), patience)
    np.testing.assert_allclose(found, want, rtol=1e-5)
    assert min(want) == pytest.approx(1e-8)


def test_a_loss_that_never_falls_ends_the_trial_below_its_least_rate() -> None:
    """Steps too short to improve anything: 1e-6 falls to 1e-7, then below min_lr."""
    config = {"task": "temporal_order", "seq_len": 12, "position_symbols_start": "1:5",
              "position_symbols_len": 3, "n_sequences": 20, "n_sequences_val": 20,
              "batch_size": 20}  # fmt: skip
    one = builtin_registry().resolve(
        {"model": "torch_rnn", "optimizer": "torch_adam", "width": 4, "lr": 1e-6, "min_lr": 1e-7,
         "lr_patience": 1, "epochs": 100, "weight_decay": 0.0, "clip_norm": 1e-12, **config}
    )  # fmt: skip
    pack = Pack([one], {})
    pack.init()
    rates, finished = [], False
    for epoch in range(100):
        found = pack.epoch(epoch)
        rates.append(float(found.metrics["lr"][0]))
        finished = bool(found.finished[0])
        if finished:
            break
    want = {1e-6: 0, 1e-7: 0}
    assert finished
    assert {round(math.log10(rate)) for rate in rates} == {round(math.log10(k)) for k in want}


def falling(**config: Any) -> Any:
    return trial(lr_milestones="2:3:5", lr_gamma=0.25, lr=0.01, epochs=7, **config)


def test_milestones_multiply_at_the_start_of_their_epochs() -> None:
    one = falling(clip_norm=1e-6)
    values, steps = lane_values(one), one.sizes.steps
    hparams, schedule = {n: jnp.asarray(v) for n, v in values.items()}, schedule_of(one)
    rate = jax.jit(lambda step: schedule.at(hparams, None, step)["lr"])
    rates = [float(rate(e * steps)) for e in range(7)]
    want = [0.01 * 0.25**n for n in (0, 0, 1, 2, 2, 3, 3)]
    np.testing.assert_allclose(rates, want, rtol=1e-6)
    last = [float(rate((e + 1) * steps - 1)) for e in range(7)]
    np.testing.assert_allclose(last, want, rtol=1e-6)
    pack = Pack([one], {})
    pack.init()
    seen = [float(pack.epoch(e).metrics["lr"][0]) for e in range(7)]
    np.testing.assert_allclose(seen, want, rtol=1e-6)


def test_clipped_adam_is_torch_s(seed: int) -> None:
    """Ten steps of clip_grad_norm_ (its 1e-6 included) and torch's Adam, in NumPy."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=5)
    m, v, ours = np.zeros(5), np.zeros(5), jnp.asarray(w, jnp.float32)
    rule = adam({}, {"lr": jnp.float32(1e-3), "weight_decay": jnp.float32(0)})
    state = rule.init(ours)

    @jax.jit
    def stepped(g: jax.Array, state: Any, ours: jax.Array) -> Any:
        scaled, _ = rescale(g, jnp.linalg.norm(g), jnp.float32(0.25), None)
        updates: Any
        updates, state = rule.update(scaled, state, ours)
        return ours + updates, state

    clipped = 0
    for t in range(1, 11):
        g = rng.normal(size=5) * (0.02 if t % 3 == 0 else 100)
        factor = min(1, 0.25 / (np.linalg.norm(g) + 1e-6))
        clipped += factor < 1
        m = 0.9 * m + 0.1 * factor * g
        v = 0.999 * v + 0.001 * (factor * g) ** 2
        w = w - 1e-3 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        ours, state = stepped(g.astype(np.float32), state, ours)
    np.testing.assert_allclose(ours, w, rtol=2e-6, atol=2e-6)
    assert 0 < clipped < 10


def test_the_share_of_clipped_steps_is_a_metric() -> None:
    for clip, share in ((1e-6, 1.0), (1e9, 0.0)):
        pack = Pack([falling(clip_norm=clip)], {})
        pack.init()
        assert float(pack.epoch(0).metrics["clip_fraction"][0]) == share


def test_two_schedules_are_one_too_many() -> None:
    with pytest.raises(ConfigError, match="two schedules"):
        trial(lr_milestones="5", lr_patience=7)
    with pytest.raises(ConfigError, match="such as 500:1000:2000"):
        trial(lr_milestones="5,6")
