"""The task teacher_student: its teacher, its batches, both execution modes
(docs/specs/zucchet2024.md, check 7)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trainables.core.hparams import lane_values
from trainables.declarations import ConfigError, Trial, builtin_registry
from trainables.layers.eigenvalue_init import pulled_matrix
from trainables.packs.pack import Pack
from trainables.tasks.base import make_task
from trainables.tasks.teacher_student import TeacherStudent
from trainables.tasks.teacher_systems import Form, dense, diagonal, response
from trainables.training.network import Network

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
    return TeacherStudent.of(trial), {k: jnp.asarray(v) for k, v in lane_values(trial).items()}


@pytest.mark.parametrize(("prng", "nu"), list(TABLE))
@pytest.mark.slow
def test_published_teachers(prng, nu):
    task, values = task_of(small(prng=prng, min_nu=nu, seq_len=300, max_phase=3.14))
    least, greatest, energy = TABLE[prng, nu]
    assert float(task.scale(values)) == pytest.approx(energy, rel=1e-3)
    a = np.asarray(dense(42, Form(prng=prng), (nu, 1.0, 3.14))[0], np.float64)
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
    system = dense(own, Form(6, prng="original"), (nu, 1.0, phase))
    a, b, c, d = (np.asarray(part, np.float64) for part in system)
    h, want = np.zeros(6), []
    for t in range(30):
        h = a @ h + b[:, 0] * (t == 0)
        want.append(c[0] @ h + d[0, 0] * (t == 0))
    found = np.asarray(response(system, 30))
    assert found == pytest.approx(np.array(want), rel=1e-4, abs=1e-5)
    g = rng.normal(size=(4, 4))
    spread = np.abs(np.linalg.eigvals(np.asarray(pulled_matrix(jnp.asarray(g), nu, 1.0, 3.14))))
    assert (spread < 1).all()


@pytest.mark.parametrize("kind", ["dense", "diagonal_complex"])
@pytest.mark.parametrize("norm", ["none", "L1", "L2"])
def test_teachers_of_several_inputs_and_outputs(kind, norm, seed):
    """Against sums over modes in complex128: each input acts on every mode times its factor."""
    plain, form = (Form(5, 2, 3, kind, norm=n) for n in ("none", norm))
    ring = 0.6, 0.9, 2.0
    if kind == "dense":
        a, b, c, d = (np.asarray(part, np.float64) for part in dense(seed, plain, ring))
        lam, v = np.linalg.eig(a)
        b, c = np.linalg.inv(v) @ b, c @ v
    else:
        *pairs, d = diagonal(seed, plain, ring)
        lam, b, c = (np.asarray(re) + 1j * np.asarray(im) for re, im in pairs)
        assert (np.abs(lam) >= 0.6).all()
        assert (np.abs(np.angle(lam)) <= 2.0).all()
    assert (np.abs(lam) <= 0.9).all()
    factor = {"none": 1, "L1": 1 - np.abs(lam), "L2": np.sqrt(1 - np.abs(lam) ** 2)}[norm]
    want = np.einsum("on,tn,ni->toi", c * factor, lam ** np.arange(20)[:, None], b).real
    want[0] += np.asarray(d)
    found = np.asarray(form.response(seed, ring, 20))
    assert found == pytest.approx(want, rel=1e-3, abs=1e-4)


def _without_maps(kind: str) -> np.ndarray:
    return np.asarray(Form(4, 4, 4, kind, maps=False).response(3, (0.5, 0.9, 1.0), 6))


def test_a_teacher_without_maps_is_powers_of_its_matrix():
    a = np.asarray(dense(3, Form(4, 4, 4), (0.5, 0.9, 1.0))[0], np.float64)
    powers = [np.linalg.matrix_power(a, t) for t in range(6)]
    assert _without_maps("dense") == pytest.approx(np.array(powers), rel=1e-4, abs=1e-5)
    (re, im), *_ = diagonal(3, Form(4, 4, 4, "diagonal_complex"), (0.5, 0.9, 1.0))
    lam = np.asarray(re) + 1j * np.asarray(im)
    want = [np.diag((lam**t).real) for t in range(6)]
    assert _without_maps("diagonal_complex") == pytest.approx(np.array(want), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        {"input_mean": 0.7, "input_std": 1.5, "output_noise": 0.3},
        {"input_type": "constant", "input_mean": -0.4, "input_std": 0.8},
        {"d_input": 2, "d_output": 3, "input_mean": 0.7, "output_noise": 0.3},
        {"d_input": 2, "d_output": 3, "input_type": "constant", "input_mean": 0.5},
    ],
)
def test_energy_is_that_of_answering_zero(config, seed):
    """Against the moments of y = K x + noise, K written out as one matrix; and batches have it."""
    task, values = task_of(small(seed=seed, seq_len=12, batch_size=2000, **config))
    inputs, outputs = config.get("d_input", 1), config.get("d_output", 1)
    k = np.asarray(task.response(values), np.float64).reshape(12, outputs, inputs)
    whole = np.zeros((12, outputs, 12, inputs))
    for t in range(12):
        for s in range(t + 1):
            whole[t, :, s] = k[t - s]
    whole = whole.reshape(12 * outputs, 12 * inputs)
    mean = np.full(12 * inputs, config["input_mean"])
    ones = np.ones((12, 12)) if config.get("input_type") == "constant" else np.eye(12)
    covariance = config.get("input_std", 1.0) ** 2 * np.kron(ones, np.eye(inputs))
    noise = config.get("output_noise", 0.0) ** 2 * outputs
    want = np.trace(whole @ covariance @ whole.T) + np.sum((whole @ mean) ** 2)
    want = 0.5 * (want / 12 + noise)
    assert float(task.scale(values)) == pytest.approx(want, rel=1e-4)
    schedule = task.training(jax.random.key(seed), values, jnp.int32(0))
    x, y, _ = task.batch({}, jax.tree.map(lambda leaf: leaf[0], schedule), values)
    assert x.shape == (2000, 12, inputs)
    losses = task.losses(jnp.zeros((2000, 12, outputs)), y)
    assert float(jnp.mean(losses)) == pytest.approx(want, rel=0.25)


def test_a_teacher_has_its_own_ring():
    """The teacher of teacher_min_nu is that of min_nu, and the student's first moduli are not."""
    own, student = (
        task_of(small(min_nu=nu, max_phase=phase, **more))
        for nu, phase, more in (
            (0.9, 1.0, {}),
            (0.2, 3.0, {"teacher_min_nu": 0.9, "teacher_max_phase": 1.0}),
        )
    )
    assert np.array_equal(own[0].response(own[1]), student[0].response(student[1]))
    task, values = task_of(small(max_phase=1.0, teacher_max_nu=0.95))
    want = response(dense(42, Form(), (0.9, 0.95, 1.0)), 40)
    assert np.asarray(task.response(values)) == pytest.approx(np.asarray(want), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"teacher_maps": False}, "set d_input and d_output to teacher_order=10"),
        ({"teacher_form": "diagonal_complex", "prng": "original"}, "generator of today only"),
        ({"teacher_min_nu": 0.9, "teacher_max_nu": 0.8}, "from 0.9 to teacher_max_nu=0.8"),
        ({"model": "s4", "d_input": 2}, "d_input and d_output must be equal"),
        ({"maps": False}, "set width to d_input and d_output"),
    ],
)
def test_teachers_that_cannot_be(config, said):
    with pytest.raises(ConfigError, match=said):
        small(**config)


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
        {"model": "lru", "d_input": 2, "d_output": 3, "output_noise": 0.1, "input_mean": 0.5},
        {"model": "linear_rnn", "heads": 2, "d_input": 8, "d_output": 8, "maps": False},
        {"model": "s4", "d_input": 2, "d_output": 2, "teacher_form": "diagonal_complex"},
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


