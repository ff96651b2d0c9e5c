"""Slots of a pack: a trial that takes one has the numbers that it has anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.plan.packs import Context, Lane, PackSpec
from orchestrator.plan.paused import PausedTrial
from orchestrator.plan.store_state import resume_points
from orchestrator.plan.studies import catalogue
from orchestrator.worker.pack_run import PackRun
from results import Store, create_store
from tests.support import tiny_study
from tests.support.small_trials import same
from tests.support.stores import kept_epochs
from trainables.declarations import Trial

TINY = str(Path(__file__).parents[2] / "support" / "tiny_study.py")
REGISTRY = catalogue(TINY).registry
WIDTH = 3
HOW_IT_RAN = ("seconds", "launch_id", "attempt")


def trials(count: int, **shared: Any) -> list[Trial]:
    """Trials of one program: of 1, 2, 3, 1, 2, ... epochs, with timelines of their own cadence."""
    grid = {**tiny_study.GRID.param_space, "lr": 0.1, "timeline_every": 2, **shared}
    return [
        REGISTRY.resolve({"epochs": 1 + seed % 3, **grid, "seed": seed, **shared})
        for seed in range(count)
    ]


def lanes_of(some: Sequence[Trial], **given: Any) -> list[Lane]:
    return [Lane(one.id, dict(one.config), **given) for one in some]


def run_of(lanes: list[Lane], store: Store | None = None, strategy: str = "sequential") -> PackRun:
    spec = PackSpec("pack", "program", lanes, WIDTH, strategy)
    run = PackRun(spec, REGISTRY, store, Context(checkpoint_s=1e9, launch_id="here"))
    run.start()
    return run


def finish(run: PackRun, waiting: Sequence[Lane] = (), most: Sequence[int] = ()) -> list[int]:
    """Trains all, each free slot filled at once, or with as many as `most` says after each epoch.
    Returns how many lanes each epoch trained."""
    left, grants, trained = list(waiting), list(most), []
    while left or not run.idle:
        free = len(run.free())
        count = min(free, grants.pop(0)) if grants else free
        failed = run.take(left[:count])
        assert not failed
        left = left[count:]
        if not run.idle:
            trained.append(run.step().trained)
    run.close()
    return trained


def rows_of(run: PackRun, trial: Trial) -> dict[str, list[dict[str, Any]]]:
    """A trial's rows by table, in their order, without what says how it ran."""
    found = {}
    run.recorder.flush()
    for name, tables in run.recorder.kept.items():
        table = pa.concat_tables(tables)
        own = table.filter(pc.field("trial_id") == trial.id)
        found[name] = [
            {k: v for k, v in row.items() if k not in HOW_IT_RAN} for row in own.to_pylist()
        ]
    return found


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    """Rows of each trial that had a pack of the same width to itself, by strategy and id."""
    found: dict[str, dict[str, Any]] = {}
    for strategy in ("sequential", "vmap"):
        for one in trials(8):
            run = run_of(lanes_of([one]), strategy=strategy)
            finish(run)
            found[strategy + one.id] = rows_of(run, one)
    return found


@pytest.mark.exact
@pytest.mark.parametrize("strategy", ["sequential", "vmap"])
@settings(max_examples=6, deadline=None)
@given(
    order=st.permutations(range(8)),
    first=st.integers(1, WIDTH),
    most=st.lists(st.integers(0, 2), max_size=6),
)
def test_a_trial_s_rows_do_not_depend_on_when_it_took_which_slot(
    alone: dict[str, Any], strategy: str, order: list[int], first: int, most: list[int]
) -> None:
    every = trials(8)
    lanes = lanes_of([every[i] for i in order])
    run = run_of(lanes[:first], strategy=strategy)
    finish(run, lanes[first:], most)
    for one in every:
        assert rows_of(run, one) == alone[strategy + one.id]


def test_no_slot_idles_while_a_trial_waits() -> None:
    lanes = lanes_of(trials(9))
    run = run_of(lanes[:WIDTH])
    trained = finish(run, lanes[WIDTH:])
    assert sum(trained) == 3 * (1 + 2 + 3)
    assert trained[:5] == [WIDTH] * 5
    assert len({lane.trial_id for lane in lanes}) == 9


def test_what_a_store_shows_of_trials_in_slots_is_whole(tmp_path: Path) -> None:
    """Two trials of one slot end after the same number of epochs, and both keep their weights."""
    store = create_store(tmp_path / "store")
    some = trials(7, epochs=2, keep_weights="last")
    lanes = lanes_of(some)
    run = run_of(lanes[:WIDTH], store)
    finish(run, lanes[WIDTH:])
    state = store.completeness([one.id for one in some])
    assert all(known["done"] for known in state.values())
    assert kept_epochs(store) == {one.id: [1] for one in some}
    assert not store.list_checkpoints()


