"""A step of a batch in parts is the step of the whole batch."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.support.small_trials import SMALL, trial
from trainables.core.hparams import lane_values
from trainables.core.layout import by_path
from trainables.core.random_keys import trial_key
from trainables.core.variables import Carried
from trainables.declarations import (
    Key,
    Model,
    Objective,
    PartError,
    Registry,
    Sizes,
    Task,
    Trial,
    builtin_registry,
)
from trainables.tasks.base import make_data, make_task
from trainables.training.accumulation import accumulated, divided
from trainables.training.epoch import STEP_COLUMNS, Training


def stepped(one: Trial, at: int = 0) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The state after an epoch's step `at` from the first state, and what was seen of it."""
    values, data = lane_values(one), make_data(one, {})
    task: Any = make_task(one, data)
    training = Training(one, task, values)

    @jax.jit
    def run(values: Any, data: Any) -> Any:
        schedule = task.training(trial_key(values["seed"]), values, jnp.int32(0))
        entry = jax.tree.map(lambda leaf: leaf[at], schedule)
        state = training.init(one, values)
        return training.step(state, values, task.batch(data, entry, values))

    state, seen = jax.device_get(run(values, data))
    columns = dict(zip(STEP_COLUMNS, seen["scalars"], strict=True))
    return state, {**columns, "norms": seen["norms"], **seen["sums"], "weight": seen["weight"]}


def assert_close(a: Any, b: Any, rtol: float = 2e-5) -> None:
    left, right = by_path(a), by_path(b)
    assert left.keys() == right.keys()
    for path in left:
        np.testing.assert_allclose(left[path], right[path], rtol, 1e-6, err_msg=path)


SUMMED = {
    "model": "torch_rnn", "task": "sine", "width": 3, "seq_len": 8, "n_sequences": 20,
    "loss_reduction": "sum", "clip_norm": 0.1,
}  # fmt: skip
LIFTED = {**SMALL, "min_norm": 50.0, "optimizer": "adam"}


