"""A model that cannot be trained, or that its task cannot judge, is refused while it is traced."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from trainables.declarations import (
    Model,
    Optimizer,
    PartError,
    Sizes,
    Task,
    builtin_registry,
)
from trainables.packs.pack import Pack
from trainables.tasks.base import ArrayTask

SIZES = Sizes(seq_len=5, features=3, classes=4, n_train=6, n_val=3, n_test=0, batch_size=2)


class Net(nnx.Module):
    """Logits (batch, classes), or what `answer` makes of logits at every time step."""

    def __init__(self, rngs: nnx.Rngs, answer: Any = lambda steps: steps[:, -1], **linear: Any):
        self.layers = nnx.List([nnx.Linear(3, 6, rngs=rngs, **linear)])
        self.readout = nnx.Linear(6, SIZES.classes, rngs=rngs, **linear)
        self.answer = answer

    def __call__(self, x: jax.Array) -> Any:
        return self.answer(self.readout(jnp.tanh(self.layers[0](x))))


def _arrays(config: Any) -> dict[str, np.ndarray]:
    return {"x": np.ones((9, 5, 3)), "y": np.arange(9) % 4}


def traced(build: Any, task: Any = ArrayTask, optimizer: Any = None, **model: Any) -> None:
    """Traces an epoch of a model that `build(rngs)` makes; nothing is compiled or computed."""
    registry = builtin_registry()
    registry.add(
        Model(name="net", build=lambda config, sizes, rngs: build(rngs), **model),
        Task(name="mine", build=_arrays, runtime=task, sizes=lambda config: SIZES),
        Optimizer(name="rule", build=lambda config, hparams: optimizer or optax.sgd(0.1)),
    )
    pack = Pack([registry.resolve({"model": "net", "task": "mine", "optimizer": "rule"})], {})
    values = jax.tree.map(lambda leaf: leaf[0], pack._values)
    jax.eval_shape(pack._engine.epoch, pack._programs.shapes, values, jnp.int32(0), pack._data)


def refused(*given: Any, **more: Any) -> str:
    with pytest.raises(PartError) as caught:
        traced(*given, **more)
    return str(caught.value)


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(SIZES.classes)(x[:, -1])


class Uncalled(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.w = nnx.Param(rngs.params.normal((3,)))


def with_parameter(name: str, value: Any) -> Any:
    def build(rngs: nnx.Rngs) -> Net:
        net = Net(rngs)
        setattr(net, name, nnx.Param(value))
        return net

    return build


BUILT: dict[str, tuple[Any, str]] = {
    "nothing": (lambda rngs: None, "the function of model net returned nothing; return the module"),
    "a function": (lambda rngs: jnp.tanh, "the function of model net returned a "),
    "no call": (Uncalled, "returned a Uncalled, which cannot be called; give it __call__(self, x)"),
    "no parameters": (
        lambda rngs: nnx.Dropout(0.5, rngs=rngs),
        "model net has no nnx.Param of floating-point numbers, so nothing to train",
    ),
    "eight bits": (
        with_parameter("w", jnp.ones(2, jnp.float8_e4m3fn)),
        "parameter w of model net is float8_e4m3fn, and only float32, bfloat16, float16, complex64",
    ),
}


@pytest.mark.parametrize("case", BUILT)
def test_what_cannot_be_trained_is_named(case: str) -> None:
    build, said = BUILT[case]
    assert said in refused(build)


def test_a_linen_module_trains_wrapped_by_the_user_or_by_us() -> None:
    traced(lambda rngs: nnx.bridge.ToNNX(Linen(), rngs).lazy_init(jnp.ones((1, 5, 3))))
    traced(lambda rngs: Linen())


def test_half_precision_inside_a_layer_is_no_concern() -> None:
    traced(lambda rngs: Net(rngs, dtype=jnp.bfloat16))


ANSWERS: dict[str, tuple[Any, str]] = {
    "every step": (lambda y: y, "returned the shape (2, 5, 4) for x of shape (2, 5, 3); task mine"),
    "more classes": (
        lambda y: jnp.concatenate([y, y], -1)[:, -1],
        "returned the shape (2, 8) for x of shape (2, 5, 3); task mine, whose y has the shape (2,)",
    ),
    "fewer classes": (lambda y: y[:, -1, :2], "returned the shape (2, 2) for x"),
    "one number": (lambda y: y[:, -1, 0], "returned the shape (2,) for x"),
    "a mean over the batch": (lambda y: y[:1, -1], "returned the shape (1, 4) for x"),
    "a scalar": (jnp.sum, "returned the shape () for x"),
    "a dictionary": (
        lambda y: {"logits": y, "hidden": y},
        "returned a dict of hidden, logits; it must return one array, its logits, or task mine",
    ),
    "a pair": (lambda y: (y, y), "returned a tuple; it must return one array, its logits, or"),
    "nothing": (lambda y: None, "returned a NoneType; it must return one array, its"),
    "classes": (lambda y: jnp.argmax(y[:, -1], -1), "returned an array of int32; its outputs must"),
    "complex numbers": (lambda y: y[:, -1] * 1j, "returned an array of complex64; its outputs"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_that_the_task_cannot_judge_is_refused_with_both_shapes(case: str) -> None:
    answer, said = ANSWERS[case]
    found = refused(lambda rngs: Net(rngs, answer))
    assert found.startswith(f"model net {said}")
    assert ("for x of shape" not in said) or "needs (2, 4)" in found


def test_logits_at_every_step_are_judged_where_the_model_declares_them() -> None:
    """The remedy that the refusal names."""
    assert "declare every_step=True in the Model" in refused(lambda rngs: Net(rngs, lambda y: y))
    traced(lambda rngs: Net(rngs, lambda y: y), every_step=True)
    traced(Net, every_step=True)
    said = refused(lambda rngs: Net(rngs, lambda y: y[:, :3]), every_step=True)
    assert said.startswith("model net returned the shape (2, 3, 4)")


class Summed(ArrayTask):
    """A user's own task that forgets to keep samples apart."""

    def losses(self, outputs: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.sum(super().losses(outputs, y))


def test_a_loss_for_the_whole_batch_is_refused() -> None:
    said = refused(Net, Summed)
    assert said.startswith("the losses of task mine have the shape () for 2 samples; it must give")


class Counting(Net):
    """Whose count changes its type, or appears, as it is called."""

    def __init__(self, rngs: nnx.Rngs, start: Any):
        super().__init__(rngs)
        if start is not None:
            self.count = nnx.Variable(start)

    def __call__(self, x: jax.Array) -> jax.Array:
        self.count = nnx.Variable(self.count[...] + 1.5 if hasattr(self, "count") else jnp.ones(3))
        return super().__call__(x)


def test_what_a_step_changes_the_type_of_is_named() -> None:
    assert refused(lambda rngs: Counting(rngs, jnp.int32(0))) == (
        "variable count of model net is int32[] before a training step and is float32[] after it; "
        "it must stay the same"
    )
    said = refused(lambda rngs: Counting(rngs, None))
    assert said.startswith("variable count of model net is made by a training step; make it before")

    def grow(updates: Any, state: Any, params: Any = None) -> Any:
        return updates, jnp.concatenate([state, state])

    rule = optax.GradientTransformation(lambda params: jnp.ones(2), grow)
    said = refused(Net, optimizer=rule)
    assert said.startswith("state of the optimizer is float32[2] before a training step and is f")