_DEEP = {k: v for k, v in SMALL.items() if k != "model"} | {"depth": 1, "task.max_phase": 2.0}


@pytest.mark.parametrize(
    "model",
    [
        {"model": "deep_lru", "d_model": 8, "norm": "none", "pooling": "none"},
        {"model": "lru_stack", "dropout": 0.0},
    ],
)
def test_a_deep_student_has_phases_apart_from_its_teacher(model):
    """Both declare max_phase: each part gets its own, in its weights and in its teacher."""
    config = {**_DEEP, **model, "model.max_phase": 0.5}
    trial = builtin_registry().resolve(config)
    pack = Pack([trial], {})
    pack.init()
    assert np.isfinite(pack.epoch(0).epochs["loss_ratio"]).all()
    lane = lane_values(trial)
    values = {k: jnp.asarray(v) for k, v in lane.items()}
    module: Any = Network(trial, make_task(trial, {}), lane)._module(trial, values)
    re, im = (np.asarray(part) for part in module.eigenvalues())
    assert (np.abs(np.angle(re + 1j * im)) <= 0.5 + 1e-4).all()
    plain, own = task_of(small(max_phase=2.0))
    assert np.array_equal(make_task(trial, {}).scale(values), plain.scale(own))
    with pytest.raises(ConfigError, match=r"set model\.max_phase or task\.max_phase"):
        builtin_registry().resolve({**config, "max_phase": 1.0})
