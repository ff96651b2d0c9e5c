"""Optimizers, schedules and wrappers of optax at a learning rate that is an array of each lane."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from optax import contrib

from trainables.declarations import Key, Optimizer, PartError
from trainables.optim.building import built
from trainables.optim.path_groups import path_labels, path_mask
from trainables.optim.scaled_schedule import scaled_schedule
from trainables.training.fit import require_kept

PARAMS = {"kernel": np.ones((4, 3), np.float32), "bias": np.ones(3, np.float32)}
TOTAL = 60

OPTIMIZERS = (
    "adabelief", "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamaxw", "adamw", "adan",
    "amsgrad", "fromage", "lamb", "lars", "lbfgs", "lion", "nadam", "nadamw", "novograd",
    "optimistic_adam_v2", "optimistic_gradient_descent", "polyak_sgd", "radam", "rmsprop", "rprop",
    "sgd", "sign_sgd", "sm3", "yogi",
)  # fmt: skip
CONTRIB = (
    "acprop", "ademamix", "adopt", "cocob", "dadapt_adamw", "dog", "dowg", "galore", "madgrad",
    "momo", "momo_adam", "muon", "prodigy", "schedule_free_adamw", "schedule_free_sgd", "sophia",
)  # fmt: skip
SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "constant": optax.constant_schedule,
    "cosine": lambda lr: optax.cosine_decay_schedule(lr, TOTAL, 0.1),
    "exponential": lambda lr: optax.exponential_decay(lr, 10, 0.5, end_value=lr / 10),
    "joined": lambda lr: optax.join_schedules(
        [optax.linear_schedule(0.0, lr, 10), optax.cosine_decay_schedule(lr, TOTAL - 10)], [10]
    ),
    "linear": lambda lr: optax.linear_schedule(lr, 0.0, TOTAL),
    "one cycle": lambda lr: optax.cosine_onecycle_schedule(TOTAL, lr),
    "piecewise": lambda lr: optax.piecewise_constant_schedule(lr, {10: 0.1, 20: 0.1}),
    "piecewise smooth": lambda lr: optax.piecewise_interpolate_schedule("cosine", lr, {9: 0.1}),
    "polynomial": lambda lr: optax.polynomial_schedule(lr, 0.0, 2, TOTAL),
    "warmed constant": lambda lr: optax.warmup_constant_schedule(0.0, lr, 10),
    "warmed exponential": lambda lr: optax.warmup_exponential_decay_schedule(0.0, lr, 9, 9, 0.5),
    "scaled warmed cosine": lambda lr: scaled_schedule(
        optax.warmup_cosine_decay_schedule(0.0, 1.0, 10, TOTAL, 0.1), lr
    ),
    "scaled restarts": lambda lr: scaled_schedule(
        optax.sgdr_schedule(
            [{"init_value": 0.0, "peak_value": p, "warmup_steps": 5, "decay_steps": 30,
              "end_value": 0.0} for p in (1.0, 0.5)]
        ), lr
    ),
}  # fmt: skip
WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "adaptive clipping": lambda lr: optax.chain(optax.adaptive_grad_clip(0.01), optax.adam(lr)),
    "all rates of Adam": lambda lr: optax.adam(lr, b1=1 - lr, b2=1 - lr, eps=lr),
    "apply_if_finite": lambda lr: optax.apply_if_finite(optax.adam(lr), 5),
    "averages": lambda lr: optax.chain(optax.adam(lr), optax.ema(0.9)),
    "bfloat16 moments": lambda lr: optax.adam(lr, mu_dtype=jnp.bfloat16),
    "clipping": lambda lr: optax.chain(optax.clip_by_global_norm(lr), optax.adam(lr)),
    "decay of kernels": lambda lr: optax.adamw(lr, weight_decay=lr, mask=path_mask("kernel")),
    "injected": lambda lr: optax.inject_hyperparams(optax.adamw)(lr, weight_decay=lr),
    "injected schedule": lambda lr: optax.inject_hyperparams(optax.adamw)(
        optax.cosine_decay_schedule(lr, TOTAL)
    ),
    "masked": lambda lr: optax.masked(optax.adam(lr), path_mask("kernel")),
    "mechanize": lambda lr: contrib.mechanize(optax.adam(lr)),
    "momentum": lambda lr: optax.sgd(lr, momentum=1 - lr, nesterov=True),
    "multi_transform": lambda lr: optax.multi_transform(
        {"slow": optax.adam(lr / 10), "default": optax.adamw(lr, mask=path_mask("kernel"))},
        path_labels({"slow": "bias"}),
    ),
    "MultiSteps": lambda lr: optax.MultiSteps(optax.adam(lr), 3),
    "noise": lambda lr: optax.chain(optax.add_noise(0.01, 0.5, 0), optax.sgd(lr)),
    "plateau": lambda lr: optax.chain(optax.adam(lr), contrib.reduce_on_plateau()),
    "rmsprop with momentum": lambda lr: optax.rmsprop(lr, momentum=0.9, centered=True),
    "schedule_free": lambda lr: contrib.schedule_free(optax.sgd(lr), lr, b1=0.9),
    "sharpness aware": lambda lr: contrib.sam(optax.adam(lr), optax.sgd(0.1), opaque_mode=False),
}


def of_optax(name: str) -> Callable[[Any], Any]:
    rule = getattr(contrib if name in CONTRIB else optax, name)
    return (lambda lr: rule(scaling=lr)) if name == "polyak_sgd" else rule


CASES = {
    **{name: of_optax(name) for name in (*OPTIMIZERS, *CONTRIB)},
    **{f"schedule {n}": lambda lr, s=s: optax.adam(s(lr)) for n, s in SCHEDULES.items()},
    **WRAPPERS,
}


def part(build: Callable[..., Any], **fields: Any) -> Optimizer:
    return Optimizer(name="mine", build=build, keys=(Key("lr", "float", 0.1, "traced"),), **fields)


def loss(params: Mapping[str, jax.Array]) -> jax.Array:
    return sum((jnp.sum(leaf**2) for leaf in params.values()), jnp.float32(0))


def trained(build: Callable[[Any], Any], lr: Any, steps: int) -> Any:
    """Parameters after steps as `Training.step` takes them, within a scan."""
    rule = built(part(lambda config, hparams: build(hparams["lr"])), {}, {"lr": lr})
    params = jax.tree.map(jnp.asarray, PARAMS)

    def step(carry: Any, _: None) -> Any:
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params)
        updates, new = rule.update(
            gradient, state, params, value=value, grad=gradient, value_fn=loss
        )
        require_kept("state {} of the optimizer", state, new)
        finite = jnp.isfinite(value)
        new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)
        return (optax.apply_updates(params, updates), new), None

    return lax.scan(step, (params, rule.init(params)), length=steps)[0][0]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_rate_may_be_an_array_and_the_state_keeps_its_types(name: str) -> None:
    found = jax.eval_shape(lambda lr: trained(CASES[name], lr, 2), jnp.float32(0.1))
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, PARAMS)


@pytest.mark.parametrize(
    "name", ["adamw", "polyak_sgd", "schedule scaled warmed cosine", "multi_transform", "plateau"]
)
def test_an_array_trains_as_the_number_does(name: str) -> None:
    as_array = jax.jit(lambda lr: trained(CASES[name], lr, 20))(jnp.float32(0.05))
    as_number = jax.jit(lambda: trained(CASES[name], 0.05, 20))()
    for key in PARAMS:
        np.testing.assert_allclose(as_array[key], as_number[key], rtol=1e-5)
        assert not np.allclose(as_array[key], PARAMS[key])


def test_a_scaled_schedule_is_the_schedule_of_the_rate() -> None:
    scaled = SCHEDULES["scaled warmed cosine"](0.02)
    plain: Any = optax.warmup_cosine_decay_schedule(0.0, 0.02, 10, TOTAL, 0.002)
    for step in (0, 3, 10, 35, TOTAL, TOTAL + 5):
        assert float(scaled(step)) == pytest.approx(float(plain(step)), rel=1e-6)


def test_a_schedule_that_needs_a_number_names_key_line_and_remedy() -> None:
    def build(config: Any, hparams: Any) -> Any:
        return optax.adam(optax.warmup_cosine_decay_schedule(0.0, hparams["lr"], 10, TOTAL))

    line = build.__code__.co_firstlineno + 1
    with pytest.raises(PartError) as raised:
        jax.eval_shape(lambda lr: built(part(build), {}, {"lr": lr}), jnp.float32(1))
    text = str(raised.value)
    assert text.startswith("optimizer mine (")
    assert "\n" not in text
    assert f"test_optax.py:{line}): optax's warmup_cosine_decay_schedule" in text
    assert "is given hparams['lr'], an array of each lane, and needs a Python number" in text
    assert "gradsweep.scaled_schedule(schedule, hparams['lr'])" in text


def test_a_condition_of_ones_own_is_left_to_who_tells_of_all() -> None:
    def build(config: Any, hparams: Any) -> Any:
        return optax.sgd(0.1 if hparams["lr"] > 1 else 0.2)

    with pytest.raises(jax.errors.ConcretizationTypeError):
        jax.eval_shape(lambda lr: built(part(build), {}, {"lr": lr}), jnp.float32(1))


def test_what_is_no_update_rule_is_refused() -> None:
    lr = {"lr": jnp.float32(1)}
    with pytest.raises(PartError, match="returned nothing; it must return an optax"):
        built(part(lambda config, hparams: None), {}, lr)
    with pytest.raises(PartError, match="returned a float"):
        built(part(lambda config, hparams: 0.1), {}, lr)


def test_a_config_says_why_a_key_is_not_there() -> None:
    lr = {"lr": jnp.float32(1)}

    def reading(key: str) -> Callable[..., Any]:
        return lambda config, hparams: optax.sgd(config[key])

    with pytest.raises(PartError, match=r"config\['lr'\], which is a traced key; read hparams"):
        built(part(reading("lr")), {}, lr)
    with pytest.raises(PartError, match=r"reads_length=False; leave that out"):
        built(part(reading("epochs"), reads_length=False), {}, lr)
    with pytest.raises(PartError, match="in a stage that reads no task"):
        built(part(reading("total_steps")), {}, lr)
    with pytest.raises(PartError, match=r"config\['gamma'\], which is no static key"):
        built(part(reading("gamma")), {}, lr)
