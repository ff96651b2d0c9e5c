"""Forward and backward pass in 16 bits, parameters and statistics in float32."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from tests.support.small_trials import trial
from tests.trainables.test_contract import MODELS, resolved
from trainables.core.hparams import lane_values
from trainables.core.norms import tree_norm
from trainables.core.precision import Precision
from trainables.core.random_keys import trial_key
from trainables.core.variables import Carried, Setting
from trainables.declarations import (
    ConfigError,
    Model,
    PartError,
    Registry,
    Sizes,
    Task,
    builtin_registry,
)
from trainables.packs.pack import Pack
from trainables.tasks.base import make_task
from trainables.training import loss_scale
from trainables.training.epoch import Training
from trainables.training.layer_signals import signals

SHORT = ("bfloat16", "float16")
CLOSE = {"bfloat16": 0.05, "float16": 0.01}
"""Relative distance of a loss from float32's, some times the rounding of the type."""
VARIANTS = {
    **{name: {**config, "model": name} for name, config in MODELS.items()},
    "batch norm": {**MODELS["deep_lru"], "model": "deep_lru", "norm": "batch", "dropout": 0.1},
    "pooled": {**MODELS["deep_lru"], "model": "deep_lru", "pooling": "last"},
    "deep gru": {**MODELS["deep_recurrent"], "model": "deep_recurrent", "deep_cell": "gru"},
    "re-based": {**MODELS["ornn"], "model": "ornn", "orthogonal_map": "dynamic"},
    "dropped": {**MODELS["torch_lstm"], "model": "torch_lstm", "dropout": 0.2},
    "response": {**MODELS["s4"], "model": "s4", "execution": "kernel"},
}


def training_of(config: dict[str, Any]) -> tuple[Any, Training, dict[str, Any]]:
    one = resolved({"optimizer": "adam", **config})
    task: Any = make_task(one)
    values = lane_values(one)
    return one, Training(one, task, values), values


