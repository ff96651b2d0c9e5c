"""Stages whose step is a user's function: what the engine adds, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from orchestrator.debug import debug
from tests.support.small_trials import assert_same_lane, assert_same_state, same, state_of
from trainables.core.lanes import Strategy
from trainables.core.random_keys import named_key
from trainables.declarations import Key, Loop, PartError, Sizes, Task, Trial, builtin_registry
from trainables.packs.pack import Pack

TARGET = np.array([3.0, -1.0, 2.0], np.float32)
LR = Key("lr", "float", 0.25, "traced")
STEPS = 8


def _pulled(key: jax.Array, config: Mapping[str, Any]) -> dict[str, Any]:
    return {"params": {"net": {"w": jnp.zeros(3)}}, "count": 0, "best": -jnp.inf}


def _pull(state: Any, batch: Any, key: jax.Array, config: Mapping[str, Any]) -> Any:
    assert batch is None
    gap = state["params"]["net"]["w"] - TARGET
    params = {"net": {"w": state["params"]["net"]["w"] - config["lr"] * gap}}
    metrics = {
        "loss": jnp.sum(gap**2) / 2,
        "drawn": jax.random.uniform(key),
        "even": jnp.where(state["count"] % 2 == 0, state["count"], jnp.nan),
    }
    state = {"params": params, "count": state["count"] + 1, "best": state["best"]}
    return state, metrics, {"net": {"w": gap}}


PULL = Loop(
    name="pull",
    version=1,
    init=_pulled,
    step=_pull,
    reads=(),
    keys=(LR, Key("steps_per_epoch", "int", STEPS)),
)
"""Gradient descent on |w - target|^2 / 2: w_t = target (1 - (1 - lr)^t)."""


def loop_trials(loop: Loop, *configs: Mapping[str, Any], task: Task | None = None) -> list[Trial]:
    registry = builtin_registry()
    registry.add(loop, *([] if task is None else [task]))
    chosen = {} if task is None else {"task": task.name}
    return [registry.resolve({"stage": loop.name, **chosen, **config}) for config in configs]


def started(*trials: Trial, **options: Any) -> Pack:
    pack = Pack(trials, {}, **options)
    pack.init()
    return pack


def test_rows_are_those_of_gradient_descent_in_closed_form() -> None:
    pack = started(*loop_trials(PULL, {}))
    result = pack.epoch(0)
    far = np.linalg.norm(TARGET) * 0.75 ** np.arange(STEPS + 1)
    of = {name: column[0] for name, column in result.epochs.items()}
    assert of["loss"] == pytest.approx(np.mean(far[:-1] ** 2 / 2), rel=1e-6)
    assert of["loss_first"] == pytest.approx(far[0] ** 2 / 2, rel=1e-6)
    assert of["loss_last"] == pytest.approx(far[-2] ** 2 / 2, rel=1e-6)
    assert of["grad_norm"] == pytest.approx(np.mean(far[:-1]), rel=1e-6)
    assert of["update_norm"] == pytest.approx(np.mean(far[:-1]) / 4, rel=1e-6)
    assert of["param_norm"] == pytest.approx(far[0] - far[-1], rel=1e-6)
    assert (of["steps"], of["finite_steps"], result.bad_step[0]) == (STEPS, STEPS, -1)
    assert result.steps["loss"][0] == pytest.approx(far[:-1] ** 2 / 2, rel=1e-6)
    assert [(row.layer_name, row.tensor) for row in pack.layer_rows] == [("net", "w"), ("net", "*")]
    assert result.layers["grad_norm_max"][0] == pytest.approx([far[0]] * 2, rel=1e-6)
    assert list(pack.weights(0)) == ["net.w"]
    assert pack.state()["rest/count"].tolist() == [STEPS]


def test_a_metric_that_is_nan_in_a_step_is_left_out_of_its_mean() -> None:
    result = started(*loop_trials(PULL, {})).epoch(0)
    assert result.metrics["even"][0] == np.mean([0, 2, 4, 6])


def test_keys_come_from_seed_epoch_and_step() -> None:
    pack = started(*loop_trials(PULL, {"seed": 5}, {"seed": 6}))
    for epoch in range(2):
        drawn = pack.epoch(epoch).metrics["drawn"]
        for lane, seed in enumerate((5, 6)):
            keys = [named_key(jax.random.key(seed), "step", epoch, s) for s in range(STEPS)]
            want = np.mean([jax.random.uniform(key) for key in keys])
            assert drawn[lane] == pytest.approx(want, rel=1e-6)


def test_the_keys_of_the_stage_train_are_there_and_give_way_to_its_own() -> None:
    (one,) = loop_trials(PULL, {})
    assert {"epochs", "early_stopping", "stop_below", "diverge_above"} <= set(one.config)
    assert not {"pretrain", "accumulate", "compute_dtype"} & set(one.config)
    own = replace(PULL, keys=(Key("epochs", "int", 3, "host"), LR))
    (one,) = loop_trials(own, {})
    assert (one.epochs, one.config["steps_per_epoch"]) == (3, 100)


def test_a_step_that_is_not_finite_leaves_the_last_finite_state() -> None:
    def step(state: Any, batch: Any, key: Any, config: Any) -> Any:
        after, metrics, gradients = _pull(state, batch, key, config)
        bad = (config["breaks"] >= 0) & (state["count"] == config["breaks"])
        after["params"] = jax.tree.map(lambda w: jnp.where(bad, jnp.inf, w), after["params"])
        return after, metrics, gradients

    keys = (*PULL.keys, Key("breaks", "int", -1, "traced"))
    pack = started(*loop_trials(replace(PULL, step=step, keys=keys), {"breaks": 10}, {}))
    pack.epoch(0)
    result = pack.epoch(1)
    assert result.bad_step.tolist() == [2, -1]
    assert result.epochs["finite_steps"].tolist() == [2, STEPS]
    assert pack.active.tolist() == [False, True]
    assert pack.weights(0)["net.w"] == pytest.approx(TARGET * (1 - 0.75**10), rel=1e-6)
    assert pack.blame(0, 1, 2) == "epoch 1, step 2: the weight of net.w is not finite"
    before = pack.state()
    assert np.isnan(pack.epoch(2).epochs["loss"][0])
    assert all(same(before[p][0], leaf[0]) for p, leaf in pack.state().items())


def test_a_child_starts_from_its_parents_weights_and_from_its_own_rest() -> None:
    parent = started(*loop_trials(PULL, {}))
    parent.epoch(0)
    child = Pack(loop_trials(PULL, {}), {})
    child.init({0: parent.weights(0)})
    assert same(child.weights(0)["net.w"], parent.weights(0)["net.w"])
    assert child.state()["rest/count"].tolist() == [0]

    def restart(state: Any, params: Any, config: Any) -> Any:
        return {**state, "params": params, "count": 40}

    other = Pack(loop_trials(replace(PULL, restart=restart), {}), {})
    other.init({0: parent.weights(0)})
    assert other.state()["rest/count"].tolist() == [40]


class Net(nnx.Module):
    """A module that a loop holds among its arrays."""

    def __init__(self, fan_in: int, out: int, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(fan_in, 6, rngs=rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)
        self.readout = nnx.Linear(6, out, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.readout(jnp.tanh(self.hidden(x)))


def _pair(key: jax.Array, config: Mapping[str, Any]) -> dict[str, Any]:
    first, second = jax.random.split(key)
    nets = {
        "generator": nnx.state(Net(2, 2, nnx.Rngs(first)), nnx.Param),
        "critic": nnx.state(Net(2, 1, nnx.Rngs(second)), nnx.Param),
    }
    rules = {name: optax.adam(config["lr"]).init(net) for name, net in nets.items()}
    return {"params": nets, "rules": rules, "own": jax.random.key(3)}


def _graph(out: int) -> Any:
    return nnx.split(nnx.eval_shape(lambda: Net(2, out, nnx.Rngs(0))), nnx.Param, ...)


def _called(out: int, params: Any, x: jax.Array) -> jax.Array:
    graph, _, rest = _graph(out)
    rest = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.uint32), rest)
    return nnx.merge(graph, params, rest)(x)


def _duel(state: Any, batch: Any, key: jax.Array, config: Mapping[str, Any]) -> Any:
    rule, nets = optax.adam(config["lr"]), state["params"]
    z = jax.random.normal(key, (len(batch["weight"]), 2))

    def critic_loss(critic: Any) -> jax.Array:
        fake = _called(2, nets["generator"], z)
        real = _called(1, critic, batch["x"][:, 0])
        return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(
            jax.nn.softplus(_called(1, critic, fake))
        )

    def generator_loss(generator: Any) -> jax.Array:
        return jnp.mean(jax.nn.softplus(-_called(1, nets["critic"], _called(2, generator, z))))

    new, rules, metrics = {}, {}, {}
    for name, loss in (("generator", generator_loss), ("critic", critic_loss)):
        metrics[name], gradients = jax.value_and_grad(loss)(nets[name])
        moves, rules[name] = rule.update(gradients, state["rules"][name], nets[name])
        new[name] = optax.apply_updates(nets[name], moves)
    return {"params": new, "rules": rules, "own": state["own"]}, metrics


def _held(state: Any, batch: Any, key: jax.Array, config: Mapping[str, Any]) -> Any:
    x, weight = batch["x"][:, 0], batch["weight"]
    return {"x": x[:, 0], "loss": jnp.sum(weight * x[:, 1]) / jnp.sum(weight)}


POINTS = np.random.default_rng(0).normal(size=(57, 1, 2)).astype(np.float32)
CLOUD = Task(
    name="cloud",
    version=1,
    build=lambda config: {"x": POINTS, "y": np.zeros(57, int)},
    sizes=lambda config: Sizes(1, 2, 1, 30, 14, 13, 8),
)
DUEL = Loop(name="duel", version=1, init=_pair, step=_duel, evaluate=_held, keys=(LR,))


def test_evaluate_gives_means_over_the_samples_of_each_set() -> None:
    """Numbers of samples, and of batches that hold samples of both sets."""
    result = started(*loop_trials(DUEL, {}, task=CLOUD)).epoch(0)
    assert set(result.metrics) == {"generator", "critic", "val_x", "test_x"}
    test = POINTS[44:, 0]
    assert result.metrics["test_x"][0] == pytest.approx(test[:, 0].mean(), rel=1e-5)
    assert result.epochs["test_loss"][0] == pytest.approx(test[:, 1].mean(), rel=1e-5)
    pool = POINTS[:44, 0, 0]
    assert pool.min() < result.metrics["val_x"][0] < pool.max()
    assert "loss" not in result.epochs


@pytest.mark.exact
@pytest.mark.parametrize("lanes", ["sequential", "vmap"])
def test_bits_depend_on_neither_position_nor_neighbours_nor_restarts(lanes: Strategy) -> None:
    def run(*trials: Trial) -> tuple[Pack, list[Any]]:
        pack = started(*trials, width=3, lanes=lanes)
        return pack, [pack.epoch(epoch) for epoch in range(3)]

    configs = [{"seed": 1, "lr": 0.01}, {"seed": 2, "lr": 0.3}, {"seed": 3, "lr": 1e-4}]
    a, b, c = loop_trials(DUEL, *configs, task=CLOUD)
    (first, found), (other, again) = run(a, b, c), run(c, a)
    for one, two in zip(found, again, strict=True):
        assert_same_lane(one, 0, two, 1)
        assert_same_lane(one, 2, two, 0)
    assert_same_state(state_of(first, 0), state_of(other, 1))
    early = started(a, width=3, lanes=lanes)
    early.epoch(0)
    late = Pack([b, a], {}, width=3, lanes=lanes)
    late.load(1, {path: leaf[0] for path, leaf in early.state().items()})
    for epoch in (1, 2):
        assert_same_lane(late.epoch(epoch), 1, found[epoch], 0)


def test_modules_may_be_kept_whole_among_the_weights() -> None:
    """A module is a tree of arrays, so a step may call and differentiate it."""

    def init(key: jax.Array, config: Any) -> Any:
        return {"params": {"b_net": nnx.Linear(2, 2, rngs=nnx.Rngs(key)), "a": jnp.ones(2)}}

    def step(state: Any, batch: Any, key: Any, config: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            return jnp.mean((params["b_net"](batch["x"][:, 0]) * params["a"]) ** 2)

        value, gradients = jax.value_and_grad(loss)(state["params"])
        moves = jax.tree.map(lambda g: -config["lr"] * g, gradients)
        return {"params": optax.apply_updates(state["params"], moves)}, {"loss": value}, gradients

    pack = started(
        *loop_trials(Loop(name="whole", init=init, step=step, keys=(LR,)), {}, task=CLOUD)
    )
    losses = [pack.epoch(epoch).epochs["loss"][0] for epoch in range(5)]
    assert losses[-1] < 0.5 * losses[0]
    # In the order of the dict, not of its names.
    assert list(pack.weights(0)) == ["b_net.kernel", "b_net.bias", "a"]


def test_schedules_know_how_many_steps_there_are() -> None:
    def step(state: Any, batch: Any, key: Any, config: Any) -> Any:
        schedule = optax.linear_schedule(config["lr"], 0.0, config["total_steps"])
        rate = schedule(state["count"])
        return {**state, "count": state["count"] + 1}, {"rate": rate}

    trials = loop_trials(replace(PULL, step=step), {"epochs": 2, "lr": 1.6}, {"epochs": 4})
    pack = started(trials[0])
    pack.epoch(0)
    want = np.mean(1.6 * (1 - np.arange(STEPS, 2 * STEPS) / (2 * STEPS)))
    assert pack.epoch(1).metrics["rate"][0] == pytest.approx(want, rel=1e-6)
    assert trials[0].program != trials[1].program


def test_one_array_under_two_names_is_two_tensors() -> None:
    def init(key: jax.Array, config: Any) -> Any:
        w = jnp.ones(3)
        return {"params": {"online": {"w": w}, "target": {"w": w}}}

    loop = Loop(name="twins", init=init, step=lambda state, *given: (state, {}), reads=())
    pack = started(*loop_trials(loop, {}))
    assert list(pack.weights(0)) == ["online.w", "target.w"]
    assert pack.epoch(0).epochs["param_norm"][0] == pytest.approx(6**0.5)


def _step(change: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda *given: change(_pull(*given))


def _with(**entries: Any) -> Callable[..., Any]:
    return _step(lambda found: ({**found[0], **entries}, *found[1:]))


def _saying(**metrics: Any) -> Callable[..., Any]:
    return _step(lambda found: (found[0], metrics))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no dict": ({"init": lambda key, c: jnp.ones(2)}, "init of loop pull returned a "),
    "no params": (
        {"init": lambda key, c: {"w": jnp.ones(2)}},
        "returned a state without 'params', what is trained; it has w",
    ),
    "text": (
        {"init": lambda key, c: {"params": {"w": jnp.ones(2)}, "rule": {"name": "adam"}}},
        "entry rule.name is a str; a state holds arrays and numbers only",
    ),
    "nothing": ({"init": lambda key, c: {"params": {}}}, "holds no array"),
    "bare": ({"init": lambda key, c: {"params": jnp.ones(2)}}, "is a single array; give it a name"),
    "key": (
        {"init": lambda key, c: {"params": {"k": key}}},
        "k in state['params'] of loop pull is a random key; keep it beside",
    ),
    "same name": (
        {"init": lambda key, c: {"params": {"a.b": jnp.ones(2), "a": {"b": jnp.ones(2)}}}},
        "have the same name, a.b",
    ),
    "no pair": (
        {"step": _step(lambda found: found[0])},
        "returned a dict; it must return (state, metrics) or (state, metrics, gradients)",
    ),
    "other type": (
        {"step": _with(count=jnp.float32(1))},
        "count in the state of loop pull is int32[] before a training step and is float32[] after",
    ),
    "gone": (
        {"step": _step(lambda f: ({"params": f[0]["params"], "best": f[0]["best"]}, *f[1:]))},
        "count in the state of loop pull is int32[] before a training step and is gone after it",
    ),
    "new": ({"step": _with(more=1)}, "more in the state of loop pull is made by a training step"),
    "shape": (
        {"step": _with(params={"net": {"w": jnp.ones(2)}})},
        "params.net.w in the state of loop pull is float32[3] before",
    ),
    "list of metrics": (
        {"step": _step(lambda found: (found[0], [1.0]))},
        "step of loop pull returned a list as its metrics; they must be a dict of numbers by name",
    ),
    "vector": (
        {"step": _saying(drawn=jnp.ones(4))},
        "metric drawn in step of loop pull has the shape (4,); it must be one number",
    ),
    "word": ({"step": _saying(drawn="high")}, "metric drawn in step of loop pull is a str"),
    "complex": (
        {"step": _saying(drawn=jnp.complex64(1j))},
        "metric drawn in step of loop pull is c",
    ),
    "gradients": (
        {"step": _step(lambda found: (*found[:2], {"net": {}}))},
        "the gradients of step of loop pull must be a tree like state['params']; they lack net.w",
    ),
    "shape of gradients": (
        {"step": _step(lambda found: (*found[:2], {"net": {"w": jnp.ones(4)}}))},
        "they have the shape (4,) for net.w (3,)",
    ),
    "evaluated": (
        {"evaluate": lambda *given: {"return": jnp.ones(3)}},
        "metric return in evaluate of loop pull has the shape (3,); it must be one number",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_sentence(name: str) -> None:
    changes, said = WRONG[name]
    (one,) = loop_trials(replace(PULL, **changes), {})
    with pytest.raises(PartError) as error:
        started(one).compile()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_loop_takes_no_task_that_streams() -> None:
    (one,) = loop_trials(DUEL, {}, task=replace(CLOUD, stream=True))
    (problem,) = one.misfits
    assert problem.startswith(
        "stage duel is a loop, which holds all data of its task, and task clo"
    )
    assert loop_trials(DUEL, {}, task=CLOUD)[0].misfits == []


def test_a_loop_reads_a_task_at_most() -> None:
    with pytest.raises(PartError, match="loop pull reads model; it can read a task only"):
        replace(PULL, reads=("model", "task"))


@pytest.mark.parametrize(
    ("page", "space", "table"), [("engines", "duel", "epochs"), ("probes", "spectra", "spectra")]
)
def test_the_example_of_a_page_runs(
    page: str, space: str, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[3] / "docs" / f"{page}.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    study = tmp_path / f"{space}.py"
    study.write_text(code)
    monkeypatch.chdir(tmp_path)
    result = debug(space, study=str(study), epochs=2)
    assert result.rows[table]
