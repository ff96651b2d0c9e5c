"""What every model, task, optimizer, stage and probe keeps to. A new one enters by one line here.

Each line is a small config; a part without one fails `test_every_part_has_its_line`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from orchestrator.datasets import loader
from tests.support.small_trials import assert_same_lane, check_rows
from trainables.core.hparams import lane_values, schedule_of
from trainables.core.random_keys import trial_key
from trainables.declarations import Probe, Trial, builtin_registry
from trainables.packs.pack import EpochResult, Pack
from trainables.tasks.base import make_data, make_task

SLOW = (
    "bare_lru", "cnn", "gru_stack", "imdb", "lmu", "lsnn", "lstm_stack", "residual_convnet",
)  # fmt: skip
"""Models and tasks whose programs take longest to compile, or are those of another model here."""
KINDS = {"string": "OU", "float64": "f", "int32": "iu", "int64": "iu", "bool": "b"}
"""NumPy's kinds of arrays that a column of an Arrow type may hold."""

GAUSSIAN = {
    "task": "gaussian", "seq_len": 6, "features": 2, "classes": 3, "batch_size": 4,
    "steps_per_epoch": 2,
}  # fmt: skip
SCALAR = {"task": "teacher_student", "seq_len": 6, "batch_size": 4, "steps_per_epoch": 2}
SINE = {"task": "sine", "model": "torch_rnn", "width": 4, "seq_len": 8, "n_sequences": 20}
RNN = {**GAUSSIAN, "model": "vanilla_rnn", "depth": 2, "width": 4}