@pytest.mark.parametrize("verdict", ["prune", "wait"])
def test_a_trial_that_left_at_a_rung_goes_on_to_the_same_bits(tmp_path: Path, verdict: Any) -> None:
    """Its slot is taken meanwhile; the state outlives the run."""
    store, calm = create_store(tmp_path / "store"), create_store(tmp_path / "calm")
    some = trials(4, epochs=3, keep_weights="last")
    lanes = lanes_of(some, rungs=[1, 2], metric="val_loss")
    run = run_of(lanes[:WIDTH], store)
    reached = run.step().at_rung
    assert [(one.trial_id, one.epochs) for one in reached] == [(t.id, 1) for t in some[:WIDTH]]
    with pytest.raises(RuntimeError, match="verdict"):
        run.step()
    paused = run.settle({some[0].id: verdict, some[1].id: "go", some[2].id: "go"})
    assert run.free() == [0]
    run.take(lanes[WIDTH:])
    while not run.idle:
        at = run.step().at_rung
        run.settle({one.trial_id: "go" for one in at})
    run.close()
    store.refresh()
    newest = {r["trial_id"]: r for r in store.attempts().to_pylist() if r["newest"]}
    status = {"prune": "pruned", "wait": "paused"}[verdict]
    assert [newest[one.id]["status"] for one in some] == [status, "done", "done", "done"]
    assert newest[some[0].id]["epochs_done"] == 1
    assert [kept_epochs(store)[one.id] for one in some] == [[0], [2], [2], [2]]
    value = store.sql(f"SELECT val_loss FROM epochs WHERE trial_id = '{some[0].id}'").fetchall()
    assert [reached[0].value] == [value[0][0]]
    again = resume_points(store, [some[0]])[some[0].id]
    again.config = dict(some[0].config)
    assert (again.first_epoch, again.attempt) == (1, 1)
    if verdict == "wait":  # what the worker says is what the store holds
        said = PausedTrial.from_text(paused.pop(some[0].id).to_text())
        for name in ("first_epoch", "attempt", "checkpoint", "checkpoint_lane", "config"):
            assert getattr(said.lane, name) == getattr(again, name)
        assert (said.lane.rungs, said.lane.memo["rows"]) == ([2], again.memo["rows"])
        assert said.row.items() <= newest[some[0].id].items()
        again = replace(said.lane, rungs=[])
    assert not paused
    finish(run_of([again], store))
    other = run_of(lanes_of(some[:1]), calm)
    finish(other)
    for table in ("epochs", "layers", "steps", "timeline"):
        query = f"SELECT * FROM {table} WHERE trial_id = '{some[0].id}' ORDER BY ALL"
        found = [
            [{k: v for k, v in row.items() if k not in HOW_IT_RAN} for row in rows]
            for rows in (one.sql(query).arrow().to_pylist() for one in (store, calm))
        ]
        assert found[0] == found[1]


def test_a_trial_that_cannot_be_made_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = create_store(tmp_path / "store")
    some = trials(3, epochs=2)
    bad = Lane(some[2].id, dict(some[2].config), checkpoint="checkpoints/none", memo={"rows": {}})
    run = run_of(lanes_of(some[:1]), store)

    def unreadable(*_: Any) -> dict[str, np.ndarray]:
        return {"params/nothing": np.zeros(3)}

    monkeypatch.setattr(store, "load_lane", unreadable)
    failed = run.take([lanes_of(some[1:2])[0], bad])
    assert list(failed) == [bad.trial_id]
    assert "the checkpoint does not fit" in failed[bad.trial_id].reason
    assert run.free() == [2]
    finish(run)
    store.refresh()
    rows = {r["trial_id"]: r["status"] for r in store.attempts().to_pylist()}
    assert [rows[one.id] for one in some] == ["done", "done", "failed"]


def test_more_trials_than_free_slots_are_refused() -> None:
    run = run_of(lanes_of(trials(2)))
    with pytest.raises(ValueError, match="2 trials for 1 free slot"):
        run.take(lanes_of(trials(4)[2:]))


def test_weights_of_a_lane_are_those_of_its_trial() -> None:
    """Of one that took a slot too, whatever its neighbours do."""
    some = trials(3, epochs=2)
    run = run_of(lanes_of(some[:1]))
    run.step()
    run.take(lanes_of(some[1:]))
    run.step()
    run.step()
    for slot, one in enumerate(some):
        other = run_of(lanes_of([one]))
        finish(other)
        theirs = other.pack.weights(0)
        assert all(same(value, theirs[n]) for n, value in run.pack.weights(slot).items())
