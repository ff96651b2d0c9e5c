"""Parameters that are complex, of 16 bits, of integers, shared or frozen, and what is kept."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.support.small_trials import network
from trainables.core.layout import by_path
from trainables.core.norms import safe_norm
from trainables.core.numbers import ascent, widened
from trainables.declarations import Model, PartError, Registry, Sizes, Task, builtin_registry
from trainables.optim.adabelief import adabelief, scale_by_rectified_belief
from trainables.optim.adam import adam, adamw
from trainables.optim.lookahead import lookahead
from trainables.optim.sgd import sgd
from trainables.optim.trained_leaves import of_trained
from trainables.packs.pack import Pack
from trainables.training.unreached import unreached

SIZES = Sizes(seq_len=1, features=4, classes=2, n_train=40, n_val=20, n_test=0, batch_size=10)
HPARAMS = {"lr": jnp.float32(0.05), "weight_decay": jnp.float32(0.01)}


def _data(config: Any) -> dict[str, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(60, 1, 4)).astype(np.float32)
    return {"x": x, "y": (x[:, 0, 0] > 0).astype(np.int64)}


def registry_of(build: Any, **model: Any) -> Registry:
    """Model `net`, made by `build(rngs)`, and a task of two classes."""
    registry = builtin_registry()
    registry.add(
        Model(name="net", build=lambda config, sizes, rngs: build(rngs), **model),
        Task(name="mine", build=_data, sizes=lambda config: SIZES),
    )
    return registry


def pack_of(build: Any, config: Any = (), init: bool = True, **model: Any) -> Pack:
    registry = registry_of(build, **model)
    one = registry.resolve({"model": "net", "task": "mine", "optimizer": "adam", **dict(config)})
    pack = Pack([one], {})
    if init:
        pack.init()
    return pack


# ---- complex -----------------------------------------------------------------------------------


class Imaginary(nnx.Module):
    """Logits whose loss is least where z is 3i; z starts at i."""

    def __init__(self, rngs: nnx.Rngs):
        self.z = nnx.Param(jnp.full(2, 1j, jnp.complex64))

    def __call__(self, x: jax.Array) -> jax.Array:
        z = self.z[0]
        s = -((jnp.imag(z) - 3) ** 2) - jnp.real(z) ** 2
        return jnp.stack([jnp.zeros(len(x)), jnp.where(x[:, 0, 0] > 0, s, -s)], -1)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adabelief"])
def test_descent_moves_a_complex_parameter_downhill(optimizer: str) -> None:
    """Without the conjugate its imaginary part climbs away from 3."""
    pack = pack_of(Imaginary, {"optimizer": optimizer, "lr": 0.1})
    losses = [pack.epoch(epoch).epochs["loss"][0] for epoch in range(12)]
    z = pack.weights(0)["z"]
    assert z.dtype == np.complex64
    assert losses[-1] < losses[0]
    assert 2 < z[0].imag < 3.5
    assert abs(z[0].real) < 0.1
    assert z[1] == 1j


def _gradient(z: complex) -> np.ndarray:
    def loss(z: jax.Array) -> jax.Array:
        return jnp.real(z) ** 2 + 3 * jnp.imag(z) ** 2

    return np.asarray(ascent(jax.grad(loss)(jnp.complex64(z))))


@given(st.complex_numbers(min_magnitude=1e-3, max_magnitude=100))
def test_the_ascent_of_a_real_loss_is_its_gradient_by_both_parts(z: complex) -> None:
    np.testing.assert_allclose(_gradient(z), np.complex64(2 * z.real + 6j * z.imag), rtol=1e-6)


RULES = {
    "sgd": lambda: sgd({}, HPARAMS),
    "adam": lambda: adam({}, HPARAMS),
    "adamw": lambda: adamw({}, HPARAMS),
    "belief": scale_by_rectified_belief,
    "adabelief": lambda: adabelief({"lookahead": True}, HPARAMS),
    "lookahead": lambda: lookahead(optax.sgd(0.1), period=2),
}


def _moved(rule: Any, start: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    params = jnp.asarray(start)
    state = rule.init(params)
    for gradient in gradients:
        updates, state = rule.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
    return np.asarray(params)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_turns_with_complex_gradients(name: str) -> None:
    """Squares are |.|^2, so turning all numbers by an angle turns the path; and numbers without
    imaginary part move as real ones do."""
    rng = np.random.default_rng(1)
    start, *gradients = (rng.normal(size=(8, 3, 2)) @ (1, 1j)).astype(np.complex64)
    turn = np.complex64(np.exp(0.7j))
    path = _moved(RULES[name](), start, gradients)
    turned = _moved(RULES[name](), start * turn, [g * turn for g in gradients])
    np.testing.assert_allclose(turned, path * turn, rtol=1e-4, atol=1e-6)
    real = _moved(RULES[name](), start.real, [g.real for g in gradients])
    flat = _moved(RULES[name](), start.real + 0j, [g.real + 0j for g in gradients])
    np.testing.assert_allclose(flat, real, rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(arrays(np.float32, (3, 2), elements=st.floats(-(2.0**60), 2.0**60, width=32)))
def test_norms_of_complex_numbers_are_those_of_their_parts(parts: np.ndarray) -> None:
    value = parts[:, 0] + 1j * parts[:, 1]
    found = safe_norm(jnp.asarray(value))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, np.linalg.norm(parts.astype(float)), rtol=1e-5, atol=1e-37)


# ---- 16 bits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_parameters_of_16_bits_train_with_float32_statistics(dtype: Any) -> None:
    def build(rngs: nnx.Rngs) -> nnx.Module:
        return nnx.Sequential(
            lambda x: x[:, 0],
            nnx.Linear(4, 8, rngs=rngs, param_dtype=dtype, dtype=dtype),
            jnp.tanh,
            nnx.Linear(8, 2, rngs=rngs, param_dtype=dtype, dtype=dtype),
        )

    pack = pack_of(build)
    results = [pack.epoch(epoch) for epoch in range(4)]
    assert results[-1].epochs["loss"][0] < results[0].epochs["loss"][0]
    assert {c.dtype for c in results[0].layers.values()} == {np.dtype("f4"), np.dtype("i4")}
    assert results[0].epochs["grad_norm"].dtype == np.float32
    for path, leaf in pack.state().items():
        if path.startswith("params"):
            assert leaf.dtype == dtype
        elif path.startswith("optimizer") and leaf.ndim > 1:
            assert leaf.dtype == np.float32
    kept = pack.weights(0)
    child = pack_of(build)
    child.init({0: kept})
    again = child.weights(0)
    assert all(again[name].tobytes() == kept[name].tobytes() for name in kept)


def test_a_norm_of_16_bits_is_summed_in_float32() -> None:
    value = jnp.full(1000, 0.1, jnp.bfloat16)
    found = safe_norm(value)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, np.sqrt(1000) * float(value[0]), rtol=1e-5)


def test_leaves_of_32_bits_move_as_without_those_of_16() -> None:
    wide = {"w": jnp.linspace(0.0, 1.0, 5)}
    both = {**wide, "h": jnp.ones(3, jnp.bfloat16)}
    assert widened(both)["w"] is both["w"]
    assert widened(both)["h"].dtype == jnp.float32

    def moved(params: Any, rule: Any) -> Any:
        updates, _ = rule.update(jax.tree.map(jnp.sin, params), rule.init(params), params)
        return updates

    rule = sgd({}, HPARAMS)
    everything = of_trained(rule, lambda tree: jax.tree.map(lambda _: True, tree))
    found: Any = moved(both, everything)
    assert np.array_equal(found["w"], moved(wide, rule)["w"])
    assert found["h"].dtype == jnp.float32
    applied: Any = optax.apply_updates(both, found)
    assert applied["h"].dtype == jnp.bfloat16


# ---- integers, shared and frozen ones ----------------------------------------------------------


class Net(nnx.Module):
    """Two layers below a readout."""

    def __init__(self, rngs: nnx.Rngs):
        self.features = nnx.List([nnx.Linear(4, 4, rngs=rngs) for _ in range(2)])
        self.readout = nnx.Linear(4, 2, rngs=rngs)
        self.table = nnx.Param(jnp.arange(4))

    def __call__(self, x: jax.Array) -> jax.Array:
        h = x[:, 0][:, self.table[...]]
        for layer in self.features:
            h = jnp.tanh(layer(h))
        return self.readout(h)


def test_integer_parameters_are_state() -> None:
    pack = pack_of(Net)
    pack.epoch(0)
    names = {f"{row.layer_name}.{row.tensor}" for row in pack.layer_rows}
    assert "table" not in {row.tensor for row in pack.layer_rows}
    assert "features.1.kernel" in names
    assert np.array_equal(pack.weights(0)["state/table"], np.arange(4))
    assert pack.parameter_count == 2 * 20 + 10


FROZEN: dict[str, tuple[Any, set[str]]] = {
    "a layer": ("features.0", {"features.0.kernel", "features.0.bias"}),
    "what holds layers": (
        "features",
        {f"features.{i}.{t}" for i in "01" for t in ("kernel", "bias")},
    ),
    "a pattern": ("features.*", {f"features.{i}.{t}" for i in "01" for t in ("kernel", "bias")}),
    "tensors": (["*.bias"], {"features.0.bias", "features.1.bias", "readout.bias"}),
    "a function": (lambda config: ("features.1",), {"features.1.kernel", "features.1.bias"}),
}


def _name(row: Any) -> str:
    return f"{row.layer_name}.{row.tensor}"


@pytest.mark.parametrize("case", FROZEN)
def test_frozen_layers_are_marked(case: str) -> None:
    frozen, names = FROZEN[case]
    rows = pack_of(Net, frozen=frozen, init=False).layer_rows
    assert {_name(row) for row in rows if row.tensor != "*" and row.frozen} == names
    for row in rows:
        if row.tensor == "*":
            whole = {f"{row.layer_name}.kernel", f"{row.layer_name}.bias"} <= names
            assert row.frozen == whole


def test_frozen_layers_stay_and_pass_gradients_on() -> None:
    pack = pack_of(Net, {"optimizer": "adamw", "weight_decay": 0.1}, frozen="features.1")
    before, result, after = pack.weights(0), pack.epoch(0), pack.weights(0)
    stays = {name for name in before if np.array_equal(before[name], after[name])}
    assert stays == {"features.1.kernel", "features.1.bias", "state/table"}
    assert result.epochs["zero_tensors"][0] == 0
    marks = np.array([row.frozen for row in pack.layer_rows])
    assert not result.layers["update_norm"][0, marks].any()
    assert not result.layers["zero_steps"][0].any()
    assert result.layers["update_norm"][0, ~marks].all()
    assert result.layers["grad_norm"][0, ~marks].all()
    assert np.count_nonzero(result.layers["param_norm"][0, marks]) == 2  # a bias of 0
    assert pack.parameter_count == 20 + 10
    assert not any("features/1" in path for path in pack.state() if path.startswith("optimizer"))


class Stopped(Net):
    """No gradient passes below its second layer, and one layer is not used."""

    def __init__(self, rngs: nnx.Rngs):
        super().__init__(rngs)
        self.spare = nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = jax.lax.stop_gradient(jnp.tanh(self.features[0](x[:, 0])))
        return self.readout(jnp.tanh(self.features[1](h)))


def test_layers_that_no_gradient_reaches_are_marked() -> None:
    pack = pack_of(Stopped)
    whole = {row.layer_name for row in pack.layer_rows if row.tensor == "*" and row.frozen}
    assert whole == {"features.0", "spare"}
    result = pack.epoch(0)
    assert result.epochs["zero_tensors"][0] == 0
    assert not result.layers["zero_steps"][0].any()
    marks = np.array([row.frozen for row in pack.layer_rows])
    assert not result.layers["grad_norm"][0, marks].any()
    assert result.layers["grad_norm"][0, ~marks].all()


def test_a_gradient_that_is_0_for_these_numbers_alone_is_not_marked() -> None:
    """A unit that never fires passes no gradient on, but might."""

    def gradient(params: Any, x: jax.Array) -> Any:
        return jax.grad(lambda p: jnp.sum(jax.nn.relu(x @ p["w"] - 100) + 0 * p["b"]))(params)

    params = {"w": jnp.ones((3, 2)), "b": jnp.ones(2), "c": jnp.ones(())}
    assert unreached(gradient, params, jnp.ones((4, 3))) == {"c"}


MISFITS = {
    "nothing": (
        "fetures",
        "model net freezes 'fetures', which is none of its layers (features.0, ",
    ),
    "all": ("*", "model net freezes all its layers, so nothing is left to train"),
    "one number": (3, "frozen of model net holds 3; it must hold names"),
    "number": ((3,), "frozen of model net holds 3; it must hold names or patterns of layers"),
    "key": (lambda config: (config["layer"],), "frozen of model net reads 'layer', which is not"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_what_cannot_be_frozen_is_named(case: str) -> None:
    frozen, said = MISFITS[case]
    with pytest.raises(PartError) as caught:
        pack_of(Net, frozen=frozen, init=False)
    assert str(caught.value).startswith(said)


def test_a_rule_that_searches_a_line_sees_trained_leaves_alone() -> None:
    """The loss is (a - 1)^2 + (b - 1)^2 with b frozen at 0 and a of 16 bits."""
    params: Any = {"a": jnp.bfloat16(5), "b": jnp.float32(0)}

    def value(params: Any) -> jax.Array:
        return jnp.sum((params["a"] - 1) ** 2 + (params["b"] - 1) ** 2)

    rule = of_trained(optax.lbfgs(), lambda tree: {"a": True, "b": False})
    state = rule.init(params)
    for _ in range(3):
        loss, gradients = jax.value_and_grad(value)(params)
        gradients = {**ascent(gradients), "b": jnp.float32(0)}
        updates, state = rule.update(
            gradients, state, params, value=jnp.float32(loss), grad=gradients, value_fn=value
        )
        params = optax.apply_updates(params, updates)
    assert params["b"] == 0
    np.testing.assert_allclose(float(params["a"]), 1, atol=0.02)


class Tied(nnx.Module):
    """Its embedding is the matrix of its decoder too, which the alphabet puts first."""

    def __init__(self, rngs: nnx.Rngs):
        self.embed = nnx.Linear(4, 2, use_bias=False, rngs=rngs)
        self.again = nnx.Dict(kernel=self.embed.kernel)

    def __call__(self, x: jax.Array) -> jax.Array:
        h = jnp.tanh(self.embed(x[:, 0]))
        return self.embed(h @ self.again["kernel"][...].T)


def test_shared_weights_are_counted_once_under_their_first_name() -> None:
    pack = pack_of(Tied)
    assert [(r.layer_name, r.tensor) for r in pack.layer_rows] == [
        ("embed", "kernel"),
        ("embed", "*"),
    ]
    assert pack.parameter_count == 8
    pack.epoch(0)
    assert list(pack.weights(0)) == ["embed.kernel"]


class Cyclic(Net):
    """A layer that knows the module it is in."""

    def __init__(self, rngs: nnx.Rngs):
        super().__init__(rngs)
        setattr(self.readout, "owner", self)  # noqa: B010


def test_a_module_that_holds_its_owner_is_read() -> None:
    assert pack_of(Cyclic, init=False).parameter_count == 50


# ---- state -------------------------------------------------------------------------------------


class Normed(nnx.Module):
    """Batch norm and dropout."""

    def __init__(self, rngs: nnx.Rngs):
        self.inner = nnx.Linear(4, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.readout = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.readout(self.drop(self.norm(self.inner(x[:, 0]))))


def test_state_is_kept_with_the_weights_and_a_child_starts_from_it() -> None:
    parent = pack_of(Normed)
    parent.epoch(0)
    kept = parent.weights(0)
    assert {n for n in kept if "/" in n} == {
        *("state/norm.mean", "state/norm.var"),
        *("state/drop.rngs.key", "state/drop.rngs.count"),
    }
    child = pack_of(Normed, {"seed": 5})
    fresh = child.weights(0)
    assert not np.array_equal(fresh["state/norm.mean"], kept["state/norm.mean"])
    child.init({0: kept})
    found = child.weights(0)
    assert all(np.array_equal(found[name], kept[name]) for name in kept)
    # Weights kept before state was.
    child.init({0: {name: value for name, value in kept.items() if "/" not in name}})
    assert np.array_equal(child.weights(0)["state/norm.mean"], fresh["state/norm.mean"])
    with pytest.raises(ValueError, match=r"state/norm\.mean has shape \(3,\)"):
        child.init({0: {**kept, "state/norm.mean": np.zeros(3, np.float32)}})


def test_evaluation_uses_running_statistics_and_changes_none() -> None:
    pack = pack_of(Normed)
    pack.epoch(0)
    engine: Any = pack._engine
    state = jax.tree.map(lambda leaf: leaf[0], pack._state)
    x = jnp.asarray(_data({})["x"])
    both, rest = engine.apply(state["params"], state["rest"], x, train=False)
    alone, _ = engine.apply(state["params"], state["rest"], x[:1], train=False)
    np.testing.assert_allclose(alone[0], both[0], rtol=1e-5)
    for path, leaf in by_path(rest).items():
        old = by_path(state["rest"])[path]
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            assert np.array_equal(leaf, old), path
    trained, moved = engine.apply(state["params"], state["rest"], x, train=True)
    assert not np.allclose(trained, both)
    assert not np.array_equal(by_path(moved)["norm/mean"], by_path(rest)["norm/mean"])


@pytest.mark.parametrize("model", ["vanilla_rnn", "lru", "lru_stack", "torch_gru"])
def test_models_of_ours_keep_the_tensors_they_kept(model: str) -> None:
    one = builtin_registry().resolve({"model": model, "task": "gaussian"})
    layout = network(one).layout
    assert layout.state == ()
    assert layout.frozen == frozenset()