MODELS: dict[str, dict[str, Any]] = {
    "bare_lru": {**GAUSSIAN, "depth": 2, "width": 4},
    "cnn": {**GAUSSIAN, "features": 6, "depth": 2, "width": 3, "resize": 8, "pool": 2},
    "deep_diagonal_rnn": {**GAUSSIAN, "depth": 2, "width": 4, "d_model": 3},
    "deep_linear_rnn": {**GAUSSIAN, "depth": 2, "width": 4, "d_model": 3},
    "deep_lru": {**GAUSSIAN, "depth": 2, "width": 4, "d_model": 3},
    "deep_recurrent": {**GAUSSIAN, "depth": 2, "width": 4},
    "ffn": {**GAUSSIAN, "depth": 3, "width": 4},
    "gru": {**GAUSSIAN, "widths": "4:3"},
    "gru_stack": {**GAUSSIAN, "depth": 2, "width": 4},
    "indrnn": {**GAUSSIAN, "widths": "4:3"},
    "lmu": {**GAUSSIAN, "widths": "4:3", "lmu_order": 3},
    "lsnn": {**GAUSSIAN, "widths": "4:3"},
    "linear_rnn": {**GAUSSIAN, "width": 4},
    "lru": {**GAUSSIAN, "width": 4},
    "lru_stack": {**GAUSSIAN, "depth": 2, "width": 4},
    "lstm": {**GAUSSIAN, "widths": "4:3"},
    "lstm_stack": {**GAUSSIAN, "depth": 2, "width": 4},
    "malsnn": {**GAUSSIAN, "widths": "4:3"},
    "malsnnb": {**GAUSSIAN, "widths": "4:3"},
    "ornn": {**GAUSSIAN, "width": 4},
    "plain_convnet": {**GAUSSIAN, "features": 6, "depth": 2, "width": 4},
    "residual_convnet": {**GAUSSIAN, "features": 6, "depth": 4, "width": 4},
    "residual_rnn": {**GAUSSIAN, "depth": 2, "width": 4},
    "rsimplernn": {**GAUSSIAN, "widths": "4:3"},
    "s4": {**SCALAR, "width": 4},
    "ssimplernn": {**GAUSSIAN, "widths": "4:3"},
    "torch_gru": {**GAUSSIAN, "width": 4},
    "torch_lstm": {**GAUSSIAN, "width": 4},
    "torch_rnn": {**GAUSSIAN, "width": 4},
    "vanilla_rnn": {**GAUSSIAN, "depth": 2, "width": 4},
}
TASKS: dict[str, dict[str, Any]] = {
    "aan": {"model": "deep_lru", "seq_len": 64, "n_train": 64, "n_val": 32, "n_test": 32},
    "cifar10": {"layout": "flat"},
    "cifar100": {},
    "charptb": {},
    "cifar100_2k": {},
    "cifar10_4k": {},
    "copy": {"n_train": 200, "n_val": 20, "n_test": 30},
    "digits": {},
    "gaussian": {"steps_per_epoch": 2},
    "heidelberg": {},
    "imdb": {"seq_len": 64, "max_train": 100, "max_held": 40},
    "last_word": {"seq_len": 8},
    "listops": {"seq_len": 64, "min_length": 10, "max_length": 40, "n_train": 64, "n_val": 32,
                "n_test": 32},
    "mnist": {},
    "pathfinder": {"n_train": 64, "n_val": 32, "n_test": 32},
    "pathx": {"n_train": 32, "n_val": 32, "n_test": 32},
    "psmnist": {"max_train": 100, "max_held": 40},
    "scifar": {"max_train": 100, "max_held": 40},
    "scifar_4k": {"max_train": 100, "max_held": 40},
    "scifar_grey": {"max_train": 100, "max_held": 40},
    "scifar_grey_4k": {"max_train": 100, "max_held": 40},
    "sequence_file": {"seq_len": 20},
    "sine": {"seq_len": 20, "n_sequences": 40},
    "sl_mnist": {},
    "smnist": {"max_train": 100, "max_held": 40},
    "spikes": {"bins": 20, "channels": 30, "classes": 4, "n_train": 200, "n_val": 50, "n_test": 60},
    "teacher_student": {"seq_len": 20, "steps_per_epoch": 2},
    "temporal_order": {"seq_len": 12, "position_symbols_start": "1:5", "position_symbols_len": 3,
                       "n_sequences": 40, "n_sequences_val": 40, "batch_size": 20},
    "word_lm": {},
    "wordptb": {},
}  # fmt: skip
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adabelief": {},
    "adabelief_optax": {},
    "adam": {"lr_end": 1e-5},
    "adamw": {"lr_end": 1e-5},
    "adamw_groups": {"lr_warmup": 1},
    "sgd": {"momentum": 0.9, "nesterov": True, "lr_schedule": "plateau", "lr_warmup": 1},
    "torch_adam": {"lr_patience": 1},
}
STAGES: dict[str, dict[str, Any]] = {
    "autocorrelation": {"signal_width": 4, "signal_steps": 8, "signal_batch": 2},
    "gated_network": {"signal_width": 4, "signal_steps": 8, "signal_batch": 2},
    "binomial": {"grid_layers": 3, "grid_steps": 4},
    "chaos_cost": {"scan_points": 3, "cost_steps": 10, "cost_burn_in": 5},
    "chaos_length": {"most_steps": 30},
    "chaos_plane": {"plane_points": 2, "cost_steps": 10, "cost_burn_in": 5},
    "chaos_scan": {"scan_points": 2, "scan_steps": 1024, "scan_keep": 4},
    "coupling": {"map_points": 3},
    "covariance": {"task": "digits", "cov_units": 3, "cov_side": 4, "cov_batch": 8},
    "decay": {**GAUSSIAN, "model": "ssimplernn", "widths": "4:3", "decay_batch": 4},
    "deep_signals": {"signal_depth": 2, "signal_width": 4, "signal_steps": 8, "signal_batch": 2},
    "delay_memory": {"matrix_width": 4, "max_delay": 3, "fit_steps": 40, "held_steps": 20,
                     "init": "glorot"},
    "diagonal_hessian": {"draws": 2, "hessian_units": 3},
    "divergence": {"matrix_width": 4, "length": 20, "inputs": 2, "sequences": 2},
    "gated_signals": {"signal_width": 4, "signal_steps": 8, "signal_batch": 2, "jacobian_steps": 3},
    "landscape": {"landscape_steps": 10},
    "landscape_map": {"map_points": 3},
    "lsc": {**GAUSSIAN, "model": "ffn", "depth": 2, "width": 4, "lsc_steps": 3, "lsc_batch": 2},
    "optimal_hessian": {"draws": 2, "hessian_steps": 20},
    "pascal": {"grid_layers": 2, "grid_steps": 5, "grid_batch": 2},
    "radii": {"matrix_width": 4, "draws": 3},
    "scalar_signals": {"signal_steps": 40, "signal_samples": 4},
    "train": RNN,
    "unit_lines": {"map_points": 3},
    "unit_loss": {"map_points": 3},
    "warmup": RNN,
}  # fmt: skip
PROBES: dict[str, dict[str, Any]] = {
    "activations": RNN,
    "attractors": {**SINE, "attractor_steps": 1024, "orbit_inputs": 2, "orbit_starts": 1},
    "contraction": {**SINE, "orbit_inputs": 2},
    "effective_lr": {**RNN, "optimizer": "adam"},
    "hessian": {**RNN, "hessian_top": 3},
    "weight_rates": {**RNN, "optimizer": "adam", "weight_rates_most": 5},
    "eigenvalues": {**MODELS["deep_lru"], "model": "deep_lru"},
    "moduli": {**MODELS["lru"], "model": "lru"},
    "orbits": {**SINE, "orbit_steps": 5, "orbit_burn_in": 2, "orbit_inputs": 2, "orbit_starts": 1},
    "radius": {**MODELS["ssimplernn"], "model": "ssimplernn"},
    "sharpness": RNN,
    "smoothness": SINE,
    "spectrum": {**MODELS["deep_lru"], "model": "deep_lru"},
    "timeline": RNN,
    "weight_histogram": RNN,
}


