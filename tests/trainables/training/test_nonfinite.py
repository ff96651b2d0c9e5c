"""What `debug --check-nans` names: layer, time step and pass that went non-finite first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.support.user_parts import script_registry
from tests.trainables.core.test_engine import trials
from tests.trainables.test_contract import GAUSSIAN, MODELS
from trainables.core.layout import by_path
from trainables.core.random_keys import trial_key
from trainables.declarations import Model, Sizes, Task, Trial, builtin_registry
from trainables.packs.pack import Pack
from trainables.training.epoch import Training

ONE_STEP = {"seq_len": 1, "batch_size": 1, "steps_per_epoch": 1}
SMALL: dict[str, dict[str, Any]] = {
    "ffn": {"activation": "tanh"},
    "deep_diagonal_rnn": {"norm": "none", "d_model": 8},
    "deep_linear_rnn": {"norm": "none", "d_model": 8},
    "deep_lru": {"norm": "none", "d_model": 8},
    "deep_recurrent": {"norm": "none"},
    **{name: {"widths": "4:8"} for name in
       ("gru", "lmu", "lsnn", "lstm", "malsnn", "malsnnb", "rsimplernn", "ssimplernn")},
}  # fmt: skip
"""What differs from the contract's small models: no norm hides an overflow, and a readout reads two
units for each class."""


def of_model(name: str, **more: Any) -> Trial:
    """One step of one sample of a small model, of every kind."""
    config = {"width": 8, **MODELS[name], "model": name, **SMALL.get(name, {}), **ONE_STEP}
    if "widths" in config:
        del config["width"]
    elif config["width"] == 4:
        config["width"] = 8
    return builtin_registry().resolve({**config, **more})


def lane(one: Trial, weights: Callable[[str, tuple[int, ...]], Any]) -> Pack:
    """A pack whose lane has these weights by path, 0 where there are none; nothing is compiled."""
    pack = Pack([one], {})
    leaves: dict[str, np.ndarray] = {}
    for path, leaf in by_path(pack._programs.shapes).items():
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        plain = jax.eval_shape(jax.random.key_data, leaf) if is_key else leaf
        given = weights(path.removeprefix("params/"), plain.shape)
        if given is None or not path.startswith("params/"):
            given = np.zeros(plain.shape)
        leaves[path] = np.asarray(given, plain.dtype)
    pack.load(0, {**leaves, "alive": np.asarray(True)})
    return pack


def blamed(pack: Pack) -> str:
    said = pack.blame(0, 0, 0)
    assert said.startswith("epoch 0, step 0: ")
    return said.removeprefix("epoch 0, step 0: ")


STATES = ("lmu", "lsnn", "lstm", "lstm_stack", "torch_lstm", "malsnn", "malsnnb")
"""Models whose layers keep more than they hand on."""
CONVOLUTIONAL = ("cnn", "plain_convnet", "residual_convnet")
_READOUTS = ("readout/w", "w_out", "decoder/w", "layer/c_re", "layer/c")
_BIASES = ("b", "b_ih", "rnn/0/b", "rnn/1/b")


def readout(path: str, shape: tuple[int, ...]) -> Any:
    """Weights that make dL/dh overflow below the last layer, whatever the label, and leave outputs
    and the last layer's own gradient finite: of every two equal units, one counts for a class and
    against all others, the other the other way round."""
    if path in _READOUTS:
        sign = np.where(np.arange(shape[-1]) % 2, -1, 1)
        own = np.arange(shape[-1]) // 2 == np.arange(shape[-2])[:, None]
        return np.where(own, 3.3e38, -3.3e38) * sign * np.ones(shape)
    if path == "layer/delta":  # a step of S4 in time, which scales what a state is given
        return np.full(shape, 5)
    # Just above 0, so that relu has a slope.
    return np.full(shape, 2e-38) if path in _BIASES else None


@pytest.mark.parametrize("name", [name for name in MODELS if name not in CONVOLUTIONAL])
def test_layer_and_pass_are_named_for_every_model(name: str) -> None:
    """A layer whose weights are NaN, each in turn; and a gradient that overflows below the last."""
    one = of_model(name)
    pack = lane(one, readout)
    rows = [(row.layer_name, row.tensor) for row in pack.layer_rows if row.tensor != "*"]
    # The last tensor below the last layer; a linear layer has its readout within itself.
    within = {"linear_rnn": "b", "lru": "b_re", "s4": "b_re"}.get(name)
    trained = [(row.layer_name, row.tensor) for row in pack.layer_rows if not row.frozen]
    below = [
        (layer, tensor)
        for layer, tensor in trained
        if tensor == within or (tensor != "*" and layer != rows[-1][0])
    ][-1]
    timed = "" if name == "ffn" else " at time step 0"
    assert blamed(pack) == f"the gradient of {below[0]}.{below[1]}{timed}, in the backward pass"
    assert_forward_names(pack, name)


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_a_convolution_is_named(name: str) -> None:
    config = {**MODELS[name], "batch_size": 1, "steps_per_epoch": 1}
    one = builtin_registry().resolve({**config, "model": name})
    assert_forward_names(lane(one, lambda path, shape: None), name)


def assert_forward_names(pack: Pack, name: str) -> None:
    """A layer whose weights are NaN is what the step is blamed on, each in turn."""
    assert pack._layout is not None
    state = {path: leaf[0] for path, leaf in pack.state().items()}
    rows = [(row.layer_name, row.tensor) for row in pack.layer_rows if row.tensor != "*"]
    for layer in dict.fromkeys(layer for layer, _ in rows):
        spoilt = {path: np.zeros_like(leaf) for path, leaf in state.items()}
        spoilt["alive"] = state["alive"]
        for slot in pack._layout.slots:
            if slot.layer_name == layer:
                at = ... if slot.index is None else slot.index
                spoilt[f"params/{slot.path}"][at] = np.nan
        pack.load(0, spoilt)
        if name in CONVOLUTIONAL:  # a row of an image may be a time step of its task
            assert blamed(pack).replace(" at time step 0", "") == (
                f"the output of layer {layer}, in the forward pass"
            )
            continue
        once = layer == rows[-1][0] and answers_once(pack)
        timed = "" if name == "ffn" or once else " at time step 0"
        what = "state" if name in STATES and layer != "readout" else "output"
        # A spiking cell's state that is NaN makes no spike, which is finite.
        aside = ", while the loss is finite" if "snn" in name and what == "state" else ""
        said = f"the {what} of layer {layer}{timed}, in the forward pass{aside}"
        assert blamed(pack) == said


def answers_once(pack: Pack) -> bool:
    """Whether the model has one output for a sample and not one for each time step."""
    engine = pack._engine
    assert isinstance(engine, Training)
    shapes, x = pack._programs.shapes, jnp.zeros((1, 1, engine.sizes.features))
    apply = lambda params, rest: engine.apply(params, rest, x, train=False)[0]  # noqa: E731
    return jax.eval_shape(apply, shapes["params"], shapes["rest"]).ndim == 2


@pytest.mark.parametrize(("layer", "at"), [(0, 3), (1, 2), (2, 5)])
def test_a_recurrent_stack_names_layer_and_time_step(layer: int, at: int) -> None:
    """Only that layer feeds itself, and grows by so much a step that it leaves float32 at `at`."""

    def weights(path: str, shape: tuple[int, ...]) -> np.ndarray | None:
        found = np.zeros(shape)
        if path == "b_ih":
            found[layer] = 1
            return found
        if path == "w_hh":
            found[layer] = 10 ** (38.8 / at) * np.eye(8)
            return found
        return None

    one = of_model("residual_rnn", depth=3, seq_len=6, residual_scale=1.0)
    pack = lane(one, weights)
    said = f"the output of layer rnn.{layer} at time step {at}, in the forward pass"
    assert blamed(pack) == said


BACK = {"vanilla_rnn": "rnn.1", "torch_rnn": "rnn.0"}


@pytest.mark.parametrize("name", BACK)
def test_the_time_step_of_a_gradient_is_the_first_that_back_propagation_meets(name: str) -> None:
    """It grows by 1e10 a step back in time, from about 1 at the last of six; all states are 0."""

    def weights(path: str, shape: tuple[int, ...]) -> Any:
        if path.endswith("w_hh"):
            return 1e10 * np.eye(shape[-1]) * np.ones(shape)
        return np.eye(shape[0], shape[1]) if path in ("w_out", "readout/w") else None

    pack = lane(of_model(name, seq_len=6), weights)
    said = f"the gradient of {BACK[name]}.b_hh at time step 1, in the backward pass"
    assert blamed(pack) == said


def pack_of(task: Task, model: Model | str, **config: Any) -> Pack:
    """A pack of one trial of a model of ours or a user's, its first state drawn."""
    registry = builtin_registry()
    registry.add(task)
    if isinstance(model, Model):
        registry.add(model)
        model = model.name
    pack = Pack([registry.resolve({"model": model, "task": task.name, **config})], {})
    pack.init()
    return pack