@pytest.mark.slow
@pytest.mark.parametrize("dtype", SHORT)
@pytest.mark.parametrize("name", VARIANTS)
def test_an_epoch_of_every_model_can_be_made(name: str, dtype: str) -> None:
    """Traced and not run: a scan whose carry changes its type would raise."""
    one, training, values = training_of({**VARIANTS[name], "compute_dtype": dtype})
    state = jax.eval_shape(lambda v: training.init(one, v), values)
    after, found = jax.eval_shape(
        lambda s, v: training.epoch(s, v, jnp.int32(0), {}), state, values
    )
    types = jax.tree.map(lambda leaf: leaf.dtype, (state, after))
    assert types[0] == types[1]
    assert {leaf.dtype for leaf in jax.tree.leaves(found["epochs"])} <= {
        jnp.dtype("float32"),
        jnp.dtype("int32"),
    }
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(after["params"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_losses_and_gradients_of_every_model_are_near_those_of_float32(name: str) -> None:
    one, training, values = training_of(VARIANTS[name])
    state = jax.jit(lambda v: training.init(one, v))(values)
    schedule = training.task.training(trial_key(values["seed"]), values, jnp.int32(0))
    batch = training.task.batch({}, jax.tree.map(lambda leaf: leaf[0], schedule), values)
    # At the first scale gradients of S4 overflow, which a training step would halve.
    state |= {"loss_scale": loss_scale.LossScale(jnp.float32(256), jnp.int32(0))}
    found = {}
    for dtype in ("float32", *SHORT):
        _, other, _ = training_of({**VARIANTS[name], "compute_dtype": dtype})

        @jax.jit
        def run(state: Any, batch: Any, other: Training = other) -> Any:
            loss, _, _, gradients = other.gradients(state, batch)
            return loss, tree_norm(gradients)

        found[dtype] = np.array(jax.device_get(run(state, batch)))
    for dtype in SHORT:
        np.testing.assert_allclose(found[dtype], found["float32"], rtol=CLOSE[dtype])
        assert found[dtype][1] != found["float32"][1], "nothing was computed in 16 bits"


def test_a_trial_in_float32_is_the_program_that_it_was() -> None:
    """Neither id nor program know of keys at their defaults."""
    plain, spelled = trial(), trial(compute_dtype="float32", accumulate=1)
    assert (plain.id, plain.program) == (spelled.id, spelled.program)
    assert plain.program == "0c1ed9b407af"
    others = [trial(compute_dtype="bfloat16"), trial(accumulate=2)]
    assert len({plain.program, *(one.program for one in others)}) == 3
    with pytest.raises(ConfigError, match="float32, bfloat16, float16"):
        trial(compute_dtype="float8")


def test_only_float32_is_lowered_and_named_tensors_stay() -> None:
    low = Precision("bfloat16", ("nu",))
    params = {"a": {"nu": jnp.ones(2), "w": jnp.ones(2), "z": jnp.ones(2, complex)}}
    types = {n: leaf.dtype.name for n, leaf in low.params(params)["a"].items()}
    assert types == {"nu": "float32", "w": "bfloat16", "z": "complex64"}
    x = {"tokens": jnp.ones(2, jnp.int32), "x": jnp.ones(2), "wide": np.ones(2, np.float64)}
    kinds = {n: leaf.dtype.name for n, leaf in low.inputs(x).items()}
    assert kinds == {"tokens": "int32", "x": "bfloat16", "wide": "float64"}
    rest = {"h": Carried(jnp.ones(2)), "rate": Setting(jnp.float32(0.1))}
    lowered = low.rest(rest)
    assert lowered["h"].get_value().dtype == jnp.bfloat16
    assert lowered["rate"].get_value().dtype == jnp.float32
    assert low.kept(lowered, rest)["h"].get_value().dtype == jnp.float32
    full = Precision("float32")
    assert full.params(params) is params
    assert full.rest(rest) is rest


class Looped(nnx.Module):
    """A loop that forgets its input's type."""

    def __init__(self, config: Any, sizes: Sizes, rngs: nnx.Rngs) -> None:
        self.w = nnx.Param(jnp.ones(4))

    def __call__(self, x: jax.Array) -> jax.Array:
        def step(h: jax.Array, now: jax.Array) -> tuple[jax.Array, None]:
            return jnp.tanh(now @ jnp.ones((2, 4), now.dtype) * self.w[...]), None

        return lax.scan(step, jnp.zeros((len(x), 4)), jnp.swapaxes(x, 0, 1))[0]


def test_a_loop_that_starts_in_another_type_is_refused_in_a_sentence() -> None:
    registry = builtin_registry()
    registry.add(Model(name="looped", build=Looped, version=1))
    base = {"model": "looped", "task": "gaussian", "seq_len": 3, "features": 2, "classes": 4}
    for dtype in ("float32", "bfloat16"):
        one = registry.resolve({**base, "batch_size": 2, "compute_dtype": dtype})
        task: Any = make_task(one)
        training, values = Training(one, task, lane_values(one)), lane_values(one)
        state = jax.eval_shape(lambda v, t=training, o=one: t.init(o, v), values)
        epoch = partial(jax.eval_shape, training.epoch, state, values, jnp.int32(0), {})
        if dtype == "float32":
            epoch()
        else:
            with pytest.raises(PartError, match=r"model looped cannot.*x\.dtype"):
                epoch()


@pytest.mark.parametrize("name", ["vanilla_rnn", "batch norm"])
def test_what_went_wrong_is_looked_for_in_the_same_type(name: str) -> None:
    """`signals` repeats a pass; its gauges are float32."""
    one, training, values = training_of({**VARIANTS[name], "compute_dtype": "bfloat16"})

    def looked(values: Any) -> Any:
        state = training.init(one, values)
        schedule = training.task.training(trial_key(values["seed"]), values, jnp.int32(0))
        entry = jax.tree.map(lambda leaf: leaf[0], schedule)
        sides = signals(training, state, training.task.batch({}, entry, values))
        return [[flags for _, flags in side] for side in sides]

    outputs, reached = jax.eval_shape(looked, values)
    assert outputs
    assert reached
    assert all(leaf.dtype == bool for leaf in (*outputs, *reached))


# ---- loss scaling ------------------------------------------------------------------------------


def test_a_scale_halves_at_an_overflow_and_recovers() -> None:
    state = loss_scale.first()
    after = jax.jit(loss_scale.after)
    state = after(state, True)
    assert float(state.scale) == loss_scale.FIRST / 2
    state = loss_scale.LossScale(state.scale, jnp.int32(loss_scale.PERIOD - 2))
    state = after(state, False)
    assert float(state.scale) == loss_scale.FIRST / 2
    state = after(state, False)
    assert (float(state.scale), int(state.steps)) == (loss_scale.FIRST, 0)
    least, most = jnp.float32(1), jnp.float32(loss_scale.MOST)
    due = jnp.int32(loss_scale.PERIOD - 1)
    assert float(after(loss_scale.LossScale(least, due), True).scale) == 1
    assert float(after(loss_scale.LossScale(most, due), False).scale) == loss_scale.MOST


class Steep(nnx.Module):
    """Logits (0, s w) of s = x[0, 0, 0]: a gradient of s sigmoid(s w), which overflows float16 once
    the loss is scaled; or, where s is negative, one that is NaN whatever the scale."""

    def __init__(self, config: Any, sizes: Sizes, rngs: nnx.Rngs) -> None:
        self.w = nnx.Param(jnp.float32(0))

    def __call__(self, x: jax.Array) -> jax.Array:
        s, w = x[0, 0, 0], self.w[...]
        # The slope of a root at 0 is infinite, and 0 times that NaN.
        spoilt = jnp.sqrt(jnp.where(s < 0, w * 0, 1)) * 0
        return jnp.stack([jnp.zeros_like(s), s * w + spoilt])[None]


def steep(*slopes: float) -> Registry:
    x = np.array(slopes, np.float32)[:, None, None]
    registry = builtin_registry()
    registry.add(
        Model(name="steep", build=Steep, version=1),
        Task(
            name="slopes",
            build=lambda config: {"x": x, "y": np.zeros(len(x), int)},
            sizes=lambda config: Sizes(1, 1, 2, len(x), 0, 0, 1),
            version=1,
        ),
    )
    return registry


def ran(*slopes: float, epochs: int = 1, dtype: str = "float16") -> tuple[Pack, list[Any]]:
    config = {"model": "steep", "task": "slopes", "compute_dtype": dtype, "lr": 1e-6}
    pack = Pack([steep(*slopes).resolve(config)], {})
    pack.init()
    return pack, [pack.epoch(epoch) for epoch in range(epochs)]


def test_a_step_that_overflows_is_left_out_and_is_not_diverged() -> None:
    """8 / 2 x 32768 = 131072 is beyond float16's 65504, half of it too, a quarter is not."""
    pack, (first,) = ran(8.0, 8.0, 8.0, 8.0)
    assert first.bad_step.tolist() == [-1]
    assert pack.active.tolist() == [True]
    assert first.metrics["loss_scale"].tolist() == [loss_scale.FIRST / 4]
    assert first.metrics["skipped_steps"].tolist() == [2]
    assert first.epochs["finite_steps"].tolist() == first.epochs["steps"].tolist() == [4]
    assert first.epochs["nonfinite_tensors"].tolist() == [0]
    np.testing.assert_allclose(first.epochs["grad_norm"], [4.0], rtol=1e-3)
    np.testing.assert_allclose(first.steps["loss"][0], np.log(2), rtol=1e-3)
    assert np.isnan(first.steps["grad_norm"][0]).tolist() == [True, True, False, False]
    state = pack.state()
    assert state["step"].tolist() == [4]
    np.testing.assert_allclose(pack.weights(0)["w"], -8e-6, rtol=1e-3)
    assert "loss_scale/scale" in state, "a checkpoint has it"


def test_a_gradient_that_is_nan_at_scale_1_is_diverged() -> None:
    pack, (first,) = ran(*[-1.0] * 17)
    assert first.metrics["loss_scale"].tolist() == [1.0]
    assert first.bad_step.tolist() == [15]
    assert pack.active.tolist() == [False]


def test_a_loss_that_is_not_finite_is_diverged_at_any_scale() -> None:
    pack, (first,) = ran(1e5)  # beyond float16
    assert pack.active.tolist() == [False]
    assert first.bad_step.tolist() == [0]
    assert first.metrics["loss_scale"].tolist() == [loss_scale.FIRST]


def test_bfloat16_needs_no_scale() -> None:
    pack, (first,) = ran(8.0, 8.0, dtype="bfloat16")
    assert first.bad_step.tolist() == [-1]
    assert "loss_scale" not in first.metrics
    assert "loss_scale/scale" not in pack.state()
