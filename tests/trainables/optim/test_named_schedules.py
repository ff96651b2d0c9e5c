"""The schedules of every optimizer against torch's formulas, stepped in NumPy."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.small_trials import trial
from trainables.core.hparams import lane_values, schedule_of
from trainables.core.length_reads import declared_readers
from trainables.declarations import ConfigError, Key, Optimizer, builtin_registry
from trainables.packs.pack import Pack

STEPS = 4
_RATES: dict[str, Any] = {}
"""Compiled schedules by program: trials of one differ in what is given to it alone."""


def rates(**config: Any) -> dict[str, np.ndarray]:
    """The rate of every group at every step of a trial."""
    one = trial(steps_per_epoch=STEPS, **config)
    schedule, steps = schedule_of(one), np.arange(one.epochs * STEPS, dtype=np.int32)
    at = jax.vmap(lambda lane, step: schedule.at(lane, None, step), (None, 0))
    found = _RATES.setdefault(one.program, jax.jit(at))(lane_values(one), steps)
    return {name: np.asarray(found[name]) for name in schedule.recorded or ("lr",)}


def stepped(peak: float, epochs: int, config: dict[str, Any]) -> list[float]:
    """The same, as torch's schedulers and SequentialLR go: one step after another."""
    end, gamma = config.get("lr_end") or 0.0, config.get("lr_gamma", 0.1)
    rise = round(config.get("lr_warmup", 0) * STEPS)
    every = config.get("lr_every", 1.0) * STEPS
    total, found = epochs * STEPS - rise, []
    at, cycle = 0, round(every)
    for step in range(epochs * STEPS):
        if step < rise:
            start = config.get("lr_start", 0.0)
            found.append(start + (peak - start) * step / rise)
            continue
        t, kind = step - rise, config["lr_schedule"]
        if kind == "constant":
            now = peak
        elif kind == "cosine":
            now = end + (peak - end) * (1 + math.cos(math.pi * t / total)) / 2
        elif kind == "restarts":
            now = end + (peak - end) * (1 + math.cos(math.pi * at / cycle)) / 2
            at += 1
            if at == cycle:
                at, cycle = 0, cycle * config.get("lr_growth", 1)
        elif kind == "exponential":
            now = max(peak * gamma ** (t / every), end)
        elif config.get("lr_milestones"):
            marks = [int(word) * STEPS for word in config["lr_milestones"].split(":")]
            now = peak * gamma ** sum(t >= mark for mark in marks)
        else:
            now = peak * gamma ** (t // round(every))
        found.append(now)
    return found


CASES: list[dict[str, Any]] = [
    {"lr_schedule": "constant"},
    {"lr_schedule": "cosine"},
    {"lr_schedule": "cosine", "lr_end": 0.01},
    {"lr_schedule": "restarts", "lr_every": 2.0},
    {"lr_schedule": "restarts", "lr_every": 1.25, "lr_growth": 2, "lr_end": 0.02},
    {"lr_schedule": "exponential", "lr_gamma": 0.5, "lr_every": 3.0},
    {"lr_schedule": "exponential", "lr_gamma": 0.3, "lr_end": 0.05},
    {"lr_schedule": "step", "lr_every": 3.0},
    {"lr_schedule": "step", "lr_milestones": "2:3:7", "lr_gamma": 0.25},
]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw_groups"])
def test_every_schedule_is_torch_s_with_and_without_a_warm_up(optimizer: str, seed: int) -> None:
    peak = float(np.random.default_rng(seed).uniform(0.1, 1))
    for case in CASES if optimizer == "sgd" else CASES[seed % 3 :: 3]:
        for warm in ({}, {"lr_warmup": 2.5, "lr_start": 0.01}):
            # adamw_groups has an end by default.
            config = {"lr_end": 0.0, **case} if case["lr_schedule"] == "cosine" else case
            found = rates(optimizer=optimizer, epochs=12, lr=peak, **config, **warm)
            for name, rate in found.items():
                share = 0.25 if name == "lr_recurrent" else 1.0
                want = stepped(peak * share, 12, {**config, **warm})
                np.testing.assert_allclose(rate, want, rtol=2e-5, atol=1e-7, err_msg=f"{case}")
            assert ("lr_recurrent" in found) == (optimizer == "adamw_groups")


def test_every_optimizer_has_them() -> None:
    """A fall to a quarter at epoch 2 of all that are built in, after a rise of one epoch."""
    config = {"lr_schedule": "step", "lr_milestones": "2", "lr_gamma": 0.25, "lr_warmup": 1.0}
    for optimizer in builtin_registry().names("optimizer"):
        one = trial(optimizer=optimizer, lr=0.5, epochs=5, steps_per_epoch=STEPS, **config)
        lane = jax.tree.map(jnp.asarray, lane_values(one))
        steps = map(jnp.int32, (2, 3 * STEPS - 1, 3 * STEPS))
        found = [float(schedule_of(one).at(lane, None, step)["lr"]) for step in steps]
        assert found == pytest.approx([0.25, 0.5, 0.125]), optimizer


def test_a_warm_up_comes_before_an_optimizer_s_own_schedule() -> None:
    """Adam's half cosine then takes the epochs that are left; torch's milestones count from the
    end of the rise."""
    own = rates(optimizer="adam", lr_end=0.01, lr=0.3, epochs=8)["lr"]
    warmed = rates(optimizer="adam", lr_end=0.01, lr=0.3, epochs=10, lr_warmup=2.0)["lr"]
    np.testing.assert_allclose(warmed[2 * STEPS :], own, rtol=1e-6)
    np.testing.assert_allclose(warmed[: 2 * STEPS], 0.3 * np.arange(8) / 8, rtol=1e-6)
    falling = rates(optimizer="torch_adam", lr_milestones="3", lr=1.0, epochs=8, lr_warmup=1.0)
    np.testing.assert_allclose(falling["lr"][[4, 15, 16]], [1.0, 1.0, 0.1], rtol=1e-6)


@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy"])
def test_a_plateau_lets_both_groups_of_adamw_fall(monitor: str, seed: int) -> None:
    """As torch's ReduceLROnPlateau counts; epochs of the rise do not."""
    config = {"optimizer": "adamw_groups", "lr_schedule": "plateau", "lr_monitor": monitor,
              "lr_patience": 2, "lr_gamma": 0.5, "lr_end": 0.1, "lr": 1.0,
              "epochs": 60, "lr_warmup": 3.0}  # fmt: skip
    one = trial(**config)
    lane, schedule = lane_values(one), schedule_of(one)
    assert schedule.watched == monitor
    rng, sign = np.random.default_rng(seed), 1 if monitor == "val_loss" else -1
    values = 2 - sign * np.linspace(0, 0.6, 60) + 0.3 * rng.uniform(size=60)
    state, found = schedule.start(lane), []
    advanced = jax.jit(lambda state, value: schedule.after_epoch(lane, state, value))
    at = jax.jit(lambda state: schedule.at(lane, state, jnp.int32(1000)))
    want, lr, best, waited = [], 1.0, sign * math.inf, 0
    for epoch, value in enumerate(values.astype(np.float32)):
        state = advanced(state, value)
        found.append([float(at(state)[name]) for name in ("lr", "lr_recurrent")])
        if epoch >= 3:
            better = sign * value < sign * best * (1 - sign * 1e-4)
            best, waited = (value, 0) if better else (best, waited + 1)
            if waited > 2:
                lr, waited = lr * 0.5, 0
        want.append([max(lr, 0.1), max(lr / 4, 0.1)])
    np.testing.assert_allclose(found, want, rtol=1e-6)
    assert want[-1] == [0.1, 0.1] or want[-1][0] < 1


def test_trials_of_one_schedule_are_lanes_of_one_program() -> None:
    """What is recorded at the end of an epoch is the rate of its last step; a rate of 0 moves
    nothing; and momenta, rates and lengths of cycles share a program."""
    both = [
        trial(lr_schedule="restarts", lr_every=every, momentum=momentum, nesterov=True, epochs=3,
              lr=lr, lr_warmup=1.0)
        for every, momentum, lr in ((1.0, 0.9, 0.1), (0.5, 0.5, 0.2))
    ]  # fmt: skip
    assert both[0].program == both[1].program != trial(lr_schedule="restarts").program
    pack = Pack(both, {})
    pack.init()
    seen = [pack.epoch(epoch) for epoch in range(3)]
    for lane, (every, lr) in enumerate(((1.0, 0.1), (0.5, 0.2))):
        case = {"lr_schedule": "restarts", "lr_every": every, "lr_warmup": 1.0}
        want = stepped(lr, 3, case)
        recorded = [float(result.metrics["lr"][lane]) for result in seen]
        np.testing.assert_allclose(recorded, want[STEPS - 1 :: STEPS], rtol=1e-5)
        assert seen[0].steps["update_norm"][lane][0] == 0
        assert seen[0].steps["update_norm"][lane][1] > 0


def test_what_reads_a_trial_s_length_is_known() -> None:
    """A longer trial goes on from a shorter one unless its schedule ends with the training."""
    for case in CASES:
        readers = declared_readers(trial(**case))
        cosine = case["lr_schedule"] == "cosine"
        assert readers == (["optimizer sgd with lr_schedule=cosine"] if cosine else [])


def test_keys_that_nobody_reads_are_refused() -> None:
    with pytest.raises(ConfigError, match="lr_gamma is not read with lr_schedule=cosine"):
        trial(lr_schedule="cosine", lr_gamma=0.5)
    with pytest.raises(
        ConfigError, match=r"lr_end is not read with lr_schedule=auto; .* cosine or"
    ):
        trial(lr_end=0.1)
    with pytest.raises(ConfigError, match="lr_warmup=9 must be below epochs=9"):
        trial(lr_schedule="constant", lr_warmup=9, epochs=9)
    with pytest.raises(ConfigError, match="plateau needs lr_patience"):
        trial(optimizer="torch_adam", lr_schedule="plateau")
    with pytest.raises(ConfigError, match="nesterov is a kind of momentum"):
        trial(nesterov=True)


def test_optimizers_of_users_have_the_schedules_too() -> None:
    """But not those that mean something else by one of the names."""
    import optax

    def build(config: Any, hparams: Any) -> Any:
        return optax.sgd(hparams["lr"])

    lr = Key("lr", "float", 0.1, "traced")
    registry = builtin_registry()
    registry.add(
        Optimizer(name="mine", build=build, keys=(lr,), version=1),
        Optimizer(name="other", build=build, keys=(lr, Key("lr_every", "int", 3)), version=1),
    )
    one = trial(registry, optimizer="mine", lr_schedule="step", lr_gamma=0.5, epochs=3)
    pack = Pack([one], {})
    pack.init()
    assert [float(pack.epoch(e).metrics["lr"][0]) for e in range(3)] == pytest.approx(
        [0.1, 0.05, 0.025]
    )
    other = registry.find("optimizer", "other")
    assert other is not None
    assert [key.name for key in other.keys] == ["lr", "lr_every"]