SPOILT_AT = 3


def constant(config: Any) -> dict[str, np.ndarray]:
    return {"x": np.full((4, 6, 2), 0.5), "y": np.arange(4) % 3}


CONSTANT = Task(name="constant", build=constant, sizes=lambda config: Sizes(6, 2, 3, 4, 0, 0, 4))


def spoilt(pack: Pack) -> Pack:
    """Its inputs NaN from a time step on, as if a layer had made them so."""
    pack.broken_input = lambda *_: None  # type: ignore[method-assign]
    x = np.array(pack._data["x"])
    x[1:, SPOILT_AT:] = np.nan
    pack._data = {**pack._data, "x": jnp.asarray(x)}
    return pack


@pytest.mark.parametrize(
    ("name", "layer"),
    [("vanilla_rnn", "rnn.0"), ("lstm", "rnn.0"), ("lru", "rnn.0"), ("deep_recurrent", "encoder")],
)
def test_the_time_step_of_an_output_is_the_first_that_is_not_finite(name: str, layer: str) -> None:
    config = {n: v for n, v in MODELS[name].items() if n not in GAUSSIAN}
    what = "state" if name in STATES else "output"
    said = f"the {what} of layer {layer} at time step {SPOILT_AT}, in the forward pass"
    assert blamed(spoilt(pack_of(CONSTANT, name, **config))) == said


