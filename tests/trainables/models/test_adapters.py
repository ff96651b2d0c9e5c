"""Modules of Flax Linen and Equinox: they train, are named by path, and are evaluated as such."""

from __future__ import annotations

from functools import cache
from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support import module_kinds_study as study
from trainables.core.layout import by_path
from trainables.declarations import Model, PartError, builtin_registry
from trainables.models.adapters import as_written
from trainables.packs.pack import Pack


def pack_of(build: Any = study.build, **config: Any) -> Pack:
    registry = builtin_registry()
    registry.add(Model(name="kinds_net", keys=study.KEYS, build=build), study.TASK)
    pack = Pack([registry.resolve({**study.CONFIG, **config})], {})
    pack.init()
    return pack


@cache
def trained(kind: str) -> tuple[Pack, dict[str, np.ndarray], list[float]]:
    """A pack after four epochs, its first weights and its losses."""
    pack = pack_of(kind=kind)
    first = pack.weights(0)
    losses = [float(pack.epoch(epoch).epochs["loss"][0]) for epoch in range(4)]
    return pack, first, losses


NAMES = {
    "linen": {
        *("inner.kernel", "inner.bias", "BatchNorm_0.scale", "BatchNorm_0.bias"),
        *("Dense_0.kernel", "Dense_0.bias"),
    },
    "equinox": {"layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"},
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_module_of_another_library_trains_under_its_own_names(kind: str) -> None:
    pack, first, losses = trained(kind)
    assert losses[-1] < losses[0]
    tensors = {f"{r.layer_name}.{r.tensor}" for r in pack.layer_rows if r.tensor != "*"}
    assert tensors == NAMES[kind]
    assert pack.layer_rows[0].layer_name in ("inner", "layers.0")
    after = pack.weights(0)
    assert all(not np.array_equal(first[name], after[name]) for name in NAMES[kind])


@pytest.mark.parametrize("kind", NAMES)
def test_it_draws_anew_in_training_and_not_in_evaluation(kind: str) -> None:
    pack, _, _ = trained(kind)
    engine: Any = pack._engine
    state = jax.tree.map(lambda leaf: leaf[0], pack._state)
    x = jnp.asarray(study.arrays({})["x"][:20])
    params, rest = state["params"], state["rest"]
    one, moved = engine.apply(params, rest, x, train=True)
    other, _ = engine.apply(params, moved, x, train=True)
    assert not np.allclose(one, other)
    assert jax.tree.structure(moved) == jax.tree.structure(rest)
    still, _ = engine.apply(params, rest, x, train=False)
    again, _ = engine.apply(params, moved, x[:1], train=False)
    if kind == "equinox":
        np.testing.assert_allclose(again[0], still[0], rtol=1e-5)
    assert not np.allclose(one, still)


def test_collections_of_linen_are_carried() -> None:
    pack, first, _ = trained("linen")
    engine: Any = pack._engine
    state = jax.tree.map(lambda leaf: leaf[0], pack._state)
    x = jnp.asarray(study.arrays({})["x"][:20])
    _, moved = engine.apply(state["params"], state["rest"], x, train=True)
    before, after = (by_path(tree)["BatchNorm_0/mean"] for tree in (state["rest"], moved))
    batch = np.asarray(x[:, 0]) @ pack.weights(0)["inner.kernel"] + pack.weights(0)["inner.bias"]
    np.testing.assert_allclose(after, 0.99 * before + 0.01 * batch.mean(0), rtol=1e-4, atol=1e-6)
    _, still = engine.apply(state["params"], state["rest"], x, train=False)
    assert np.array_equal(by_path(still)["BatchNorm_0/mean"], before)
    assert not np.array_equal(first["state/BatchNorm_0.mean"], before)


def test_traced_values_reach_an_equinox_module_and_are_not_trained() -> None:
    registry = builtin_registry()
    registry.add(study.NET, study.TASK)
    shifts = (0.0, 2.0)
    trials = [registry.resolve({**study.CONFIG, "kind": "equinox", "shift": s}) for s in shifts]
    pack = Pack(trials, {})
    pack.init()
    losses = pack.epoch(0).epochs["loss_first"]
    assert losses[0] != losses[1]
    assert not any("shift" in name for name in pack.weights(0))
    assert pack.state()["rest/shift"].tolist() == [0.0, 2.0]


def test_the_users_own_kind_comes_back() -> None:
    for kind, type_ in (("linen", study.Linen), ("equinox", study.Equinox)):
        pack, _, _ = trained(kind)
        engine: Any = pack._engine
        state = jax.tree.map(lambda leaf: leaf[0], pack._state)
        x = jnp.asarray(study.arrays({})["x"][:20])
        want, _ = engine.apply(state["params"], state["rest"], x, train=False)
        own: Any = as_written(engine.module(state["params"], state["rest"], train=False))
        called: Any = own
        assert isinstance(own, type_)
        found = called(x, train=False) if kind == "linen" else jax.vmap(called)(x)
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


class Flagged(nn.Module):
    """Whether it trains is a field."""

    deterministic: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = nn.Dropout(0.5, deterministic=self.deterministic)(x[:, 0])
        return nn.Dense(2)(h)


def test_a_field_of_linen_may_say_whether_it_trains() -> None:
    engine: Any = pack_of(lambda c, s, r: Flagged())._engine
    trial = builtin_registry()
    trial.add(Model(name="kinds_net", keys=study.KEYS, build=lambda c, s, r: Flagged()), study.TASK)
    values: Any = {"seed": jnp.int32(0), "shift": jnp.float32(0), "lr": jnp.float32(0.1)}
    state = engine.init(trial.resolve(study.CONFIG), {**values, "weight_decay": jnp.float32(0)})
    x = jnp.ones((4, 1, 4))
    one, rest = engine.apply(state["params"], state["rest"], x, train=True)
    other, _ = engine.apply(state["params"], rest, x, train=True)
    assert not np.allclose(one, other)
    still, _ = engine.apply(state["params"], rest, x, train=False)
    np.testing.assert_allclose(still, still[:1] * jnp.ones((4, 1)), rtol=1e-6)


class Scaled(nn.Module):
    scale: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return self.scale * nn.Dense(2)(x[:, 0])


class Named(eqx.Module):
    train: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.train @ x[0]


class Uncalled(eqx.Module):
    w: jax.Array


def _with_state(config: Any, sizes: Any, rngs: Any) -> Any:
    return eqx.nn.make_with_state(eqx.nn.BatchNorm)(4, "batch", mode="batch")


class Overflowing(nn.Module):
    """Its second layer leaves float32's range."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = nn.Dense(4, name="first")(x[:, 0])
        h = nn.Dense(4, name="second", bias_init=nn.initializers.constant(3e38))(h * 1e38)
        return nn.Dense(2, name="last")(h)


def test_the_layer_of_linen_that_was_first_not_finite_is_named() -> None:
    pack = pack_of(lambda c, s, r: Overflowing())
    state = pack.state()
    assert pack.epoch(0).bad_step[0] == 0
    pack.load(0, {path: leaf[0] for path, leaf in state.items()})
    assert "the output of layer second, in the forward pass" in pack.blame(0, 0, 0)


REFUSED = {
    "traced field": (
        lambda c, s, r: Scaled(c["shift"]),
        "field scale of the flax.linen module of model kinds_net is an array, such as a traced key",
    ),
    "state": (_with_state, "model kinds_net is an Equinox module with stateful layers, which are"),
    "no call": (
        lambda c, s, r: Uncalled(jnp.ones(3)),
        "the function of model kinds_net returned a Uncalled, which cannot be called; give it",
    ),
    "name": (
        lambda c, s, r: Named(jnp.ones((2, 4))),
        "field train of the Equinox module of model kinds_net is the name of a method of Flax",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_adapted_is_said_with_the_remedy(case: str) -> None:
    build, said = REFUSED[case]
    with pytest.raises(PartError) as caught:
        pack_of(build)
    assert str(caught.value).startswith(said)
