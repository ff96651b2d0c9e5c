"""Two groups of parameters, and the schedule of both (docs/specs/bar2025.md, checks 5 and 6)."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from trainables.core.hparams import lane_values, schedule_of
from trainables.core.layout import by_path
from trainables.declarations import ConfigError, builtin_registry
from trainables.optim.adam import adamw_groups
from trainables.optim.decay import recurrent_leaves
from trainables.optim.schedules import warmed


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


PARAMS = {
    "encoder": {"w": ones(2, 3), "b": ones(3)},
    "lru": {n: ones(4) for n in ("nu", "theta", "gamma", "b_re", "b_im", "c_re", "d", "w_gate",
                                     "b_gate", "norm_scale")},
    "dense": {"a": ones(1, 4, 4), "b": ones(4, 2), "c": ones(2, 4)},
    "diagonal": {"lambda_re": ones(4), "lambda_im": ones(4), "b_re": ones(4)},
}  # fmt: skip
RECURRENT = {
    "lru/nu", "lru/theta", "lru/gamma", "lru/b_re", "lru/b_im", "dense/a", "dense/b",
    "diagonal/lambda_re", "diagonal/lambda_im", "diagonal/b_re",
}  # fmt: skip


def rates(**values: float) -> dict[str, jax.Array]:
    return {name: jnp.float32(value) for name, value in values.items()}


def test_the_recurrent_group_is_what_lies_beside_eigenvalues():
    marks = by_path(recurrent_leaves(PARAMS))
    assert {path for path, mark in marks.items() if mark} == RECURRENT


def test_without_gradients_the_recurrent_group_stays_and_the_others_shrink(seed):
    rng = np.random.default_rng(seed)
    lr, decay, factor = (float(v) for v in rng.uniform(0.001, 0.2, 3))
    rule = adamw_groups({}, rates(lr=lr, weight_decay=decay, lr_factor=factor))

    @jax.jit
    def moved(params: Any) -> Any:
        zeros = jax.tree.map(jnp.zeros_like, params)
        update, _ = rule.update(zeros, rule.init(params), params)
        return optax.apply_updates(params, update)

    for path, leaf in by_path(moved(PARAMS)).items():
        want = 1 if path in RECURRENT else 1 - lr * decay
        np.testing.assert_allclose(leaf, want, rtol=1e-6)


def test_groups_move_as_adam_at_their_own_rates(seed):
    """Three steps against optax's own adam and adamw on the parts."""
    rng = np.random.default_rng(seed)
    rule = adamw_groups({}, rates(lr=0.01, weight_decay=0.05, lr_factor=0.25))
    params, state = PARAMS, rule.init(PARAMS)
    plain = {path: path in RECURRENT for path in by_path(PARAMS)}
    flat: dict[str, Any] = by_path(PARAMS)
    rules = {True: optax.adam(0.0025), False: optax.adamw(0.01, weight_decay=0.05)}
    groups: dict[bool, Any] = {
        mark: {p: flat[p] for p in flat if plain[p] is mark} for mark in (True, False)
    }
    states = {mark: rules[mark].init(groups[mark]) for mark in groups}
    for _ in range(3):
        draws = {p: jnp.asarray(rng.normal(size=v.shape), jnp.float32) for p, v in flat.items()}
        gradient = jax.tree.unflatten(jax.tree.structure(PARAMS), list(draws.values()))
        update, state = rule.update(gradient, state, params)
        params = optax.apply_updates(params, update)
        for mark, own in groups.items():
            change, states[mark] = rules[mark].update({p: draws[p] for p in own}, states[mark], own)
            groups[mark] = optax.apply_updates(own, change)
    for path, leaf in by_path(params).items():
        np.testing.assert_allclose(leaf, groups[plain[path]][path], rtol=1e-5)


def schedule(compat: bool, **values: Any) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Rates of both groups at every step, and the numbers they come from."""
    config = {"model": "deep_lru", "task": "gaussian", "optimizer": "adamw_groups",
              "compat_schedule": compat, **values}  # fmt: skip
    trial = builtin_registry().resolve(config)
    lane = lane_values(trial)
    steps = np.arange(int(lane["total_steps"]))
    now = jax.jit(jax.vmap(schedule_of(trial).at, (None, None, 0)))(lane, None, steps)
    return np.asarray(now["lr"]), np.asarray(now["lr_recurrent"]), trial.config


@pytest.fixture
def drawn(seed) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    epochs = int(rng.integers(4, 20))
    return {"epochs": epochs, "lr_warmup": int(rng.integers(1, epochs // 2 + 1)),
            "steps_per_epoch": int(rng.integers(3, 30)), "lr": float(rng.uniform(1e-3, 0.1)),
            "lr_factor": float(rng.uniform(0.02, 0.5))}  # fmt: skip


def test_the_intended_schedule(drawn):
    lr, slow = schedule(False, **drawn)[:2]
    total, warm = len(lr), drawn["lr_warmup"] * drawn["steps_per_epoch"]
    assert total == drawn["epochs"] * drawn["steps_per_epoch"]
    for rate, base in ((lr, drawn["lr"]), (slow, drawn["lr"] * drawn["lr_factor"])):
        assert rate[0] == pytest.approx(1e-7, rel=1e-3)
        assert rate[warm] == pytest.approx(base, rel=1e-5)
        assert rate[-1] == pytest.approx(1e-7, rel=1e-2, abs=2e-9)
        assert (np.diff(rate[: warm + 1]) > 0).all()
        assert (np.diff(rate[warm:]) < 0).all()
        middle = (warm + total - 1) // 2
        share = (middle - warm) / (total - 1 - warm)
        want = 1e-7 + (base - 1e-7) * (1 + math.cos(math.pi * share)) / 2
        assert rate[middle] == pytest.approx(want, rel=1e-4)


def test_the_published_schedule_step_by_step(drawn):
    """Simulated as the published loop goes: a rate is written after the step it was found for."""
    lr, _, _ = schedule(True, **drawn)
    total, base = len(lr), drawn["lr"]
    warm = drawn["lr_warmup"] * drawn["steps_per_epoch"]
    rate, used = base, []
    for step in range(total):
        used.append(rate)
        if step < warm:
            rate = base * (step + 1) / warm
        else:
            count = min(step, total - warm)
            rate = (base - 1e-7) * 0.5 * (1 + math.cos(math.pi * count / (total - warm))) + 1e-7
    np.testing.assert_allclose(lr, used, rtol=2e-4, atol=1e-8)
    assert lr[0] == pytest.approx(base)
    assert (lr[-max(warm - 1, 1) :] < 1.1e-7).all() or warm <= 1


def test_a_warm_up_as_long_as_the_training_is_refused():
    with pytest.raises(ConfigError, match="lr_warmup must be below epochs"):
        schedule(False, epochs=5, lr_warmup=5)


def test_constant_without_an_end():
    lr, slow, _ = schedule(False, lr_end=None, epochs=3, lr=0.5, lr_factor=0.5)
    assert (lr == 0.5).all()
    assert (slow == 0.25).all()
    values = rates(lr=1.0, lr_end=0.0, total_steps=10, warmup_steps=0, compat_schedule=0)
    assert float(warmed(values, jnp.float32(1.0), jnp.int32(0))) == 1.0
