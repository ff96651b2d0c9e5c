"""The task teacher_student: its teacher, its batches, both execution modes
(docs/specs/zucchet2024.md, check 7)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainables.declarations import ConfigError, Trial, builtin_registry
from trainables.layers.eigenvalue_init import pulled_matrix
from trainables.packs.pack import Pack
from trainables.tasks.teacher_student import TeacherStudent, response, teacher

TABLE = {  # prng, nu0 -> least and greatest |eigenvalue|, energy (section 2)
    ("partitionable", 0.36): (0.588, 0.842, 1.966),
    ("partitionable", 0.68): (0.794, 0.921, 7.05),
    ("partitionable", 0.84): (0.897, 0.960, 21.47),
    ("partitionable", 0.92): (None, None, 49.5),
    ("partitionable", 0.96): (None, None, 99.3),
    ("partitionable", 0.98): (None, None, 184.3),
    ("partitionable", 0.99): (0.99356, 0.99753, 309.8),
    ("original", 0.36): (0.516, 0.800, 0.706),
    ("original", 0.84): (0.879, 0.950, 9.07),
    ("original", 0.99): (0.99243, 0.99688, 118.7),
}
SMALL = {"task": "teacher_student", "model": "lru", "min_nu": 0.9, "seq_len": 40, "batch_size": 6,
         "steps_per_epoch": 4, "width": 8, "optimizer": "adam", "lr": 1e-3}  # fmt: skip


def small(**config: Any) -> Trial:
    return builtin_registry().resolve({**SMALL, **config})


def task_of(trial: Trial) -> tuple[TeacherStudent, dict[str, jax.Array]]:
    from trainables.core.hparams import lane_values

    return TeacherStudent.of(trial), {k: jnp.asarray(v) for k, v in lane_values(trial).items()}


@pytest.mark.parametrize(("prng", "nu"), list(TABLE))
@pytest.mark.slow
def test_published_teachers(prng, nu):
    task, values = task_of(small(prng=prng, min_nu=nu, seq_len=300, max_phase=3.14))
    least, greatest, energy = TABLE[prng, nu]
    assert float(task.scale(values)) == pytest.approx(energy, rel=1e-3)
    a = np.asarray(teacher(42, 10, nu, 3.14, prng)[0], np.float64)
    moduli = np.abs(np.linalg.eigvals(a))
    if least is not None:
        assert (moduli.min(), moduli.max()) == pytest.approx((least, greatest), abs=1e-3)
    assert moduli.max() < 1


def test_the_teacher_is_its_seed_s_whatever_the_trial_s():
    responses = [
        np.asarray(task.response(values))
        for task, values in (
            task_of(small(seed=1)), task_of(small(seed=2)), task_of(small(teacher_seed=7)),
        )
    ]  # fmt: skip
    assert np.array_equal(responses[0], responses[1])
    assert not np.allclose(responses[0], responses[2])


def test_response_is_the_system_s(seed):
    """Against a loop in float64, at a ring, phase and seed drawn from the run's seed."""
    rng = np.random.default_rng([seed, 1])
    nu, phase, own = rng.uniform(0.2, 0.95), rng.uniform(0.1, 3), int(rng.integers(2**31))
    system = teacher(own, 6, nu, phase, "original")
    a, b, c, d = (np.asarray(part, np.float64) for part in system)
    h, want = np.zeros(6), []
    for t in range(30):
        h = a @ h + b * (t == 0)
        want.append(c @ h + d * (t == 0))
    found = np.asarray(response(system, 30))
    assert found == pytest.approx(np.array(want), rel=1e-4, abs=1e-5)
    g = rng.normal(size=(4, 4))
    spread = np.abs(np.linalg.eigvals(np.asarray(pulled_matrix(jnp.asarray(g), nu, 1.0, 3.14))))
    assert (spread < 1).all()


def test_batches_are_those_of_seed_epoch_and_step(seed):
    task, values = task_of(small(seed=seed, batch_size=128, seq_len=300))
    draw = jax.jit(lambda entry: task.batch({}, entry, values))

    def batch(epoch: int, step: int) -> np.ndarray:
        schedule = task.training(jax.random.key(seed), values, jnp.int32(epoch))
        return np.asarray(draw(jax.tree.map(lambda leaf: leaf[step], schedule))[0])

    later, first = batch(2, 1), batch(0, 3)
    assert np.array_equal(first, batch(0, 3))
    assert np.array_equal(later, batch(2, 1))
    assert not np.array_equal(first, later)
    assert first.shape == (128, 300, 1)
    many = np.stack([batch(epoch, step) for epoch in range(4) for step in range(2)])
    assert many.mean() == pytest.approx(0, abs=0.01)
    assert many.var() == pytest.approx(1, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        {"model": "lru"},
        {"model": "lru", "lru_param": "default", "lru_gamma": "none"},
        {"model": "linear_rnn", "heads": 2},
        {"model": "s4"},
    ],
)
def test_both_execution_modes_train_alike(model):
    """Loss, gradient of every tensor and loss ratio of the same batches, recurrent and kernel."""
    found = []
    for execution in ("recurrent", "kernel"):
        pack = Pack([small(execution=execution, **model)], {})
        pack.init()
        found.append((pack.epoch(0), pack))
    (one, left), (two, right) = found
    for name in ("loss_first", "loss", "loss_ratio", "val_loss", "test_loss"):
        assert two.epochs[name] == pytest.approx(one.epochs[name], rel=1e-4)
    for name in ("grad_norm", "update_norm"):
        assert two.layers[name] == pytest.approx(one.layers[name], rel=1e-3)
    assert np.isnan(one.epochs["accuracy"]).all()
    task, values = task_of(small(**model))
    energy = float(task.scale(values))
    assert one.epochs["loss_ratio"][0] == pytest.approx(one.epochs["loss"][0] / energy, rel=1e-5)
    lines = [pack.probe("timeline") for pack in (left, right)]
    assert lines[0] is not None
    assert lines[1] is not None
    assert lines[1]["grad_norm"] == pytest.approx(lines[0]["grad_norm"], rel=2e-2)


def test_auto_is_kernel_here_and_recurrent_elsewhere():
    from trainables.declarations.models.linear_rnn import executes

    assert executes(small().config) == "kernel"
    assert executes(small(execution="recurrent").config) == "recurrent"
    assert executes({**small().config, "task": "gaussian"}) == "recurrent"


@pytest.mark.slow
def test_other_recurrent_models_learn_systems_too():
    config = {"model": "gru", "depth": 1, "widths": "4", "dropout": 0.0}
    trial = builtin_registry().resolve(
        {**{k: v for k, v in SMALL.items() if k not in ("model", "width")}, **config}
    )
    pack = Pack([trial], {})
    pack.init()
    assert np.isfinite(pack.epoch(0).epochs["loss_ratio"]).all()
    with pytest.raises(ConfigError, match="needs an output at every step"):
        small(model="vanilla_rnn")