class Layers(nnx.Module):
    """A user's module of layers over time, one called step by step, one in a scan of its own, and
    parameters of its own."""

    def __init__(self, rngs: nnx.Rngs):
        self.below = nnx.List([nnx.Linear(2, 4, rngs=rngs), nnx.Linear(4, 4, rngs=rngs)])
        self.cell = nnx.SimpleCell(4, 4, rngs=rngs)
        self.inside = nnx.Linear(4, 4, rngs=rngs)
        self.own = nnx.Param(jnp.ones(3))
        self.readout = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.below:
            x = jnp.tanh(layer(x))
        h = jnp.zeros((len(x), 4))
        for t in range(x.shape[1]):
            h = self.cell(h, x[:, t])[0]
        h, _ = jax.lax.scan(lambda h, _: (jnp.tanh(self.inside(h)), None), h, None, length=2)
        return self.own * self.readout(h)


class Steps(Layers):
    """With a cell that returns its state alone."""

    def __init__(self, rngs: nnx.Rngs):
        super().__init__(rngs)
        self.cell = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = jnp.zeros((len(x), 4))
        for t in range(x.shape[1]):
            h = jnp.tanh(self.cell(jnp.concatenate([h, self.below[0](x[:, t])], -1)))
        return self.own * self.readout(h)


def users(kind: Any) -> Pack:
    model = Model(name="mine", build=lambda config, sizes, rngs: kind(rngs))
    return pack_of(CONSTANT, model)


