"""Cosine schedule, Adam's learning rate of each tensor, curvature
(docs/specs/zucchet2024.md, check 6)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from trainables.core.layout import by_path
from trainables.declarations import Trial, builtin_registry
from trainables.optim.schedules import Constant, HalfCosine
from trainables.packs.pack import Pack
from trainables.probes.effective_lr import effective_lr
from trainables.probes.sharpness import top_eigenvalue
from trainables.training.epoch import Training

CONFIG = {"task": "teacher_student", "model": "lru", "min_nu": 0.9, "seq_len": 20, "batch_size": 5,
          "steps_per_epoch": 4, "width": 6, "optimizer": "adam", "lr": 1e-2, "epochs": 2,
          "lr_end": 1e-7, "effective_lr_every": 1, "sharpness_every": 1,
          "weight_rates_every": 0, "weight_rates_most": 7}  # fmt: skip


def trial(**config: Any) -> Trial:
    return builtin_registry().resolve({**CONFIG, **config})


def test_the_schedule_is_half_a_cosine():
    hparams: dict[str, Any] = {k: jnp.float32(v) for k, v in
               {"lr": 0.02, "lr_end": 1e-7, "total_steps": 1000}.items()}  # fmt: skip
    rate = jax.jit(lambda hparams, step: HalfCosine({}).at(hparams, None, step)["lr"])
    found = [float(rate(hparams, step)) for step in (0, 500, 1000)]
    assert found == pytest.approx([0.02, (0.02 + 1e-7) / 2, 1e-7], rel=1e-5, abs=1e-10)
    constant = rate({**hparams, "lr_end": jnp.float32(jnp.nan)}, 7)
    assert float(constant) == pytest.approx(0.02)
    assert Constant({}).at({"lr": jnp.float32(1)}, None, jnp.int32(3)) == {"lr": 1}


@pytest.mark.slow
def test_training_follows_the_schedule():
    """Adam's first step is lr in size; one that starts a schedule near its end is lr_end."""
    packs = [Pack([trial(steps_per_epoch=1, epochs=n, lr_end=end)], {}) for n, end in
             ((1, 1e-7), (1, None))]  # fmt: skip
    moved = []
    for pack in packs:
        pack.init()
        moved.append(pack.epoch(0).layers["update_norm"][0])
    assert moved[0] == pytest.approx(moved[1], rel=1e-6)
    long, constant = (Pack([trial(lr_end=end)], {}) for end in (1e-7, None))
    long.init()
    constant.init()
    a, b = (p.epoch(0).epochs["update_norm"][0] for p in (long, constant))
    assert a < b


@pytest.fixture(scope="module")
def trained() -> Pack:
    pack = Pack([trial()], {})
    pack.init()
    pack.epoch(0)
    return pack


def test_rates_are_adam_s(seed):
    """Check 6: lr / (sqrt(v^) + 1e-8) by hand to 1e-5, what float32 gives, and the published probe;
    of drawn moments, as four steps may leave them."""
    pack, rng = Pack([trial(width=9)], {}), np.random.default_rng(seed)
    leaves: dict[str, np.ndarray] = {}
    for path, shape in by_path(pack._programs.shapes).items():
        drawn = 10.0 ** rng.uniform(-6, 0, shape.shape)
        if "/mu/" in path:
            drawn *= rng.choice([-1, 1], shape.shape)
        counts = not np.issubdtype(shape.dtype, np.floating)
        leaves[path] = np.full(shape.shape, 4) if counts else drawn.astype(np.float32)
    pack.load(0, {**leaves, "alive": np.asarray(True)})
    rows = pack.probe("effective_lr")
    assert rows is not None
    lr = 1e-7 + (1e-2 - 1e-7) * (1 + np.cos(np.pi * 4 / 8)) / 2
    assert rows["lr"][0] == pytest.approx(lr, rel=1e-5)
    assert rows["tensor"].tolist()[:3] == ["nu", "theta", "gamma"]
    for i, tensor in enumerate(rows["tensor"]):
        square = next(v for k, v in leaves.items() if k.endswith(f"nu/layer/{tensor}"))
        mean = next(v for k, v in leaves.items() if k.endswith(f"mu/layer/{tensor}"))
        rates = lr / (np.sqrt(square.astype(np.float64) / (1 - 0.999**4)) + 1e-8)
        assert rows["lr_mean"][0, i] == pytest.approx(np.exp(np.log(rates).mean()), rel=1e-5)
        assert rows["lr_min"][0, i] == pytest.approx(rates.min(), rel=1e-5)
        assert rows["lr_max"][0, i] == pytest.approx(rates.max(), rel=1e-5)
        m = (0.9 * mean.astype(np.float64) + 0.1) / (1 - 0.9**5)
        v = (0.999 * square.astype(np.float64) + 0.001) / (1 - 0.999**5)
        step = lr * m / (np.sqrt(v) + 1e-8)
        probe = 10 ** np.log10(np.maximum(step, 0) + 1e-8).mean()
        assert rows["lr_probe"][0, i] == pytest.approx(probe, rel=1e-4)
        assert rows["negative"][0, i] == pytest.approx((step <= 0).mean())
        of_weights = pack.probe("weight_rates")
        assert of_weights is not None
        own = of_weights["tensor"] == tensor
        assert own.sum() == min(square.size, 7)
        entries = of_weights["entry"][own]
        assert of_weights["lr"][0, own] == pytest.approx(rates.ravel()[entries], rel=1e-5)
        assert of_weights["step"][0, own] == pytest.approx(step.ravel()[entries], rel=1e-4)
        weight = next(v for k, v in leaves.items() if k == f"params/layer/{tensor}")
        assert of_weights["weight"][0, own] == pytest.approx(weight.ravel()[entries])


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "factor"), [(10_000, 3.162), (2_000, 2.94)])
def test_the_published_probe_saturates(steps, factor):
    """After so many steps without a gradient: lr .1 / sqrt(.001), less v's bias correction."""
    one = trial(lr_end=None)
    pack = Pack([one], {})
    engine = pack._engine
    assert isinstance(engine, Training)
    found = effective_lr(engine, one)
    assert found is not None
    values = jax.tree.map(lambda leaf: leaf[0], pack._values)
    state = engine.init(one, values)
    state["optimizer"] = optax.tree.set(state["optimizer"], count=jnp.int32(steps))
    rows = found[1](state, values, {})
    assert np.asarray(rows["lr_probe"]) == pytest.approx(factor * 1e-2, rel=0.01)


def test_power_iteration_finds_the_largest_curvature(seed):
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    h = jnp.asarray(q @ np.diag([9, -3, 2, 1, 0.5, 0]) @ q.T, jnp.float32)
    found = top_eigenvalue(lambda x: h @ x, jnp.zeros(6))
    assert float(found) == pytest.approx(9, rel=1e-3)


@pytest.mark.slow
def test_sharpness_of_a_network(trained):
    rows = trained.probe("sharpness")
    assert rows is not None
    assert rows["top_eigenvalue"].shape == (1, 1)
    assert rows["top_eigenvalue"][0, 0] >= rows["directional"][0, 0] - 1e-3
    assert rows["directional"][0, 0] != 0
