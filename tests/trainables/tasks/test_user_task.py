"""A user's task: which samples, what judges them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

from trainables.core.hparams import lane_values
from trainables.declarations import (
    Key,
    Model,
    Objective,
    PartError,
    Sizes,
    Task,
    Trial,
    builtin_registry,
)
from trainables.packs.pack import Pack
from trainables.tasks.base import make_data, make_task
from trainables.tasks.user_task import UserTask

Arrays = Mapping[str, Any]


class Scaled(nnx.Module):
    """x (batch, 2) -> w times the sum of x, (batch,)."""

    def __init__(self, rngs: nnx.Rngs):
        self.w = nnx.Param(jnp.float32(2.0))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.w[...] * x.sum(-1)


def line(config: Any) -> dict[str, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(23, 2))
    return {"x": x, "target": 3 * x.sum(1) + 1}


def squared(outputs: Any, batch: Any, config: Any) -> Any:
    return (outputs - batch["target"]) ** 2


def trial_of(build: Callable[..., Any] | None = line, lr: float = 0.0, **task: Any) -> Trial:
    registry = builtin_registry()
    task = {"loss": squared, "batch_size": 5, **task}
    keys = (Key("scale", "float", 2.0, "traced"),)
    registry.add(
        Model(name="scaled", build=lambda config, sizes, rngs: Scaled(rngs)),
        Task(name="line", build=build, keys=keys, **task),
    )
    return registry.resolve({"model": "scaled", "task": "line", "lr": lr, "epochs": 1})


def epoch_of(trial: Trial) -> Any:
    pack = Pack([trial], {})
    pack.init()
    return pack.epoch(0)


def refused(**task: Any) -> str:
    with pytest.raises(PartError) as caught:
        Pack([trial_of(**task)], {}).compile()
    return str(caught.value)


def split_of(trial: Trial) -> tuple[list[int], list[int], list[int]]:
    task: Any = make_task(trial)
    assert isinstance(task, UserTask)
    values = {name: jnp.asarray(value) for name, value in lane_values(trial).items()}
    train, val = task._split(values)
    return train.tolist(), val.tolist(), task._tested(values).tolist()


@given(st.integers(3, 40), st.floats(0, 0.4), st.floats(0, 0.4))
def test_shares_use_each_sample_once(count: int, val: float, test: float) -> None:
    one = trial_of(lambda config: {"x": np.zeros((count, 2)), "target": np.zeros(count)},
                   split={"val": val, "test": test})  # fmt: skip
    sets = split_of(one)
    assert [len(part) for part in sets[1:]] == [round(val * count), round(test * count)]
    assert sorted([*sets[0], *sets[1], *sets[2]]) == list(range(count))


def test_sets_given_apart_stay_what_they_are() -> None:
    def apart(config: Any) -> Any:
        parts = np.split(np.arange(9.0), [4, 6])
        names = ("train", "val", "test")
        return {n: {"x": np.tile(p[:, None], 2), "target": p}
                for n, p in zip(names, parts, strict=True)}  # fmt: skip

    one = trial_of(apart, batch_size=3)
    assert split_of(one) == (list(range(4)), [4, 5], [6, 7, 8])
    assert (one.sizes.n_train, one.sizes.n_val, one.sizes.n_test) == (4, 2, 3)
    assert make_data(one, {})["target"].tolist() == list(range(9))
    found = epoch_of(one)
    want = [np.mean((4.0 * of - of) ** 2) for of in (np.arange(4, 6), np.arange(6, 9))]
    held = [found.epochs["val_loss"][0], found.epochs["test_loss"][0]]
    np.testing.assert_allclose(held, want, rtol=1e-6)


def test_a_test_set_may_stand_beside_the_pool() -> None:
    def build(config: Any) -> Any:
        return {**line(config), "x_test": np.ones((4, 2)), "target_test": np.zeros(4)}

    one = trial_of(build)
    assert (one.sizes.n_train, one.sizes.n_val, one.sizes.n_test) == (18, 5, 4)
    np.testing.assert_allclose(epoch_of(one).epochs["test_loss"], 16, rtol=1e-6)


@pytest.mark.parametrize("scalar", [False, True])
def test_means_are_those_of_the_samples_though_batches_are_filled_up(scalar: bool) -> None:
    """23 samples in batches of 5: 16 train, 5 validate, 2 test."""

    def weighed(outputs: Any, batch: Any, config: Any) -> Any:
        losses, weight = squared(outputs, batch, config), batch["weight"]
        return jnp.sum(weight * losses) / jnp.sum(weight)

    one = trial_of(loss=weighed if scalar else squared, split={"val": 0.2, "test": 0.1})
    data, (train, val, test) = line(None), split_of(one)
    losses = (2 * data["x"].sum(1) - data["target"]) ** 2
    found = epoch_of(one).epochs
    for name, samples in (("val_loss", val), ("test_loss", test)):
        np.testing.assert_allclose(found[name][0], losses[samples].mean(), rtol=1e-5)
    assert len(train) == 16


def test_a_scalar_that_does_not_weigh_needs_full_batches() -> None:
    def mean(outputs: Any, batch: Any, config: Any) -> Any:
        return jnp.mean(squared(outputs, batch, config))

    said = refused(loss=mean)
    assert "gives one number for a batch of 5, and the last batch has samples that only" in said
    assert "weigh by batch['weight']" in said
    full = trial_of(lambda c: {n: a[:20] for n, a in line(c).items()}, loss=mean, batch_size=4)
    data = {name: array[:20] for name, array in line(None).items()}
    losses = (2 * data["x"].sum(1) - data["target"]) ** 2
    found = epoch_of(full).epochs["val_loss"][0]
    np.testing.assert_allclose(found, losses[split_of(full)[1]].mean(), rtol=1e-5)


def test_metrics_are_means_of_training_and_held_out_samples() -> None:
    def metrics(outputs: Any, batch: Any, config: Any) -> Any:
        scale = jnp.full(5, config["scale"])
        gap = jnp.abs(outputs - batch["target"])
        return {"gap": gap, "one": jnp.ones(5), "scale": scale, "accuracy": outputs > 0}

    one = trial_of(metrics=metrics)
    found, data = epoch_of(one), line(None)
    gaps, (train, val, _) = np.abs(2 * data["x"].sum(1) - data["target"]), split_of(one)
    of = {name: float(value[0]) for name, value in found.metrics.items()}
    assert (of["one"], of["val_one"], of["val_scale"]) == (1, 1, 2)
    np.testing.assert_allclose([of["gap"], of["val_gap"]],
                               [gaps[train].mean(), gaps[val].mean()], rtol=1e-5)  # fmt: skip
    assert not any("accuracy" in name for name in of)
    right = np.mean(data["x"].sum(1)[val] > 0)
    np.testing.assert_allclose(found.epochs["val_accuracy"][0], right, rtol=1e-6)


def test_only_training_batches_are_augmented_each_lane_by_its_own_key() -> None:
    def augment(key: Any, batch: Any) -> Any:
        return {**batch, "target": batch["target"] + jax.random.normal(key, (5,))}

    trials = [trial_of(augment=augment) for _ in range(2)]
    registry_config = {**trials[0].config, "seed": 1}
    other = Trial(registry_config, trials[0].structure)
    pack = Pack([trials[0], other], {})
    pack.init()
    found = pack.epoch(0).epochs
    plain = epoch_of(trial_of()).epochs
    np.testing.assert_allclose(found["val_loss"], np.repeat(plain["val_loss"], 2), rtol=1e-6)
    assert len({*found["loss"].tolist(), float(plain["loss"][0])}) == 3


def test_inputs_may_be_a_dict_and_arrays_of_any_type() -> None:
    class Graph(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            self.w = nnx.Param(jnp.ones(3))

        def __call__(self, x: Any) -> jax.Array:
            assert x["nodes"].dtype == jnp.uint8
            return jnp.sum(x["mask"] * (x["nodes"] @ self.w[...]), 1)

    def build(config: Any) -> Any:
        nodes = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)
        return {"x": {"nodes": nodes, "mask": np.ones((5, 4), bool)}, "target": np.zeros(5)}

    registry = builtin_registry()
    registry.add(
        Model(name="graph", build=lambda config, sizes, rngs: Graph(rngs)),
        Task(name="graphs", build=build, loss=squared, batch_size=4),
    )
    found = epoch_of(registry.resolve({"model": "graph", "task": "graphs", "lr": 0}))
    assert np.isfinite(found.epochs["val_loss"]).all()


def test_a_built_in_data_set_is_a_second_argument() -> None:
    one = trial_of(
        lambda config, arrays: {"x": arrays["train_images"], "target": arrays["train_labels"]},
        dataset=lambda config: "digits",
        sizes=Sizes(n_train=3, n_val=1, batch_size=2),
    )
    assert one.dataset == "digits"
    images = {"train_images": np.ones((4, 2)), "train_labels": np.zeros(4)}
    assert make_data(one, images)["x"].shape == (4, 2)
    with pytest.raises(PartError, match="declares no sizes, and they cannot be known without its"):
        _ = trial_of(lambda config, arrays: arrays, dataset=lambda config: "digits").sizes


def spoilt(**arrays: Any) -> Callable[[Any], Arrays]:
    return lambda config: {**line(config), **arrays}


NAN = np.zeros((23, 2))
NAN[7, 1] = np.nan
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a NaN": ({"build": spoilt(x={"a": NAN})}, "x.a[7, 1] of task line is nan; its arrays must"),
    "lengths": ({"build": spoilt(target=np.zeros(22))},
                "target of task line has 22 samples and x has 23; each array must have one"),
    "large": ({"build": spoilt(target=np.full(23, 2**31))},
              "target[0] of task line is 2147483648; whole numbers are held in 32 bits"),
    "text": ({"build": spoilt(target=["a"] * 23)}, "target of task line has the dtype <U1"),
    "a number": ({"build": lambda config: 3}, "the arrays of task line are of type int"),
    "shares": ({"split": {"val": 1.5}}, "split of task line must give the shares"),
    "no loss": ({"loss": None}, "task line lacks the array y"),
    "a matrix": ({"loss": lambda o, b, c: o[:, None] - b["target"]},
                 "loss of task line has the shape (5, 5) for 5 samples; it must give one number"),
    "shapes": ({"loss": lambda o, b, c: o[:4] - b["target"]}, "loss of line failed at test_user"),
    "complex": ({"loss": lambda o, b, c: (o - b["target"]) * 1j}, "loss of task line is complex"),
    "nothing": ({"loss": lambda o, b, c: None}, "loss of task line is of type NoneType"),
    "no dict": ({"metrics": lambda o, b, c: o}, "metrics of task line returned "),
    "a lost name": ({"augment": lambda key, batch: {"x": batch["x"]}},
                    "augment of task line returned x; it must return a batch with the same names"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_named(case: str) -> None:
    task, said = REFUSED[case]
    assert refused(**task).startswith(said)


def test_a_loss_that_fails_names_both_shapes() -> None:
    said = refused(loss=lambda outputs, batch, config: outputs[:4] - batch["target"])
    assert "outputs float32[5]" in said
    assert "target: float32[5]" in said


# Objectives.


def init(key: Any, config: Any) -> Any:
    return {"net": [{"w": jax.random.normal(key, (2,))}, jnp.zeros(())], "count": 3}


def distance(tree: Any, batch: Any, key: Any, config: Any) -> Any:
    error = batch["x"] @ tree["net"][0]["w"] + tree["net"][1] - batch["target"]
    mean = jnp.sum(batch["weight"] * error**2) / jnp.sum(batch["weight"])
    return mean, {"worst": jnp.max(jnp.abs(error))}


def objective(lr: float = 0.1, **given: Any) -> Trial:
    registry = builtin_registry()
    registry.add(Objective(name="line", **{"init": init, "loss": distance, "data": line, **given}))
    return registry.resolve({"objective": "line", "lr": lr, "epochs": 40})


def test_an_objective_names_layers_by_the_paths_of_its_tree_and_learns() -> None:
    pack = Pack([objective(batch_size=23)], {})
    pack.init()
    rows = [(row.layer_name, row.tensor) for row in pack.layer_rows if row.tensor_index >= 0]
    assert rows == [("net.0", "w"), ("net", "1")]
    for epoch in range(40):
        found = pack.epoch(epoch)
    assert found.epochs["val_loss"][0] < 1e-3
    assert set(found.metrics) == {"worst", "val_worst", "test_worst"}
    np.testing.assert_allclose(pack.weights(0)["net.0.w"], [3, 3], atol=0.05)
    assert pack.state()["rest/count"].tolist() == [3]


def test_without_data_an_objective_draws_by_another_key_in_every_step() -> None:
    def drawn(tree: Any, batch: Any, key: Any, config: Any) -> Any:
        assert batch == {}
        return jnp.mean(tree["net"][0]["w"] ** 2), {"draw": jax.random.uniform(key)}

    one = objective(0.0, loss=drawn, data=None, steps=50)
    assert one.sizes.steps == 50
    pack = Pack([one], {})
    pack.init()
    first, second = pack.epoch(0).metrics, pack.epoch(1).metrics
    assert abs(float(first["draw"][0]) - 0.5) < 0.2
    assert float(first["draw"][0]) != float(second["draw"][0])
    assert float(first["val_draw"][0]) == float(second["val_draw"][0])


def test_what_an_objective_must_not_return_is_named() -> None:
    def loss(tree: Any, batch: Any, key: Any, config: Any) -> Any:
        return distance(tree, batch, key, config)[0], 3

    with pytest.raises(PartError, match="loss of objective line returned int beside its value"):
        Pack([objective(loss=loss)], {})
    with pytest.raises(PartError, match=r"init of the objective returned w of type str; its tree"):
        Pack([objective(init=lambda key, config: {"w": "no"})], {})


def test_a_loss_is_asked_once_of_the_same_outputs() -> None:
    """Of the loss, its metrics and the accuracy that it may bring, a training step is one trace."""
    asked = []

    def loss(tree: Any, batch: Any, key: Any, config: Any) -> Any:
        asked.append(batch["weight"].shape)
        return distance(tree, batch, key, config)

    one = objective(loss=loss, batch_size=23)
    engine: Any = Pack([one], {})._engine
    state = jax.eval_shape(lambda: engine.init(one, lane_values(one)))
    data = jax.tree.map(jnp.asarray, make_data(one, {}))
    entry = {"index": jnp.arange(5), "weight": jnp.ones(5), "key": jax.random.key(0)}
    batch = engine.task.batch(data, entry, lane_values(one))
    asked.clear()
    jax.eval_shape(engine.loss, state["params"], state["rest"], batch)
    assert asked == [(5,)]