def test_a_users_layers_are_named_where_they_can_be_seen_and_not_where_they_cannot() -> None:
    pack = users(Layers)
    first = {path: leaf[0] for path, leaf in pack.state().items()}

    def said(**changed: float) -> str:
        """Where tensors, by path with "__" for "/", have these values."""
        state = dict(first)
        for name, value in changed.items():
            path = f"params/{name.replace('__', '/')}"
            state[path] = np.full_like(state[path], value)
        pack.load(0, state)
        found, _, rest = blamed(pack).partition(";")
        assert rest == " that of layer inside was not looked at" or "forward" not in found
        return found

    names = {"below__0__bias": "layer below.0 at time step 0", "own": "the model",
             "below__1__kernel": "layer below.1 at time step 0", "readout__bias": "layer readout",
             "cell__dense_h__kernel": "layer cell.dense_h at time step 0"}  # fmt: skip
    for name, what in names.items():
        assert said(**{name: np.nan}) == f"the output of {what}, in the forward pass"
    # What a scan computes cannot be taken out of it: the next layer is named, and that one too.
    assert said(inside__bias=np.nan) == "the output of layer readout, in the forward pass"
    assert said(own=3e38) == (
        "the loss, in the forward pass, while the outputs of layers below.0, below.1, "
        "cell.dense_i, cell.dense_h, cell, readout and of the model are finite"
    )
    pack.load(0, first)
    assert blamed(spoilt(pack)).startswith(
        f"the output of layer below.0 at time step {SPOILT_AT}, in the forward pass"
    )


def test_a_layer_that_is_called_once_for_each_time_step_names_the_step() -> None:
    pack = spoilt(users(Steps))
    said = f"the output of layer below.0 at time step {SPOILT_AT}, in the forward pass; those "
    assert blamed(pack) == f"{said}of layers below.1, inside were not looked at"


def test_a_loss_that_overflows_is_named() -> None:
    def weights(path: str, shape: tuple[int, ...]) -> np.ndarray | None:
        return np.resize([3e38, -3e38], shape) if path == "b_out" else None

    pack = lane(of_model("vanilla_rnn", batch_size=8), weights)
    said = "the loss, in the forward pass, while the outputs of all layers are finite"
    assert blamed(pack) == said


def test_an_infinite_update_is_named_last() -> None:
    one = of_model("vanilla_rnn", lr=3e38, min_norm=10.0, batch_size=4)
    said = blamed(lane(one, lambda path, shape: np.full(shape, 0.1)))
    assert said == "the update of readout.w, while loss and gradients are finite"


def test_weights_that_their_update_takes_out_of_range_are_named() -> None:
    """Gradients of 4e37 and updates of as much, on weights of 3.3e38."""
    registry = script_registry(np.array([[-4e37, 0, -1, -1]]))
    pack = Pack([registry.resolve({"model": "scripted", "task": "scripted", "lr": 1.0})], {})
    pack.init()
    state = {path: leaf[0] for path, leaf in pack.state().items()}
    state["params/front/a"] = np.full_like(state["params/front/a"], 3.3e38)
    pack.load(0, state)
    said = "front.a after its update, while loss, gradients and update are finite"
    assert blamed(pack) == said


def test_a_stage_with_a_loop_of_its_own_names_itself() -> None:
    pack = Pack(trials(2.0), {})
    assert pack.blame(0, 3, 5) == "epoch 3, step 5: a value of stage powers"


def test_the_batch_is_that_of_the_bad_epoch_and_step() -> None:
    """One sample has a gradient that is NaN; it comes at another step in another epoch."""
    script = np.ones((7, 4))
    script[4, 2] = np.nan
    registry = script_registry(script)
    pack = Pack([registry.resolve({"model": "scripted", "task": "scripted"})], {})
    pack.init()
    engine = pack._engine
    assert isinstance(engine, Training)
    values = jax.tree.map(lambda leaf: leaf[0], pack._values)

    def step_of(epoch: int) -> int:
        schedule = engine.task.training(trial_key(values["seed"]), values, jnp.int32(epoch))
        return int(np.flatnonzero(np.asarray(schedule["index"]) == 4)[0])

    here = step_of(0)
    other = next(epoch for epoch in range(1, 9) if step_of(epoch) != here)
    said = f"epoch 0, step {here}: the gradient of back.w, in the backward pass"
    assert pack.blame(0, 0, here) == said
    assert "nothing that a repetition shows" in pack.blame(0, other, here)