def resolved(config: dict[str, Any], **more: Any) -> Trial:
    return builtin_registry().resolve({**config, **more})


def arrays_of(one: Trial) -> dict[str, np.ndarray]:
    """Of the data set that the trial reads; skips the test where it is not at hand."""
    if one.dataset is None:
        return {}
    if not loader.available(one.dataset):
        pytest.skip(loader.missing_message(one.dataset))
    return loader.load(one.dataset).arrays


def ran(config: dict[str, Any], *seeds: int) -> tuple[Pack, EpochResult]:
    """A pack of one lane for each seed, after an epoch."""
    trials = [resolved(config, seed=seed) for seed in seeds]
    pack = Pack(trials, arrays_of(trials[0]))
    pack.init()
    return pack, pack.epoch(0)


def test_every_part_has_its_line() -> None:
    registry = builtin_registry()
    lines = {"model": MODELS, "task": TASKS, "optimizer": OPTIMIZERS, "stage": STAGES}
    for role, table in lines.items():
        assert sorted(table) == registry.names(role)
    assert sorted(PROBES) == sorted(n for n, probe in registry.probes.items() if probe.build)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in MODELS]
)
def test_a_model_is_what_it_declares_and_its_lanes_do_not_see_each_other(name: str) -> None:
    """As many tensors and layers as declared, loss and gradients finite, and a lane's bits its own
    trial's alone."""
    config = {**MODELS[name], "model": name}
    check_rows(resolved(config))
    (pack, found), (_, swapped) = ran(config, 1, 2), ran(config, 2, 1)
    assert np.isfinite(found.epochs["loss"]).all()
    assert np.isfinite(found.layers["grad_norm"]).all()
    assert found.bad_step.tolist() == [-1, -1]
    assert (found.epochs["grad_norm"] > 0).all()
    assert_same_lane(found, 0, swapped, 1)
    assert_same_lane(found, 1, swapped, 0)
    assert found.epochs["loss"][0] != found.epochs["loss"][1]
    assert all(np.isfinite(weight).all() for weight in pack.weights(0).values())


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in TASKS]
)
def test_a_task_gives_the_batches_that_its_sizes_declare(name: str) -> None:
    model = "linear_rnn" if name == "teacher_student" else "lru_stack"
    one = resolved({"task": name, "model": model, **TASKS[name]})
    sizes, values = one.sizes, {n: jnp.asarray(v) for n, v in lane_values(one).items()}
    task, data = make_task(one), jax.tree.map(jnp.asarray, make_data(one, arrays_of(one)))
    assert task is not None
    key = trial_key(values["seed"])
    training = task.training(key, values, jnp.int32(0))
    assert len(jax.tree.leaves(training)[0]) == sizes.steps
    held = dict(task.evaluation(key, values))
    segments = np.asarray(held.pop("segments"))
    for schedule in (training, held if segments.size else training, task.probe(key, values)):
        first = jax.tree.map(lambda leaf: leaf[0], schedule)
        x, y, weight = task.batch(data, first, values)
        tokens = (sizes.batch_size, sizes.seq_len)
        pairs = (2,) if sizes.documents == 2 else ()
        shape = tokens[:1] + pairs + tokens[1:]
        assert x.shape == (shape if sizes.tokens else (*tokens, sizes.features))
        assert weight.shape == (sizes.batch_size,)
        if sizes.tokens:
            assert 0 <= int(x.min()) <= int(x.max()) < sizes.features
        else:
            assert jnp.isfinite(x).all()
        guess = jnp.zeros((*tokens, sizes.classes))
        losses = task.losses(guess, y)
        assert losses.shape == (sizes.batch_size,)
        assert jnp.isfinite(losses).all()
        if one.chance_loss is not None:
            # A sine's mean square is that of whole periods, which no window is made of.
            near = 0.2 if one.loss_unit == "squared error" else 1e-5
            np.testing.assert_allclose(losses, one.chance_loss, rtol=near)
        else:
            assert one.loss_unit != "nats"
        if one.loss_unit == "squared error":
            np.testing.assert_allclose(
                losses, jnp.mean(y.reshape(len(y), -1) ** 2, axis=1), rtol=1e-5
            )
        assert all(v.shape == (sizes.batch_size,) for v in task.metrics(guess, y).values())
    assert segments.shape[0] == 2
    assert (segments >= 0).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_moves_and_its_schedule_is_finite(name: str) -> None:
    config = {**RNN, "optimizer": name, "epochs": 3, **OPTIMIZERS[name]}
    (pack, found), (_, swapped) = ran(config, 1, 2), ran(config, 2, 1)
    assert (found.epochs["update_norm"] > 0).all()
    assert np.isfinite(found.epochs["param_norm"]).all()
    assert_same_lane(found, 0, swapped, 1)
    one = pack.trials[0]
    schedule, values = schedule_of(one), {n: jnp.asarray(v) for n, v in lane_values(one).items()}
    state = schedule.start(values)
    for step in range(one.epochs * one.sizes.steps):
        now = schedule.at(values, state, jnp.int32(step))
        assert set(schedule.recorded) <= set(now)
        assert 0 <= float(now["lr"]) <= float(values["lr"]) * (1 + 1e-6)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_fills_what_it_declares(name: str) -> None:
    pack, found = ran({**STAGES[name], "stage": name}, 1)
    one = pack.trials[0]
    filled = [p.name for p in one.stage.probes if isinstance(p, Probe) and p.build is None]
    assert sorted(found.probes) == sorted(filled)
    for probe, columns in found.probes.items():
        check_columns(one, probe, columns)


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_fills_its_columns(name: str) -> None:
    pack, _ = ran(PROBES[name], 1)
    columns = pack.probe(name)
    assert columns is not None
    check_columns(pack.trials[0], name, columns)


def check_columns(one: Trial, name: str, columns: dict[str, np.ndarray]) -> None:
    """All that the probe declares, of the declared types, each with as many rows."""
    declared = {column.name: column.type for column in one.probes[name].columns}
    assert set(columns) - {"shown"} == set(declared)
    rows = {np.asarray(column).shape[-1] for column in columns.values()}
    assert len(rows) == 1
    assert rows.pop() > 0
    for column, kind in declared.items():
        found = np.asarray(columns[column]).dtype.kind
        assert (
            found
            in {"string": "OU", "float64": "f", "int32": "iu", "int64": "iu", "bool": "b"}[kind]
        )
