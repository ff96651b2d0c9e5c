"""A trial whose input is not finite has failed, by the input's name; it has not diverged."""

from __future__ import annotations

import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from orchestrator.plan.packs import Context, make_packs
from orchestrator.worker.pack_run import PackRun
from results import Store, create_store
from trainables.declarations import Key, Metric, Model, PartError, Registry, Task, builtin_registry
from trainables.packs.pack import Pack


class Line(nnx.Module):
    def __init__(self) -> None:
        self.w = nnx.Param(jnp.ones((2, 1)))

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.w[...]


def arrays(config: Any) -> dict[str, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    return {"x": x, "target": 2 * x.sum(1)}


def squares(outputs: jax.Array, batch: Any, config: Any) -> jax.Array:
    return (outputs[:, 0] - batch["target"]) ** 2


def distances(outputs: jax.Array, batch: Any, config: Any) -> dict[str, jax.Array]:
    return {"mae": jnp.abs(outputs[:, 0] - batch["target"])}


NOISE = Key("noise_std", "float", 0.0, "traced")


def registry(**task: Any) -> Registry:
    found = builtin_registry()
    found.add(
        Model(name="line", build=lambda config, sizes, rngs: Line(), version=1),
        Task(**{
            "name": "sums", "build": arrays, "loss": squares, "metrics": distances, "version": 1,
            "metric_columns": (Metric("mae", "m"),), "batch_size": 4, "keys": (NOISE,), **task,
        }),
    )  # fmt: skip
    return found


def run_of(found: Registry, *lanes: dict[str, Any], store: Store | None = None) -> PackRun:
    base = {"model": "line", "task": "sums", "epochs": 2, "optimizer": "sgd", "lr": 0.01}
    trials = [found.resolve({**base, **lane}) for lane in lanes]
    (spec,) = make_packs(trials, {}, {}, devices=1, width=len(lanes))
    run = PackRun(spec, found, store, Context(checkpoint_s=math.inf))
    run.start()
    return run


@pytest.fixture
def store(tmp_path: Any) -> Store:
    return create_store(tmp_path / "store")


def test_a_lane_with_a_broken_input_fails_and_its_neighbours_go_on(store: Store) -> None:
    # An update of 1e30 diverges; noise of 3e38 overflows before the model has seen it.
    lanes = [{}, {"noise_std": 3e38}, {"lr": 1e30, "seed": 1}]
    run = run_of(registry(), *lanes, store=store)
    first = run.step()
    assert not first.done
    fine, broken, diverged = run.spec.trial_ids
    assert first.ended == {broken: "failed", diverged: "diverged"}
    assert first.reasons[broken] == "input x of task sums is not finite at epoch 0, step 0"
    last = run.step()
    assert last.done
    assert last.ended == {fine: "done"}
    found = store.sql("SELECT trial_id, status, reason, bad_epoch, epochs_done, rows FROM trials")
    rows = {row["trial_id"]: row for row in found.rows()}
    assert rows[broken]["status"] == "failed"
    assert rows[broken]["reason"] == first.reasons[broken]
    assert (rows[broken]["bad_epoch"], rows[broken]["epochs_done"]) == (None, 0)
    assert json.loads(rows[broken]["rows"]) == {}
    assert rows[diverged]["bad_epoch"] == 0
    counts = dict(store.sql("SELECT trial_id, count(*) FROM epochs GROUP BY 1").fetchall())
    assert counts == {fine: 2, diverged: 1}
    verdicts = dict(store.sql("SELECT trial_id, verdict FROM diagnosis").fetchall())
    assert verdicts[broken] == "undetermined"
    assert verdicts[diverged] in ("diverged", "exploding")


@pytest.mark.parametrize(
    ("augment", "name", "stream"),
    [
        (lambda key, batch: {**batch, "x": batch["x"] / 0.0}, "x", False),
        (lambda key, batch: {**batch, "x": batch["x"] / 0.0}, "x", True),
        (lambda key, batch: {**batch, "target": batch["target"] + jnp.nan}, "target", False),
    ],
)
def test_what_an_augmentation_breaks_is_named(augment: Any, name: str, stream: bool) -> None:
    run = run_of(registry(augment=augment, stream=stream), {})
    done = run.step()
    while not done.done:  # of a streamed epoch, one call
        done = run.step()
    reason = f"input {name} of task sums is not finite at epoch 0, step 0"
    assert list(done.reasons.values()) == [reason]
    assert run.pack.blame(0, 0, 0) == reason


def test_of_built_in_tasks_nothing_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.small_trials import trial

    pack = Pack([trial()], {})
    monkeypatch.setattr("trainables.packs.pack.broken_input", lambda *_: pytest.fail("drawn"))
    assert pack.broken_input(0, 0, 0) is None


def test_metrics_and_their_units_are_stored_with_the_trial(store: Store) -> None:
    run = run_of(registry(), {"monitor": "val_mae", "early_stopping": 5}, store=store)
    started = store.sql("SELECT metric_columns FROM attempts").fetchall()
    while not run.step().done:
        pass
    ended = store.sql("SELECT metric_columns FROM attempts").fetchall()
    assert started == ended
    mae = {"unit": "m", "mode": "min", "doc": ""}
    assert json.loads(ended[0][0]) == {"mae": mae, "val_mae": mae, "test_mae": mae}
    assert set(run.pack.metrics) == {"mae", "val_mae", "test_mae"}
    assert {"loss", "val_loss", "grad_norm"} <= set(run.pack.columns)
    kept = store.sql("SELECT mae = metrics['mae'] AND val_mae > 0 FROM runs").fetchall()
    assert kept == [(True,), (True,)]
    assert store.sql("SELECT monitor FROM diagnosis").fetchall() == [("val_mae",)]


def test_what_no_epoch_records_is_refused_before_anything_trains(store: Store) -> None:
    undeclared = registry(metric_columns=())
    with pytest.raises(PartError, match=r"monitor=val_ame: .* \(did you mean val_mae\?\)"):
        run_of(undeclared, {"monitor": "val_ame"}, store=store)
    taken = registry(metrics=lambda *given: {"loss": distances(*given)["mae"]}, metric_columns=())
    with pytest.raises(PartError, match="task sums records the metric loss, but every store has"):
        run_of(taken, {}, store=store)
    assert store.sql("FROM attempts").rows() == []