@pytest.mark.parametrize("config", [SUMMED, LIFTED], ids=["summed and clipped", "lifted"])
def test_parts_make_the_step_of_the_whole_batch(config: dict[str, Any]) -> None:
    registry = builtin_registry()
    size = registry.resolve(config).sizes.batch_size
    trials = [registry.resolve({**config, "accumulate": k}) for k in (1, size // 2)]
    (whole, seen), (parts, of_parts) = map(stepped, trials)
    assert float(seen["grad_norm"]) != pytest.approx(float(seen["grad_norm_clipped"]))
    assert_close(seen, of_parts)
    assert_close(whole["params"], parts["params"])
    assert_close(whole["optimizer"], parts["optimizer"])


class Normed(nnx.Module):
    """Batch norm of the inputs, whose running mean is kept beside the parameters."""

    def __init__(self, config: Any, sizes: Sizes, rngs: nnx.Rngs) -> None:
        self.norm = nnx.BatchNorm(2, momentum=0.5, rngs=rngs)
        self.readout = nnx.Linear(2, 3, rngs=rngs)
        self.normed = config["normed"]

    def __call__(self, x: jax.Array) -> jax.Array:
        h = x[:, 0]
        return self.readout(self.norm(h) if self.normed else h)


def blobs(config: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    y = rng.integers(0, 3, 13)
    return {"x": (rng.normal(size=(13, 1, 2)) + y[:, None, None]).astype(np.float32), "y": y}


def users() -> Registry:
    registry = builtin_registry()
    registry.add(
        Model(name="normed", build=Normed, keys=(Key("normed", "bool", True),), version=1),
        # 13 samples in batches of 8: the second has 3 fillers, all of the last part of it.
        Task(name="few", build=blobs, sizes=lambda config: Sizes(1, 2, 3, 13, 0, 0, 8), version=1),
    )
    return registry


def of_users(**config: Any) -> Trial:
    return users().resolve({"model": "normed", "task": "few", "lr": 0.5, **config})


@pytest.mark.parametrize("at", [0, 1])
def test_samples_that_only_fill_a_batch_up_count_in_no_part(at: int) -> None:
    whole, parts = (stepped(of_users(normed=False, accumulate=k), at) for k in (1, 8))
    assert whole[1]["weight"] == (8, 5)[at]
    assert_close(whole[1], parts[1])
    assert_close(whole[0]["params"], parts[0]["params"])


def test_statistics_of_a_module_run_from_part_to_part() -> None:
    """Two parts of 4: the running mean is that of two updates, each with the part's own mean."""
    one = of_users(accumulate=2)
    task: Any = make_task(one)
    values = lane_values(one)
    schedule = task.training(trial_key(jnp.int32(0)), values, jnp.int32(0))
    rows = blobs({})["x"][np.asarray(schedule["index"][0]), 0]
    first, second = rows[:4].mean(0), rows[4:].mean(0)
    state, _ = stepped(one)
    found = by_path(state["rest"])["norm/mean"]
    np.testing.assert_allclose(found, 0.5 * (0.5 * first) + 0.5 * second, rtol=1e-5)


def test_a_part_of_fillers_alone_leaves_statistics_as_they_are() -> None:
    whole, parts = (stepped(of_users(accumulate=k), 1)[0] for k in (1, 8))
    assert np.isfinite(by_path(parts["params"])["readout/kernel"]).all()
    # Eight parts of one sample: after five of them the mean has their weights, no filler's.
    one = of_users(accumulate=8)
    task: Any = make_task(one)
    schedule = task.training(trial_key(jnp.int32(0)), lane_values(one), jnp.int32(0))
    rows = blobs({})["x"][np.asarray(schedule["index"][1]), 0][:5]
    want = sum(0.5 ** (5 - i) * row for i, row in enumerate(rows))
    np.testing.assert_allclose(by_path(parts["rest"])["norm/mean"], want, rtol=1e-5)
    assert not np.allclose(by_path(whole["rest"])["norm/mean"], want)


def test_hidden_states_are_carried_for_each_sample() -> None:
    """A module adds its input to what it carries: parts give what the batch gives."""
    rest = {"h": Carried(jnp.arange(6.0)[:, None]), "count": jnp.int32(0)}
    x, weight = jnp.arange(6.0)[:, None] * 10, jnp.ones(6)

    def of_part(rest: Any, batch: Any) -> Any:
        x, _, weight = batch
        h = rest["h"].get_value() + x
        new = {"h": rest["h"].replace(h), "count": rest["count"] + 1}
        return jnp.mean(h), new, {"seen": jnp.sum(weight)}, {"w": jnp.mean(x, 0)}

    loss, new, sums, gradients = accumulated(of_part, rest, (x, None, weight), 3, divided)
    np.testing.assert_allclose(new["h"].get_value(), np.arange(6.0)[:, None] * 11)
    assert new["count"] == 3
    assert float(loss) == pytest.approx(27.5)
    assert float(sums["seen"]) == 6
    np.testing.assert_allclose(gradients["w"], [25.0])


def test_arrays_that_hold_for_the_whole_batch_are_repeated() -> None:
    cut = divided((jnp.zeros((6, 2)), jnp.arange(3), jnp.float32(1)), 6, 2)
    assert [leaf.shape for leaf in cut] == [(2, 3, 2), (2, 3), (2,)]


@pytest.mark.slow
def test_a_system_and_its_teacher_are_learnt_in_parts() -> None:
    """As many samples as time steps, so that no shape tells them apart."""
    base = {"model": "s4", "task": "teacher_student", "width": 4, "seq_len": 6, "batch_size": 6,
            "steps_per_epoch": 1}  # fmt: skip
    trials = [builtin_registry().resolve({**base, "accumulate": k}) for k in (1, 3)]
    (whole, seen), (parts, of_parts) = map(stepped, trials)
    seen.pop("correct", None)
    np.testing.assert_allclose(seen["loss"], of_parts["loss"], rtol=1e-5)
    assert_close(whole["params"], parts["params"], 1e-4)


def test_parts_must_divide_the_batch() -> None:
    one = trial(accumulate=4)
    why = "accumulate=4 must divide the batch into equal parts, and batch_size is 6; choose a "
    assert one.misfits == [f"{why}divisor of 6"]
    task: Any = make_task(one)
    with pytest.raises(PartError, match="choose a divisor of 6"):
        Training(one, task, lane_values(one))
    assert trial(accumulate=3).misfits == []


def test_a_pretraining_that_takes_no_such_steps_is_shared() -> None:
    registry = builtin_registry()
    config = {"model": "ffn", "task": "gaussian", "pretrain": "lsc", "batch_size": 8}
    plain = registry.resolve(config)
    other = registry.resolve({**config, "accumulate": 2, "compute_dtype": "bfloat16"})
    assert plain.id != other.id
    assert plain.parent is not None
    assert other.parent is not None
    assert plain.parent.id == other.parent.id


def line(config: Any) -> dict[str, np.ndarray]:
    x = np.linspace(-1, 1, 16, dtype=np.float32)[:, None]
    return {"x": x, "target": 3 * x[:, 0] - 1}


def error(tree: Any, batch: Any, key: jax.Array, config: Any) -> Any:
    residual = batch["x"] @ tree["w"] + tree["b"] - batch["target"]
    return jnp.mean(residual**2), {"absolute": jnp.mean(jnp.abs(residual))}


def objective(**config: Any) -> Trial:
    def init(key: jax.Array, config: Any) -> dict[str, jax.Array]:
        return {"w": jnp.ones(1), "b": jnp.zeros(())}

    registry = builtin_registry()
    split = {"val": 0.0}
    registry.add(Objective(name="fit", init=init, loss=error, data=line, batch_size=8, split=split))
    return registry.resolve({"objective": "fit", "lr": 0.1, **config})


def test_an_objective_and_its_metrics_are_computed_in_parts() -> None:
    (whole, seen), (parts, of_parts) = (stepped(objective(accumulate=k)) for k in (1, 4))
    assert {"absolute", "loss", "weight"} <= seen.keys()
    seen, of_parts = ({n: v for n, v in s.items() if n != "correct"} for s in (seen, of_parts))
    assert_close(seen, of_parts)
    assert_close(whole["params"], parts["params"])


def test_an_objective_computes_in_16_bits() -> None:
    full, low = (stepped(objective(compute_dtype=t)) for t in ("float32", "bfloat16"))
    assert full[1]["loss"] != low[1]["loss"]
    np.testing.assert_allclose(low[1]["loss"], full[1]["loss"], rtol=0.03)
    assert {leaf.dtype for leaf in jax.tree.leaves(low[0]["params"])} == {np.dtype("float32")}
